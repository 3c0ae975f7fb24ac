"""Progress of long work on stderr: a bar with the time left in a terminal, a line now and then elsewhere; and advice."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rolekit.text import one_line, sanitize

Report = Callable[[str, int, int], None]
"""What is being worked on, how much of it is done, how much there is."""
_QUIET_SECONDS = 10.0


@contextmanager
def progress() -> Iterator[Report]:
    """A function to call with every step; what it shows is gone (or ended) when the block ends."""
    if sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _Lines().report


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"{one_line(what, 32):32}", completed=done, total=total or None)

        yield report


class _Lines:
    """A line when the work has taken another few seconds, with the time left."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._from = 0
        self._what = ""

    def report(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < self._from or not self._what:
            self._start, self._from = now, done
        self._what = what
        if now - self._last < _QUIET_SECONDS or not total:
            return
        self._last = now
        gone, worked = done - self._from, now - self._start
        left = f", {worked / gone * (total - done):.0f} s left" if gone and done < total else ""
        print(f"rolekit: {one_line(what, 60)}: {done / total:.0%}{left}", file=sys.stderr, flush=True)


def advise(text: str) -> None:
    """A line of advice on stderr."""
    print(f"rolekit: {sanitize(text)}", file=sys.stderr, flush=True)
