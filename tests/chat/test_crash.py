"""kill -9 at a hundred random moments: what was saved stays saved, and the file stays sound."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.chat.writing import CHECKPOINT_SECONDS
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.messages import Piece

WORKER = Path(__file__).with_name("crash_worker.py")
KILLS = 100


def one_life(worker, random_moment):
    """Start a life, kill it, and give what it said was on disk."""
    worker.stdin.write(b"go\n")
    worker.stdin.flush()
    kind, pid = worker.stdout.readline().decode().split()
    assert kind == "P"
    time.sleep(random_moment)
    os.kill(int(pid), signal.SIGKILL)
    said = []
    for line in iter(worker.stdout.readline, b""):
        kind, _, text = line.decode().rstrip("\n").partition(" ")
        if kind == "X":
            break
        said.append((kind, text))
    return said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork for a hundred quick starts")
def test_kill_at_a_hundred_random_moments_loses_nothing_that_was_saved(home):
    moments = random.Random(20)
    said = Counter()
    with subprocess.Popen(
        [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        for _ in range(KILLS):
            said.update(one_life(worker, moments.uniform(0.0, 0.12)))
            with sqlite3.connect(home / "chats.db") as file:
                assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            file.close()
        worker.stdin.close()
        assert worker.wait(10) == 0
    with Store() as store:
        assert store.notice == ""
        on_disk = Counter(row["text"] for row in store.database.read("SELECT text FROM node"))
        for info in store.conversations():
            path = store.path(info.id)
            assert [node.parent_id for node in path] == [None, *(node.id for node in path[:-1])]
            assert all(node.state in ("complete", "stopped") for node in path)
        cut_short = store.database.read("SELECT count(*) FROM node WHERE state='streaming'")[0][0]
        store.database.read("INSERT INTO node_text(node_text, rank) VALUES ('integrity-check', 1)")
    kinds = Counter(kind for kind, _ in said.elements())
    assert "N" not in kinds
    assert kinds["U"] > KILLS / 4, kinds
    assert kinds["R"] > KILLS / 10, kinds
    assert cut_short > KILLS / 20, "hardly a life was ended in the middle of a reply"
    for (kind, text), times in said.items():
        assert on_disk[text] >= times, (kind, text)


async def test_a_streaming_reply_is_on_disk_at_least_once_a_second(begin, store):
    assert CHECKPOINT_SECONDS <= 1
    session = begin(["word " * 40], seconds_per_word=0.04)
    seen = []
    with Store(store.database.path) as other:
        async for _ in session.say("Talk"):
            text = other.path(session.id)[-1].text
            if not seen or seen[-1] != text:
                seen.append(text)
    assert sum(text.startswith("word") for text in seen) >= 3


async def test_what_came_before_a_stall_is_on_disk_within_a_second(store, role):
    class Stalling(ScriptedBackend):
        async def stream(self, request):
            for word in ("one ", "two ", "three"):
                yield Piece(word)
            await asyncio.sleep(30)

    session = Session.start(store, Stalling(["x"]), role, "ada", options=ChatOptions())
    reply = asyncio.create_task(drain(session.say("Count")))
    await asyncio.sleep(0.95)
    with Store(store.database.path) as other:
        assert other.path(session.id)[-1].text == "one two three"
    reply.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reply


async def drain(events):
    return [event async for event in events]
