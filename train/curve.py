"""The loss curve of a run as one self-contained HTML file: inline SVG, no script, no network."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from rolekit.paths import write_text
from rolekit.train.metrics import StepMetrics

CURVE_NAME = "curve.html"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 860, 380, 60, 40

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; --train: #3b78c2; --held: #c2603b; --line: #8886; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; }}
svg text {{ font: 12px system-ui, sans-serif; fill: currentColor; }}
table {{ border-collapse: collapse; }} td {{ padding: .1rem 1rem .1rem 0; }}
blockquote {{ margin: .3rem 0 1rem; padding-left: .8rem; border-left: 3px solid var(--line); white-space: pre-wrap; }}
</style></head><body><h1>{title}</h1>{chart}{facts}{samples}</body></html>
"""


def write_curve(
    folder: Path, steps: Sequence[StepMetrics], title: str, facts: Sequence[tuple[str, str]]
) -> Path:
    """Write folder/curve.html: the losses, facts as a table, the sample answers in the order they were given.

    Raises RolekitError when the disk is full.
    """
    path = folder / CURVE_NAME
    samples = [(row.step, row.sample) for row in steps if row.sample]
    page = _PAGE.format(
        title=html.escape(title),
        chart=chart(steps),
        facts=_table(facts),
        samples="".join(
            f"<p>After step {step}:</p><blockquote>{html.escape(text)}</blockquote>" for step, text in samples
        ),
    )
    write_text(path, page)
    return path


def chart(steps: Sequence[StepMetrics]) -> str:
    """An SVG of the training loss (and its running mean) and the held-out loss over the steps."""
    train = [(row.step, row.loss) for row in steps]
    held = [(row.step, row.eval_loss) for row in steps if row.eval_loss is not None]
    if not train:
        return "<p>No step was taken.</p>"
    values = sorted(loss for _, loss in [*train, *held])
    low, high = values[0], values[min(len(values) - 1, round(len(values) * 0.99))]
    margin = (high - low) * 0.06 or 0.1
    low, high, last = max(low - margin, 0.0), high + margin, max(train[-1][0], 2)

    def place(step: float, loss: float) -> str:
        x = _LEFT + (step - 1) / (last - 1) * (_WIDTH - _LEFT - 12)
        y = 10 + (high - min(max(loss, low), high)) / (high - low) * (_HEIGHT - 10 - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    def line(points: Sequence[tuple[float, float]], style: str) -> str:
        joined = " ".join(place(*point) for point in points)
        return f'<polyline fill="none" points="{joined}" style="{style}"/>'

    dots = "".join(
        '<circle cx="{}" cy="{}" r="3.5" style="fill:var(--held)"/>'.format(*place(*point).split(","))
        for point in held
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Loss by step">'
        + _axes(low, high, last, place)
        + line(train, "stroke:var(--train);stroke-width:1;opacity:.35")
        + line(smoothed(train), "stroke:var(--train);stroke-width:2")
        + line(held, "stroke:var(--held);stroke-width:2")
        + dots
        + f'<text x="{_WIDTH - 190}" y="24" style="fill:var(--train)">training (running mean)</text>'
        + (
            f'<text x="{_WIDTH - 190}" y="42" style="fill:var(--held)">held-out questions</text>'
            if held
            else ""
        )
        + "</svg>"
    )


def smoothed(points: Sequence[tuple[float, float]], weight: float = 0.8) -> list[tuple[float, float]]:
    """The exponential running mean, without the bias of its first values."""
    found, total, norm = [], 0.0, 0.0
    for step, loss in points:
        total = weight * total + (1 - weight) * loss
        norm = weight * norm + (1 - weight)
        found.append((step, total / norm))
    return found


def _axes(low: float, high: float, last: int, place: Callable[[float, float], str]) -> str:
    parts = []
    for number in range(5):
        loss = low + (high - low) * number / 4
        _, y = place(1, loss).split(",")
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 12}" y1="{y}" y2="{y}" style="stroke:var(--line)"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{loss:.2f}</text>')
    for step in sorted({1, *(max(round(last * part / 4), 1) for part in (1, 2, 3)), last}):
        x, _ = place(step, low).split(",")
        parts.append(f'<text x="{x}" y="{_HEIGHT - 18}" text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 2}" text-anchor="middle">step</text>')
    return "".join(parts)


def _table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in facts
    )
    return f"<table>{rows}</table>"
