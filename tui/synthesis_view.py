"""How a synthesis run is drawn: the funnel, its figures, a row of the list, a row in full."""

from __future__ import annotations

from textual.content import Content

from rolekit.synthesis.rows import REASONS, Candidate
from rolekit.text import count, one_line
from rolekit.tui.safe import cells, content, line
from rolekit.tui.synthesis_folder import STAGES, SynthesisFolder

_MARKS = {"accepted": ("✓", "$success"), "rejected": ("✗", "$error"), "held": ("?", "$warning")}
_LABEL_CELLS, _NUMBER_CELLS = 11, 7
_MOST_REASONS = 6


def funnel(run: SynthesisFolder, width: int) -> Content:
    """Six lines: what came in, and what is left behind each sieve."""
    stages = run.stages
    most = max(*stages.values(), 1)
    room = max(4, width - _LABEL_CELLS - _NUMBER_CELLS - 2)
    lines = []
    for name in STAGES:
        full = round(stages[name] / most * room)
        full = max(full, 1) if stages[name] else 0
        drawn = Content.styled("▓" * full, "$primary" if name == "accepted" else "$quiet")
        number = count(stages[name]).rjust(_NUMBER_CELLS)
        lines.append(Content.assemble((name.ljust(_LABEL_CELLS), "$quiet"), number, "  ", drawn))
    return Content("\n").join(lines)


def reasons(run: SynthesisFolder, width: int) -> Content:
    """Why rows are out, the most frequent reasons first."""
    found = list(run.reasons.items())
    lines = [
        Content.assemble(count(number).rjust(5), " ", (cells(reason, max(4, width - 6)), "$quiet"))
        for reason, number in found[:_MOST_REASONS]
    ]
    return Content("\n").join(lines)


def recipe(run: SynthesisFolder) -> str:
    """What decided each step, a line each; the whole role is left out, its digest stands there."""
    lines = []
    for name, entry in run.recipes.items():
        lines += [
            name,
            *(f"  {key} {one_line(str(value), 60)}" for key, value in entry.items() if key != "character"),
            "",
        ]
    return "\n".join(lines)


def figures(run: SynthesisFolder, cap_usd: float | None) -> Content:
    """Cost, requests, rate, time left, and how the audit stands: one line."""
    cost = f"${run.usd:.4f}" if run.usd < 1 else f"${run.usd:.2f}"
    parts = [f"{cost} of ${cap_usd:.2f}" if cap_usd is not None else cost]
    parts.append(f"{count(run.requests)} requests")
    if rate := run.per_minute:
        parts.append(f"{rate:.0f}/min")
    if left := run.seconds_left:
        parts.append(f"about {span(left)} left")
    if run.held:
        parts.append(f"{count(run.held)} held for you")
    found = run.agreement
    if found.decided:
        share = "" if found.share is None else f", {found.share:.0%} as the rules".replace("%", " %")
        parts.append(f"{count(found.decided)} decided{share}")
    return content(" · ".join(parts))


def span(seconds: float) -> str:
    """A time for people."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min" if whole < 7200 else f"{whole / 3600:.1f} h"


def row_line(row: Candidate, *, decided: bool) -> Content:
    """A row of the list: verdict (a dot behind it where a person decided), question, reason."""
    mark, style = _MARKS[row.verdict]
    reason = f"  {one_line(row.reason, 24)}" if row.reason else ""
    return Content.assemble(
        (mark, style), "·" if decided else " ", " ", line(row.question, limit=200), (reason, "$quiet")
    )


def row_in_full(row: Candidate) -> Content:
    """What was asked and answered, what it rests on, and why it stands where it stands."""
    pieces = [Content.assemble((f"{row.step}  ", "$quiet"), line(row.question, "bold", 400))]
    said = row.turns[1:] if row.turns else row.answers[:3]
    for text in said[:6]:
        pieces.append(line(text, limit=600))
    if row.quote:
        pieces.append(Content.assemble(("rests on  ", "$quiet"), line(row.quote, limit=300)))
    if row.reason:
        meaning = REASONS.get(row.reason, "A person decided so.")
        more = f" ({one_line(row.detail, 120)})" if row.detail else ""
        pieces.append(Content.assemble((f"{row.verdict}  ", "$quiet"), line(f"{meaning}{more}", limit=300)))
    if row.rationale:
        pieces.append(Content.assemble(("the model  ", "$quiet"), line(row.rationale, limit=300)))
    return Content("\n").join(pieces)
