"""Plots as inline SVG: no script, no font, no picture from elsewhere. Colours come from the page's style sheet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rolekit.rolebench.wording import decimals
from rolekit.text import one_line

ROW = 18
LEFT = 190
WIDTH = 720
PLOT = WIDTH - LEFT - 60
MOST_POINTS = 1500


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of 0 to 1 with its interval."""

    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    """One value before and after."""

    label: str
    before: float
    after: float


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars with a whisker from low to high."""
    top = _ceiling([row.high for row in rows])
    parts = []
    for place, row in enumerate(rows):
        y = 24 + place * ROW
        end, low, high = (_x(value, top) for value in (row.value, row.low, row.high))
        parts.append(_label(row.label, y))
        parts.append(f'<rect class="bar" x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{ROW - 5}"/>')
        middle = y + (ROW - 5) / 2
        parts.append(f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}"/>')
        parts.append(f'<text class="value" x="{high + 5:.1f}" y="{y + 11}">{decimals(row.value, 3)}</text>')
    return _svg(title, 24 + len(rows) * ROW + 22, [*_grid(top, len(rows)), *parts])


def steps(title: str, rows: Sequence[Step]) -> str:
    """For each row a line from before (hollow) to after (filled)."""
    top = _ceiling([value for row in rows for value in (row.before, row.after)])
    parts = []
    for place, row in enumerate(rows):
        y = 24 + place * ROW
        middle = y + (ROW - 5) / 2
        start, end = _x(row.before, top), _x(row.after, top)
        kind = "up" if row.after >= row.before else "down"
        parts.append(_label(row.label, y))
        parts.append(f'<path class="step {kind}" d="M{start:.1f} {middle}H{end:.1f}"/>')
        parts.append(f'<circle class="before {kind}" cx="{start:.1f}" cy="{middle}" r="4"/>')
        parts.append(f'<circle class="after {kind}" cx="{end:.1f}" cy="{middle}" r="4"/>')
    return _svg(title, 24 + len(rows) * ROW + 22, [*_grid(top, len(rows)), *parts])


def scatter(title: str, across: str, points: Sequence[tuple[float, float]]) -> str:
    """Dots of (x, y) with y from 0 to 1; of very many a fixed part is drawn, and the title says so."""
    shown = _thinned(points)
    if len(shown) < len(points):
        title += f" ({len(shown)} of {len(points)} drawn)"
    height, bottom = 300, 264
    right = sorted(x for x, _ in points)[min(len(points) - 1, len(points) * 99 // 100)] or 1.0
    top = _ceiling([y for _, y in points])
    parts = [f'<path class="axis" d="M{LEFT} 24V{bottom}H{WIDTH - 60}"/>']
    for tick in range(5):
        y = bottom - (bottom - 24) * tick / 4
        x = LEFT + PLOT * tick / 4
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{decimals(top * tick / 4, 2)}</text>'
        )
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{right * tick / 4:.2f}</text>'
        )
    parts.append(
        f'<text class="tick" x="{LEFT + PLOT / 2}" y="{bottom + 32}" text-anchor="middle">{escape(across)}</text>'
    )
    radius = 2.2 if len(shown) > 200 else 4
    for x, y in shown:
        cx = LEFT + PLOT * min(x, right) / right
        cy = bottom - (bottom - 24) * y / top
        parts.append(f'<circle class="dot" cx="{cx:.1f}" cy="{cy:.1f}" r="{radius}"/>')
    return _svg(title, height + 4, parts)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= MOST_POINTS:
        return list(points)
    ranked = sorted(enumerate(points), key=lambda pair: hashlib.sha256(repr(pair).encode()).digest())
    return [point for _, point in ranked[:MOST_POINTS]]


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<div class="wide"><svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
        f'<text class="title" x="0" y="13">{escape(title)}</text>{"".join(parts)}</svg></div>'
    )


def _label(text: str, y: float) -> str:
    return f'<text class="label" x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(one_line(text, 28))}</text>'


def _grid(top: float, rows: int) -> list[str]:
    bottom = 24 + rows * ROW
    parts = []
    for tick in range(5):
        x = LEFT + PLOT * tick / 4
        parts.append(f'<path class="grid" d="M{x:.1f} 20V{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{decimals(top * tick / 4, 2)}</text>'
        )
    return parts


def _x(value: float, top: float) -> float:
    return LEFT + PLOT * value / top


def _ceiling(values: Sequence[float]) -> float:
    """A round number that no value passes."""
    highest = max(values, default=0.0)
    return next((step for step in (0.1, 0.2, 0.4, 0.6, 0.8) if highest <= step), 1.0)
