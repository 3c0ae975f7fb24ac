"""A line plot in braille: two by four dots a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of the dot in row y and column x of a braille cell."""
_AXIS_CELLS = 7
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """Points from left to right, joined by lines; a style of Textual's."""

    points: tuple[Point, ...]
    style: str
    marked: bool = False
    """Draw the points themselves too, as small crosses."""


class Canvas:
    """A grid of cells that lines are drawn on; the series that was drawn last gives a shared cell its style."""

    def __init__(self, width: int, height: int) -> None:
        """width, height: in cells; each has 2 by 4 dots."""
        self.width, self.height = max(width, 1), max(height, 1)
        self._bits = [[0] * self.width for _ in range(self.height)]
        self._styles = [[""] * self.width for _ in range(self.height)]

    def dot(self, x: int, y: int, style: str) -> None:
        """Set the dot in column x and row y, counted in dots from the upper left; outside is ignored."""
        if 0 <= x < 2 * self.width and 0 <= y < 4 * self.height:
            self._bits[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
            self._styles[y // 4][x // 2] = style

    def line(self, start: tuple[int, int], end: tuple[int, int], style: str) -> None:
        """Set the dots from start to end."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            part = step / steps
            x = round(start[0] + (end[0] - start[0]) * part)
            self.dot(x, round(start[1] + (end[1] - start[1]) * part), style)

    def row(self, number: int) -> Content:
        """One row of cells, ready to be drawn."""
        pieces: list[tuple[str, str]] = []
        for bits, style in zip(self._bits[number], self._styles[number], strict=True):
            letter = chr(0x2800 + bits) if bits else " "
            if pieces and pieces[-1][1] == style:
                pieces[-1] = (pieces[-1][0] + letter, style)
            else:
                pieces.append((letter, style))
        return Content.assemble(*pieces)


class LossPlot(Widget):
    """Several series over one pair of axes, as large as the widget is; the highest hundredth is cut off."""

    series: reactive[tuple[Series, ...]] = reactive(())
    total: reactive[int] = reactive(0)
    """Where the horizontal axis ends, so that a run grows into its plot; 0: at the last point."""

    def render(self) -> Content:
        """The plot, its scale at the left, the steps below."""
        width, height = self.size.width - _AXIS_CELLS, self.size.height - 1
        points = [point for series in self.series for point in series.points]
        if not points or width < 4 or height < 2:
            return Content("")
        low, high = _range([y for _, y in points])
        last = max(self.total, *(int(x) for x, _ in points), 2)
        canvas = Canvas(width, height)
        for series in self.series:
            self._draw(canvas, series, (low, high, last))
        rows = []
        for number in range(canvas.height):
            label = ""
            if number in (0, canvas.height // 2, canvas.height - 1):
                label = f"{high - (high - low) * number / max(canvas.height - 1, 1):.2f}"
            rows.append(
                Content.assemble(
                    (f"{label:>{_AXIS_CELLS - 2}} ", "$quiet"), ("│", "$rule"), canvas.row(number)
                )
            )
        rows.append(Content.styled(" " * _AXIS_CELLS + _steps(last, width), "$quiet"))
        return Content("\n").join(rows)

    @staticmethod
    def _draw(canvas: Canvas, series: Series, scale: tuple[float, float, int]) -> None:
        low, high, last = scale
        right, bottom = 2 * canvas.width - 1, 4 * canvas.height - 1
        placed = [
            (
                round((x - 1) / (last - 1) * right),
                round((high - min(max(y, low), high)) / (high - low) * bottom),
            )
            for x, y in series.points
        ]
        for start, end in zip(placed[:1] + placed, placed, strict=False):
            canvas.line(start, end, series.style)
        if series.marked:
            for x, y in placed:
                for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    canvas.dot(x + dx, y + dy, series.style)


def smoothed(points: Sequence[Point], weight: float = 0.8) -> tuple[Point, ...]:
    """The exponential running mean of points, without the bias of its first values."""
    found: list[Point] = []
    total = norm = 0.0
    for x, y in points:
        total = weight * total + (1 - weight) * y
        norm = weight * norm + (1 - weight)
        found.append((x, total / norm))
    return tuple(found)


def _range(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))]
    margin = (high - low) * 0.05 or 0.1
    return low - margin, high + margin


def _steps(last: int, width: int) -> str:
    """The first, the middle and the last step under their places."""
    text = [" "] * width
    for part in (0.0, 0.5, 1.0):
        label = str(max(round(1 + (last - 1) * part), 1))
        start = min(max(round(part * (width - 1)) - len(label) // 2, 0), max(width - len(label), 0))
        text[start : start + len(label)] = label
    return "".join(text)[:width]
