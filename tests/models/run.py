"""Runs the cases, each with a line of its own; the exit code is 1 if one is wrong. Started by scripts/test-models."""

import os
import sys
import time
import traceback

from backends import LlamaCpp, Ollama
from cases import TALK
from kit import Wrong
from ways import WAYS


def tried(backend, case):
    """Whether the case is right; says so in a line."""
    start = time.monotonic()
    try:
        verdict, said = "right", case(backend)
    except Wrong as wrong:
        verdict, said = "WRONG", str(wrong)
    except Exception:
        verdict, said = "WRONG", traceback.format_exc()
    print(f"{verdict}  {backend.name} {case.__name__}: {case.__doc__} ({said}; {time.monotonic() - start:.0f} s)", flush=True)
    return verdict == "right"


def main(wanted):
    servers = [(LlamaCpp, TALK + WAYS)]
    if os.environ.get("OLLAMA_BIN"):
        servers.append((Ollama, TALK))
    right = total = 0
    for server, cases in servers:
        cases = [case for case in cases if not wanted or case.__name__ in wanted]
        if not cases:
            continue
        backend = server().start()
        try:
            for case in cases:
                total += 1
                right += tried(backend, case)
                if not backend.process.alive():
                    backend.start()
        finally:
            backend.process.stop()
    print(f"{right} of {total} cases are right")
    return 0 if right == total and total else 1


sys.exit(main(sys.argv[1:]))
