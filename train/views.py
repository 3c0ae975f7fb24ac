"""Watching a run: lines on stderr, and TensorBoard where it is installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rolekit.text import count, one_line, sanitize, size
from rolekit.train.metrics import StepMetrics
from rolekit.train.stepping import Started

_LINE_SECONDS = 10.0


def duration(seconds: float) -> str:
    """A time for people: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Pace:
    """How long the rest will take: the mean time of the last steps, held-out losses and samples included."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, float]] = []

    def mark(self, step: int) -> None:
        """A step is done now."""
        self._marks = [*self._marks[-30:], (step, time.monotonic())]

    def left(self, total: int) -> float | None:
        """Seconds until step total; None before two steps are done."""
        if len(self._marks) < 2:
            return None
        (first, began), (last, ended) = self._marks[0], self._marks[-1]
        return (ended - began) / max(last - first, 1) * max(total - last, 0)


class LineView:
    """A line on stderr every few seconds and with every held-out loss: for logs, pipes and screen readers."""

    def __init__(self, write: Callable[[str], None] | None = None, seconds: float = _LINE_SECONDS) -> None:
        """write: where lines go in place of stderr; seconds: the least time between two of them."""
        self._write = write or to_stderr
        self._seconds = seconds
        self._last = -seconds
        self._pace = Pace()

    def started(self, event: Started) -> None:
        """Say where the run begins."""
        goes_on = f", going on behind step {event.step}" if event.step else ""
        held = f", {count(event.held_out_rows)} held out" if event.held_out_rows else ""
        self._write(f"{event.steps} steps over {count(event.rows)} rows{held}{goes_on}")

    def step(self, metrics: StepMetrics, epoch: float) -> None:
        """Now and then, a line."""
        self._pace.mark(metrics.step)
        now = time.monotonic()
        if now - self._last < self._seconds and metrics.step != metrics.total_steps:
            return
        self._last = now
        left = self._pace.left(metrics.total_steps)
        self._write(
            f"step {metrics.step}/{metrics.total_steps} · epoch {epoch:.2f} · loss {metrics.loss:.4f} · "
            f"{metrics.tokens_per_second:.0f} tok/s · {size(metrics.memory_bytes)}"
            + (f" · {duration(left)} left" if left else "")
        )

    def evaluated(self, step: int, loss: float, best: bool) -> None:
        """A line."""
        self._write(f"step {step} · held-out loss {loss:.4f}{' (best)' if best else ''}")

    def sampled(self, step: int, text: str) -> None:
        """A line."""
        self._write(f"step {step} · answers: {one_line(text, 200)}")

    def note(self, text: str) -> None:
        """A line."""
        self._write(sanitize(text))

    def close(self) -> None:
        """Nothing is held."""


def to_stderr(text: str) -> None:
    """A line on stderr, at once."""
    print(f"rolekit: {text}", file=sys.stderr, flush=True)


class TensorBoardView:
    """The losses, learning rate and speed for TensorBoard, in folder/tensorboard."""

    def __init__(self, folder: Path) -> None:
        """Raises ModuleNotFoundError where TensorBoard is not installed."""
        from torch.utils.tensorboard import SummaryWriter

        self._open: Callable[..., Any] = partial(SummaryWriter, str(folder / "tensorboard"))
        self._writer: Any = None

    def started(self, event: Started) -> None:
        """Open the log; what a stopped run had written behind its last checkpoint is struck out."""
        self._writer = self._open(purge_step=event.step + 1)

    def step(self, metrics: StepMetrics, epoch: float) -> None:
        """Scalars of the step."""
        self._writer.add_scalar("loss/train", metrics.loss, metrics.step)
        self._writer.add_scalar("learning_rate", metrics.lr, metrics.step)
        self._writer.add_scalar("tokens_per_second", metrics.tokens_per_second, metrics.step)

    def evaluated(self, step: int, loss: float, best: bool) -> None:
        """The held-out loss."""
        self._writer.add_scalar("loss/held_out", loss, step)

    def sampled(self, step: int, text: str) -> None:
        """The answer as text."""
        self._writer.add_text("sample", text, step)

    def note(self, text: str) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()
