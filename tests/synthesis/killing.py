"""Kills a run at random moments until it has been killed so many times, and keeps the books."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("kill_worker.py")
CONCURRENCY = 4


@dataclass
class Books:
    """What was sent and what had arrived, over all lives."""

    kills: int = 0
    runs: list[Path] = field(default_factory=list)
    sent: int = 0
    different: int = 0
    lost: int = 0
    """Answers that the journal had once and has no more."""
    paid_twice: int = 0
    """Requests that were sent although the journal had their answer."""
    most_again: int = 0
    """The most requests that one life sent again."""

    @property
    def again(self) -> int:
        return self.sent - self.different


def killed_often(
    api: Any, role_file: Path, place: Path, kills: int, candidates: int, longest_seconds: float, seed: int = 0
) -> Books:
    """Run in folders below place, one after another, until kills lives have been killed; the last run is finished."""
    books, moments = Books(), random.Random(seed)
    words = [sys.executable, str(WORKER), str(role_file), api.ref, str(candidates), str(CONCURRENCY)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout.readline() == "ready\n"
            while books.kills < kills:
                folder = place / f"run-{len(books.runs)}"
                books.runs.append(folder)
                _one_run(api, worker, folder, books, moments, kills, longest_seconds)
        finally:
            worker.stdin.close()
    return books


def _one_run(
    api: Any, worker: Any, folder: Path, books: Books, moments: random.Random, kills: int, longest: float
) -> None:
    begin = len(api.seen)
    answered: dict[str, int] = {}
    finished = False
    while not finished:
        before = len(api.seen)
        worker.stdin.write(f"{folder}\n")
        worker.stdin.flush()
        pid = int(worker.stdout.readline())
        if books.kills < kills:
            _wait(api, pid, moments, longest)
            with suppress(ProcessLookupError):  # it had come to its end
                os.kill(pid, signal.SIGKILL)
        status = int(worker.stdout.readline().split()[1])
        finished = status == 0
        assert finished or os.WIFSIGNALED(status), "the run itself failed"
        books.kills += not finished
        now = _answered(folder)
        books.lost += len(set(answered) - now)
        earlier = {_key(seen.body) for seen in api.seen[begin:before]}
        books.most_again = max(
            books.most_again, sum(_key(seen.body) in earlier for seen in api.seen[before:])
        )
        for key in now:
            answered.setdefault(key, len(api.seen))
    sends = [_key(seen.body) for seen in api.seen[begin:]]
    books.paid_twice += sum(place + begin >= answered[key] for place, key in enumerate(sends))
    books.sent += len(sends)
    books.different += len(set(sends))


def _wait(api: Any, pid: int, moments: random.Random, longest: float) -> None:
    """A random moment of the life that has just begun: while it starts, or while some request or other is under way.

    Counted in requests, so that it means the same on a slow machine; a life that has nothing left to send ends alone.
    """
    if moments.random() < 0.15:
        time.sleep(moments.uniform(0.0, longest))
        return
    wanted = len(api.seen) + moments.randint(1, 9)
    deadline = time.monotonic() + 5.0
    while len(api.seen) < wanted and time.monotonic() < deadline and _lives(pid):
        time.sleep(0.001)
    time.sleep(moments.uniform(0.0, 2 * api.seconds))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _answered(folder: Path) -> set[str]:
    """The messages of the requests whose answers the journal has."""
    path = folder / "journal.db"
    if not path.is_file():
        return set()
    with closing(sqlite3.connect(path, timeout=10)) as db:
        try:
            rows = db.execute("SELECT messages FROM request WHERE answer IS NOT NULL").fetchall()
        except sqlite3.OperationalError:  # killed before it was laid out
            return set()
    return {json.dumps(json.loads(messages)) for (messages,) in rows}


def _key(body: dict[str, Any]) -> str:
    return json.dumps([[message["role"], message["content"]] for message in body["messages"]])
