"""What `rolekit bench judge` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.endpoints.prices import Price
    from rolekit.rolebench.asking import Estimate
    from rolekit.rolebench.pairwise import PairFigures, Rank
    from rolekit.rolebench.rubric import RubricFigures


def estimate_line(about: Estimate, price: Price | None, calls: int) -> str:
    """What the judge will cost, before it is asked."""
    kept = calls - about.requests
    known = f" ({count(kept)} are in the journal already)" if kept else ""
    if price is None:
        cost = "what they cost is not known (see prices.toml)"
    elif about.high_usd:
        cost = f"about ${about.low_usd:.2f}, at most ${about.high_usd:.2f}"
    else:
        cost = "free of charge"
    return (
        f"{count(about.requests)} requests{known}, about {count(about.prompt_tokens)} tokens to read: {cost}."
    )


def pair_json(one: PairFigures) -> dict[str, Any]:
    """A pair of systems for --json."""
    row = asdict(one)
    low_high = row.pop("points_interval")
    return {"kind": "pair", **row, "points_ci95": [low_high["low"], low_high["high"]]}


def rank_json(one: Rank) -> dict[str, Any]:
    """A system's rank for --json."""
    ends = [one.average_interval.low, one.average_interval.high]
    return {
        "kind": "rank",
        "system": one.system,
        "average_rank": one.average,
        "ci95": ends,
        "questions": one.questions,
    }


def rubric_json(found: RubricFigures) -> dict[str, Any]:
    """The rubric for --json."""
    rows = {
        one.dimension: {
            "mean": one.mean, "ci95": [one.mean_interval.low, one.mean_interval.high], "flaws": one.flaws,
            "flawless": one.flawless,
        }
        for one in found.dimensions
    }  # fmt: skip
    return {"kind": "rubric", "answers": found.answers, "dimensions": rows, "made_up_flaws": found.made_up}


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def pair_lines(found: Sequence[PairFigures]) -> list[str]:
    """Every pair of systems for people."""
    lines = []
    for one in found:
        ends = one.points_interval
        lines += [
            f"{one_line(one.one, 40)} against {one_line(one.other, 40)}, {count(one.questions)} questions",
            f"  win rate {one.win_rate:.1%}   won {one.wins}, tied {one.ties}, lost {one.losses}",
            f"  won and half of the ties {one.points:.1%}, 95 % interval {ends.low:.1%} to {ends.high:.1%}",
            f"  flipped with the order {_share(one.flip_rate)}, first place won {_share(one.first_wins)}",
            f"  longer answer won {_share(one.longer_wins)}, length ratio {one.length_ratio:.2f}",
            f"  decided without the judge (equal or empty answers): {one.unjudged}",
        ]
    return lines


def rank_lines(places: Sequence[Rank]) -> list[str]:
    """The ranking for people."""
    lines = ["average rank (1 is best), 95 % interval"]
    for one in places:
        ends = one.average_interval
        lines.append(f"  {one.average:.2f}  {ends.low:.2f} to {ends.high:.2f}  {one_line(one.system, 60)}")
    return lines


def rubric_lines(found: RubricFigures) -> list[str]:
    """The rubric for people."""
    lines = [f"{count(found.answers)} answers, 100 is flawless, 95 % interval"]
    for one in found.dimensions:
        ends = one.mean_interval
        lines.append(
            f"  {one.dimension:12} {one.mean:5.1f}  {ends.low:.1f} to {ends.high:.1f}   {one.flaws} flaws,"
            f" {one.flawless:.0%} of the answers without one"
        )
    lines.append(
        f"  flaws that the judge made up (their quote is in no answer), not counted: {found.made_up}"
    )
    return lines
