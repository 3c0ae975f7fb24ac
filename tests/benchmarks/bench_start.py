"""From the shell to the first token: `rolekit chat --say` against importing llama_cpp and loading the model alone.

python tests/benchmarks/bench_start.py [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from measuring import fresh_home, report, starter

LOAD = f"""
import llama_cpp
quiet = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(quiet, None)
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file({str(starter()).encode()!r}, llama_cpp.llama_model_default_params())
params = llama_cpp.llama_context_default_params()
params.n_ctx = 4096
llama_cpp.llama_init_from_model(model, params)
print("loaded", flush=True)
"""
SAY = [
    str(Path(sys.executable).with_name("rolekit")),
    "chat",
    "--role",
    "Sherlock",
    "--say",
    "Who are you?",
    "--new",
]


def first_byte(command: list[str]) -> float:
    """Seconds from starting the command to the first byte it prints."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - start
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with exit code {process.returncode}")
    return seconds


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    say = [*SAY, "--max-tokens", "8"]
    load = [sys.executable, "-c", LOAD]
    first_byte(load)
    never, again, loaded = [], [], []
    for _ in range(options.rounds):
        with fresh_home():
            never.append(first_byte(say))
            loaded.append(first_byte(load))
            again.append(first_byte(say))
    report("first chat with a role, vs import and load", never, loaded, "s")
    report("next chat with the role, vs import and load", again, loaded, "s")


if __name__ == "__main__":
    main()
