"""llama.cpp's own server, from the wheel `xllamacpp`, until it is stopped. Run by the Python of the folder with the wheels.

    python llama.py MODEL PORT SLOTS CONTEXT [KEY…]

CONTEXT is in tokens, of one slot. Prints its address once the model is loaded; before that it answers 503.
"""

import sys
import time

import xllamacpp

# The file has no template of its own. As Gemma was taught: no system role, and turns that alternate, which it insists on.
TEMPLATE = r"""
{%- set persona = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' -%}
{%- set turns = messages[1:] if persona else messages -%}
{%- for turn in turns -%}
{%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{{ '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else 'user') + '\n' }}
{%- if loop.first -%}{{ persona }}{%- endif -%}
{{ turn['content'] + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""

model, port, slots, context, *keys = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = model
params.model_alias = {"gemma"}
params.chat_template = TEMPLATE
params.port = int(port)
params.n_parallel = int(slots)
params.n_ctx = int(slots) * int(context)
params.api_keys = keys
params.endpoint_slots = True
# Two threads wait for each other at every layer: on a machine with other work one is ten times as fast.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1

server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(60)
