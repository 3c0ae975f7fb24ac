"""What the Bench screen draws: the run as it goes, from values alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from rolekit.rolebench.live import Running
from rolekit.rolebench.records import Record
from rolekit.text import count
from rolekit.tui.safe import cells, content, line
from rolekit.tui.status import bar

_BAR = 20
_ROLE_CELLS = 20
_MOST_ROLES = 8


@dataclass(frozen=True, slots=True)
class Arrived:
    """An answer as it came, and what it is worth (None: nothing the scorer can read)."""

    record: Record
    text: str
    value: float | None


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything there is to see of a run."""

    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    running: tuple[Running, ...] = ()
    by_role: tuple[tuple[str, float, int], ...] = ()
    latest: tuple[Arrived, ...] = ()
    """The newest first."""
    ended: str = ""
    """How it ended, a sentence; empty while it runs."""


EMPTY = (
    ("Measure a model", "bold $primary"),
    ("\n\nChoose at the left what is asked and how; Enter changes a line. Then press ", ""),
    ("s", "bold"),
    (" to start.\nAnswers appear here as they come, with their scores; stopping is safe at any time.", ""),
    ("\n\nThe same from the shell:\n", "$quiet"),
)


def empty_page(command: str, problem: str) -> Content:
    """What stands here before anything has run: how it begins, and what is still missing."""
    parts: list[Content | str] = [
        Content.styled(text, style) if style else Content(text) for text, style in EMPTY
    ]
    parts.append(content(command, "$quiet"))
    if problem:
        parts += ["\n\n", content(problem, "$warning")]
    return Content.assemble(*parts)


def page(state: RunState, width: int) -> Content:
    """The run: how far, how good, by role, and the newest answers."""
    parts: list[Content | str] = [_progress(state), "\n\n"]
    for row in state.running:
        half = row.interval.half_width
        parts += [
            Content.styled(f"{row.metric}  {row.mean:.3f}", "bold"),
            f" ±{half:.3f}   ",
            Content.styled(f"standard F1, {count(row.scored)} answers", "$quiet"),
            "\n",
        ]
    if state.by_role:
        parts.append("\n")
        most = max(0.001, *(mean for _, mean, _ in state.by_role))
        for role, mean, number in state.by_role[:_MOST_ROLES]:
            drawn = bar(mean / most, _BAR if width >= 60 else 8)
            parts += [
                cells(role, _ROLE_CELLS),
                f" {mean:.3f} ",
                Content.styled(drawn, "$primary"),
                Content.styled(f" {number}", "$quiet"),
                "\n",
            ]
    for one in state.latest:
        parts += ["\n", *_answer(one)]
    return Content.assemble(*parts)


def _progress(state: RunState) -> Content:
    if state.ended:
        return content(state.ended, "bold")
    part = state.done / max(1, state.total)
    left = "" if state.seconds_left is None else f" · {span(state.seconds_left)} left"
    return Content(f"{bar(part, _BAR)} {count(state.done)} of {count(state.total)}{left}")


def _answer(one: Arrived) -> Sequence[Content | str]:
    chip = "  –  " if one.value is None else f" {one.value:.2f} "
    reference = one.record.references[0]
    return (
        Content.styled(chip, "reverse"),
        " ",
        line(one.record.role, "bold", 40),
        "\n",
        line(f"Q {one.record.question.strip()}", "", 400),
        "\n",
        line(f"R {reference.strip()}", "$quiet", 240),
        "\n",
        line(f"A {one.text.strip() or '(empty)'}", "", 400),
        "\n",
    )


def span(seconds: float) -> str:
    """A span of time in words short enough for a line: 40 s, 6 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
