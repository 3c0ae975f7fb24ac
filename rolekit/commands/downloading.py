"""A download's progress on stderr: bytes, speed and time left; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rolekit.text import one_line

if TYPE_CHECKING:
    from rolekit.engine.transfer import Report


@contextmanager
def shown_progress() -> Iterator[Report]:
    """What to hand to a transfer; Ctrl+C inside says that nothing is lost."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(one_line(name, 36), total=total)
            progress.update(tasks[name], completed=done, visible=done < total)

        try:
            yield report
        except KeyboardInterrupt:
            print("Stopped. What has come is kept: the same command goes on from there.", file=sys.stderr)
            raise
