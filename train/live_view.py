"""Watching a run in a terminal: one picture on stderr, drawn anew with every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rolekit.text import count, one_line, size
from rolekit.train.curve import smoothed
from rolekit.train.metrics import StepMetrics
from rolekit.train.stepping import Started
from rolekit.train.views import Pace, duration, to_stderr

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as one row of bars, the newest at the right; means where there are more values than columns."""
    if not values:
        return ""
    columns = min(width, len(values))
    groups = [values[len(values) * n // columns : len(values) * (n + 1) // columns] for n in range(columns)]
    means = [sum(group) / len(group) for group in groups]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


class LiveView:
    """A picture of the run in the terminal on stderr, drawn anew with every step; gone when it is closed."""

    def __init__(self, title: str, question: str = "") -> None:
        """Starts drawing at once; title: the run's name; question: what the samples answer."""
        from rich.console import Console
        from rich.live import Live

        self._title, self._question = title, question
        self._losses: list[tuple[float, float]] = []
        self._held: list[tuple[int, float, bool]] = []
        self._notes: list[str] = []
        self._sample = ""
        self._last: StepMetrics | None = None
        self._epoch = 0.0
        self._started: Started | None = None
        self._pace = Pace()
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._picture, console=self._console, auto_refresh=False,
            transient=True,
        )  # fmt: skip
        self._live.start()

    def started(self, event: Started) -> None:
        """Draw the empty picture."""
        self._started = event
        self._live.refresh()

    def step(self, metrics: StepMetrics, epoch: float) -> None:
        """Draw the step."""
        self._pace.mark(metrics.step)
        self._losses.append((metrics.step, metrics.loss))
        self._last, self._epoch = metrics, epoch
        self._live.refresh()

    def evaluated(self, step: int, loss: float, best: bool) -> None:
        """Draw the held-out loss."""
        self._held.append((step, loss, best))
        self._live.refresh()

    def sampled(self, step: int, text: str) -> None:
        """Draw what the model answers."""
        self._sample = f"after step {step}: {one_line(text, 400)}"
        self._live.refresh()

    def note(self, text: str) -> None:
        """Show a sentence."""
        self._notes = [*self._notes[-2:], one_line(text, 300)]
        self._live.refresh()

    def close(self) -> None:
        """Take the picture away; a line says where it stood."""
        self._live.stop()
        if self._last:
            held = f", held-out {self._held[-1][1]:.4f}" if self._held else ""
            to_stderr(f"step {self._last.step}: loss {self._last.loss:.4f}{held}")

    def _picture(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        width = max(self._console.width - 12, 20)
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")

        def row(name: str, value: str, style: str = "") -> None:
            table.add_row(name, Text(value, style=style))

        last, started = self._last, self._started
        row(self._title and "run", one_line(self._title, width), "bold")
        if last:
            row("step", f"{last.step} of {last.total_steps} · epoch {self._epoch:.2f}" + self._eta(last))
            means = [loss for _, loss in smoothed(self._losses)]
            row("loss", f"{means[-1]:.4f}  {sparkline(means, width - 10)}")
            row("speed", self._speed(last))
            row("memory", size(last.memory_bytes))
        elif started:
            row("step", f"{started.step} of {started.steps} · {count(started.rows)} rows")
        if self._held:
            step, loss, _ = self._held[-1]
            best = min(self._held, key=lambda found: found[1])
            row("held out", f"{loss:.4f} after step {step} · best {best[1]:.4f} after step {best[0]}")
        if self._sample:
            row("asked", one_line(self._question, width), "dim")
            row("answers", self._sample)
        for note in self._notes:
            row("note", note, "yellow")
        row("", "Ctrl+C saves and stops; the same command goes on.", "dim")
        return table

    def _eta(self, last: StepMetrics) -> str:
        left = self._pace.left(last.total_steps)
        return f" · {duration(left)} left" if left is not None else ""

    @staticmethod
    def _speed(last: StepMetrics) -> str:
        gain = f", {last.row_tokens / last.tokens:.1f}x by sharing" if last.row_tokens > last.tokens else ""
        peak = f" · {last.peak_fraction:.0%} of the machine's peak" if last.peak_fraction else ""
        return f"{count(round(last.tokens_per_second))} tokens/s{gain}{peak}"
