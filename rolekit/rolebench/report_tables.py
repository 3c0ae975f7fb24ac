"""The report's tables as plain cells, which the terminal, Markdown and HTML each draw in their own way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekit.rolebench.comparing import Comparison
from rolekit.rolebench.report import Breakdown, Report
from rolekit.rolebench.scoring import METRICS, Figure
from rolekit.rolebench.wording import decimals, signed, span
from rolekit.text import count

NONE = "n/a"


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of the same width; cells are raw text, to be escaped by whoever draws them."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def summary_table(row: Mapping[str, Any]) -> Table:
    """The figures of one scorer (rolekit.rolebench.summary.summary); a missing one says why."""
    rows = []
    for metric in (*METRICS, "avg"):
        value = row["scores"][metric]
        if value is None:
            rows.append([metric, NONE, row["unscored"][metric], "", "", ""])
            continue
        mean, ratio = row["mean_over_references"].get(metric), row["length_ratio_by_metric"].get(metric)
        n = row["scored_by_metric"].get(metric)
        rows.append(
            [
                metric,
                decimals(value),
                span(row["ci95"][metric]),
                "" if mean is None else decimals(mean),
                "" if n is None else count(n),
                "" if ratio is None else f"{ratio:.2f}",
            ]
        )
    return Table(["", "score", "95 % interval", "mean of refs", "n", "length"], rows)


def breakdown_table(rows: Iterable[Breakdown], report: Report, narrow: bool = False) -> Table:
    """Groups (roles, kinds) by every scorer of the report; narrow: the interval of the leading one only."""
    scorers = [scoring.scorer for scoring in report.scorings]
    bare = set(scorers[1:]) if narrow else set()
    headings = ["", "metric", "n"]
    for name in scorers:
        headings += [name] if name in bare else [name, "95 %"]
    table = []
    for row in rows:
        some = next(iter(row.figures.values()))
        cells = [row.group, row.metric, count(some.scored)]
        for name in scorers:
            cells += _figure_cells(row.figures.get(name))[: 1 if name in bare else 2]
        table.append([*cells, f"{some.length_ratio:.2f}"])
    return Table([*headings, "length"], table)


def published_table(report: Report) -> Table:
    """This run's `paper` figures above the paper's own; report.published must be there."""
    assert report.published is not None
    ours = paper_summary(report)
    rows = [[f"this run: {report.label}", *_cells(ours["scores"][metric] for metric in (*METRICS, "avg"))]]
    rows += [[r.system, *_cells((r.cus, r.raw, r.spe, r.avg))] for r in report.published.rows]
    return Table(["", *METRICS, "avg"], rows)


def published_sentence(report: Report) -> str:
    """Where the paper's figures are from, and the length ratio without which ours cannot be read."""
    assert report.published is not None
    ratio = paper_summary(report)["length_ratio"]
    sentence = (
        f"{report.published.source}. Recall rewards length: these answers are {ratio:.2f} times as long as"
        f" their references. {report.published.note}"
    )
    return sentence.strip()


def paper_summary(report: Report) -> dict[str, Any]:
    """The summary of the scorer `paper`; the report must have it."""
    return next(row for row in report.summaries if row["scorer"] == "paper")


def change_table(comparison: Comparison) -> Table:
    """What changed, a metric a row."""
    rows = [
        [
            change.metric,
            decimals(change.before),
            decimals(change.after),
            signed(change.difference),
            f"{signed(change.ci95.low)} to {signed(change.ci95.high)}",
            f"{change.answers.better} / {change.answers.worse} / {change.answers.same}",
            f"{change.role_tally.better} / {change.role_tally.worse} / {change.role_tally.same}",
        ]
        for change in comparison.changes
    ]
    headings = ["", "before", "after", "difference", "95 % interval", "answers better / worse / same"]
    return Table([*headings, "roles better / worse / same"], rows)


def _figure_cells(found: Figure | None) -> list[str]:
    return [decimals(found.score), span([found.ci95.low, found.ci95.high])] if found else [NONE, ""]


def _cells(values: Iterable[float | None]) -> list[str]:
    return [NONE if value is None else decimals(value) for value in values]
