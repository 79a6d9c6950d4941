"""The real model servers: how each is started, asked how busy it is, and ended."""

import os
import subprocess
import time

from kit import HERE, Process, Wrong, expect, fetch, folder, free_port, until

# Tokens of one slot. Small, so that a history is soon too long for it.
CONTEXT = 512


class LlamaCpp:
    """llama.cpp's server with two slots."""

    name = "llama.cpp"
    model = "openai:gemma"
    # Words that it computes still when its client has gone away.
    words_after = 2

    def __init__(self, keys=()):
        self.port, self.keys = free_port(), keys
        self.process = None

    def start(self, ready=True):
        home = os.environ["MODELS_HOME"]
        command = [f"{home}/venv/bin/python", f"{HERE}/llama.py", f"{home}/gemma.gguf", str(self.port), "2", str(CONTEXT)]
        self.process = Process(command + list(self.keys))
        if ready:
            up = until(lambda: not self.process.alive() or fetch(self.port, "GET", "/health", timeout=5)[0] == 200)
            expect(up and self.process.alive(), f"llama.cpp does not start: {self.process.said()[-400:]}")
        return self

    def env(self, base=None):
        return {"OPENAI_BASE_URL": base or f"http://127.0.0.1:{self.port}/v1"}

    def busy(self):
        """Slots that compute."""
        headers = {"authorization": f"Bearer {self.keys[0]}"} if self.keys else {}
        status, slots = fetch(self.port, "GET", "/slots", headers=headers)
        if status != 200:
            raise Wrong(f"llama.cpp says {status} to /slots")
        return sum(slot["is_processing"] for slot in slots)


class Ollama:
    """An Ollama with two slots, and a model made of the same file."""

    name = "ollama"
    model = "ollama:gemma"
    # Three with an HTTP client of a few lines (0.17.4), more on a machine with other work.
    words_after = 6
    # What Gemma 3 was taught; `ollama create` knows it only of models from its library.
    TEMPLATE = (
        "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}"
        '{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user\n{{ .Content }}<end_of_turn>\n'
        "{{ if $last }}<start_of_turn>model\n{{ end }}"
        '{{- else if eq .Role "assistant" }}<start_of_turn>model\n{{ .Content }}<end_of_turn>\n{{ end }}{{- end }}'
    )

    def __init__(self):
        self.port, self.models = free_port(), folder()
        self.binary = os.environ["OLLAMA_BIN"]
        self.environment = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_MODELS": self.models,
                            "OLLAMA_NUM_PARALLEL": "2", "OLLAMA_CONTEXT_LENGTH": str(CONTEXT), "HOME": self.models}
        self.made = False

    def start(self, ready=True):
        self.process = Process([self.binary, "serve"], self.environment)
        if ready or not self.made:
            up = until(lambda: not self.process.alive() or fetch(self.port, "GET", "/api/tags", timeout=5)[0] == 200)
            expect(up and self.process.alive(), f"Ollama does not start: {self.process.said()[-400:]}")
        if not self.made:
            path = os.path.join(self.models, "Modelfile")
            with open(path, "w") as modelfile:
                modelfile.write(f'FROM {os.environ["MODELS_HOME"]}/gemma.gguf\nTEMPLATE """{self.TEMPLATE}"""\n'
                                "PARAMETER stop <end_of_turn>\nPARAMETER num_thread 1\n")
            subprocess.run([self.binary, "create", "gemma", "-f", path], env=self.environment, check=True, capture_output=True)
            self.made = True
        return self

    def env(self, base=None):
        return {"OLLAMA_HOST": base or f"127.0.0.1:{self.port}"}

    def busy(self):
        """1 if its processes compute: Ollama does not say how many of its slots do."""
        before = self._ticks()
        time.sleep(0.05)
        return int(self._ticks() - before > 1)

    def _ticks(self):
        """Processor time of its group, in hundredths of a second."""
        ticks = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.process.proc.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks
