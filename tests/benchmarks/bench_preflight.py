"""What `rolekit train` says a run will cost, against what it then costs, on the starter model.

    python tests/benchmarks/bench_preflight.py [--steps 10] [--data rows.jsonl --role NAME]

Two processes after another: a dry run, which measures a few passes, and the run itself. Without --data the rows are
a bundled role's own examples, asked in twelve ways. Time is that of steps and held-out losses, memory the process's
peak, disk the most that the run's folder held.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from rolekit.roles.library import RoleLibrary


def own_rows(path: Path) -> Path:
    """Rows of Sherlock Holmes: each of his examples, led in by a dozen phrases."""
    role = RoleLibrary().find("sherlock-holmes").loaded()
    ways = ("", "Tell me: ", "Pray, ", "One thing more. ", "Forgive me, but ", "Between us: ", "In short: ",
            "For the record: ", "Honestly now: ", "As a friend: ", "Before I go: ", "Quickly: ")  # fmt: skip
    rows = [
        {"role": role.name, "question": way + pair.user, "generated": [pair.reply]}
        for way in ways
        for pair in role.examples
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def folder_bytes(folder: Path) -> int:
    """What the folder holds now."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def train(*arguments: str) -> dict[str, Any]:
    """The object that `rolekit train` ends with."""
    command = [sys.executable, "-m", "rolekit", "train", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(arguments: list[str], out: Path) -> tuple[dict[str, Any], int]:
    """The run's report, and the most bytes that its folder held."""
    most, over = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(0.2):
            most = max(most, folder_bytes(out))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        return train(*arguments), max(most, folder_bytes(out))
    finally:
        over.set()
        watcher.join()


def main() -> None:
    """Print a table: said, found, their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--role", default="Sherlock Holmes")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = given.data or own_rows(Path(place) / "rows.jsonl")
        out = Path(place) / "run"
        settings = [
            f"run.steps={given.steps}",
            f"run.eval_every={max(given.steps // 2, 1)}",
            "run.sample_question=''",
        ]
        arguments = ["--role", given.role, "--data", str(rows), "--base", "starter", "--out", str(out)]
        for setting in [*settings, *given.set]:
            arguments += ["--set", setting]
        said = train(*arguments, "--dry-run")["estimate"]
        report, disk = measured(arguments, out)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        seconds = sum(row.get("seconds", 0) + row.get("eval_seconds", 0) for row in lines)
    print(
        f"{given.steps} steps, {said['tokens']:,} tokens ({said['row_tokens'] / said['tokens']:.2f}x fewer by sharing)"
    )
    print("| | said | found | found / said |\n|---|---|---|---|")
    for name, first, second in (
        ("time, s", said["seconds"], seconds),
        ("memory, MiB", said["memory_bytes"] / 2**20, report["memory_bytes"] / 2**20),
        ("disk, MiB", said["disk_bytes"] / 2**20, disk / 2**20),
    ):
        print(f"| {name} | {first:,.1f} | {second:,.1f} | {second / first:.2f} |")


if __name__ == "__main__":
    main()
