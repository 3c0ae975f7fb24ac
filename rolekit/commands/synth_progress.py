"""The progress of a synthesis on stderr: rows, what is out and why, tokens, cost, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.synthesis.funnel import Funnel

Show = Callable[["Funnel"], None]
_QUIET_SECONDS = 10.0
_MOST_REASONS = 4


@contextmanager
def funnel_progress() -> Iterator[Show]:
    """A function to call with every funnel: a bar in a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(bar_width=16), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(funnel: Funnel) -> None:
            bar.update(task, description=line_of(funnel), completed=funnel.done, total=funnel.total or None)

        yield show


def _lines() -> Show:
    last = time.monotonic()

    def show(funnel: Funnel) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _QUIET_SECONDS and funnel.total:
            last = now
            share = f"{funnel.done / funnel.total:.0%}"
            print(f"rolekit: {funnel.step}: {share}, {line_of(funnel)}", file=sys.stderr, flush=True)

    return show


def line_of(funnel: Funnel) -> str:
    """A moment of a run in one line: 90 accepted, 4 held, 12 out (duplicate 8, …), 120 000 tokens, $0.34, 35 s left."""
    parts = [f"{count(funnel.accepted)} accepted"]
    if funnel.held:
        parts.append(f"{count(funnel.held)} held")
    if funnel.rejected:
        first = list(funnel.rejected.items())
        reasons = ", ".join(f"{reason} {count(number)}" for reason, number in first[:_MOST_REASONS])
        more = ", …" if len(first) > _MOST_REASONS else ""
        parts.append(f"{count(sum(funnel.rejected.values()))} out ({reasons}{more})")
    parts.append(f"{count(funnel.requests)} requests, {count(funnel.tokens)} tokens")
    if funnel.usd or funnel.cap_usd is not None:
        cap = f" of ${funnel.cap_usd:.2f}" if funnel.cap_usd is not None else ""
        parts.append(f"${funnel.usd:.2f}{cap}")
    if funnel.eta_seconds is not None:
        parts.append(f"{_time(funnel.eta_seconds)} left")
    return one_line(", ".join(parts), 240)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
