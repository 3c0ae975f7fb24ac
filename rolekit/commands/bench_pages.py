"""What `rolekit bench` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rolekit.rolebench import report_tables
from rolekit.rolebench.report_tables import (
    NONE,
    breakdown_table,
    change_table,
    published_sentence,
    published_table,
    summary_table,
)
from rolekit.rolebench.wording import comparison_sentences, decimals, sentences_of_accounts, signed
from rolekit.text import count, one_line, sanitize

if TYPE_CHECKING:
    from rolekit.rolebench.comparing import Comparison
    from rolekit.rolebench.report import Report

ROLES_SHOWN = 10


def print_summaries(rows: Sequence[dict[str, Any]]) -> None:
    """One table a scorer, and once for all: how many were asked, answered and scored, and what went astray."""
    console = Console(highlight=False)
    for row in rows:
        console.print(Text(f"{row['scorer']}: {sanitize(row['says'])}", style="bold"))
        table = summary_table(row)
        missing = [cells for cells in table.rows if cells[1] == NONE]
        console.print(drawn(replace(table, rows=[cells for cells in table.rows if cells[1] != NONE])))
        for metric, _, reason, *_ in missing:
            console.print(Text(f"{metric}  {NONE}: {reason}"))
    n = rows[0]["n"]
    console.print(
        f"asked {count(n['asked'])} · answered {count(n['answered'])} · scored {count(n['scored'])}"
        f" · answers are {rows[0]['length_ratio']:.2f} times as long as their references"
    )
    for sentence in sentences_of_accounts(rows[0]["accounts"]):
        console.print(Text(sentence))


def print_report(report: Report, comparison: Comparison | None) -> None:
    """The summaries, the paper beside `paper`, what changed, kinds, and the roles at both ends."""
    console = Console(highlight=False)
    console.print(Text(one_line(report.label, 200), style="bold"))
    print_summaries(report.summaries)
    if report.published:
        console.print()
        console.print(Text(f"Beside the paper (scorer: paper). {published_sentence(report)}"))
        console.print(drawn(published_table(report)))
    if comparison:
        console.print()
        print_comparison(comparison, answers_shown=0)
    console.print()
    console.print(drawn(breakdown_table(report.by_kind, report, narrow=True)))
    console.print()
    lead = report.lead.scorer
    ranked = sorted(
        (row for row in report.by_role if lead in row.figures), key=lambda row: -row.figures[lead].score
    )
    if len(ranked) > 2 * ROLES_SHOWN:
        console.print(f"the {ROLES_SHOWN} highest and lowest of {count(len(ranked))}; the files have all")
        ranked = ranked[:ROLES_SHOWN] + ranked[-ROLES_SHOWN:]
    console.print(drawn(breakdown_table(ranked, report, narrow=True)))


def print_comparison(comparison: Comparison, answers_shown: int = 10) -> None:
    """What changed by metric and role, and the most changed answers side by side."""
    console = Console(highlight=False)
    for sentence in comparison_sentences(comparison):
        console.print(Text(sentence))
    console.print(drawn(change_table(comparison)))
    for change in comparison.changes:
        moved = sorted(change.roles, key=lambda role: -abs(role.after - role.before))[:ROLES_SHOWN]
        console.print()
        console.print(f"{change.metric}: roles that changed most")
        rows = [
            [r.role, decimals(r.before), decimals(r.after), signed(r.after - r.before), count(r.n)]
            for r in moved
        ]
        console.print(drawn(report_tables.Table(["", "before", "after", "difference", "n"], rows)))
    for pair in comparison.most_changed[:answers_shown]:
        record = pair.before.record
        console.print()
        title = f"{one_line(record.role, 40)} · {pair.before.metric} {signed(pair.difference, 3)}"
        console.print(Text(title, style="bold"))
        console.print(Text(one_line(record.question, 300)))
        table = Table(box=None, pad_edge=False, expand=True)
        for heading, item in (("before", pair.before), ("after", pair.after)):
            table.add_column(f"{heading} {decimals(item.value.best, 3)}", ratio=1)
        table.add_row(*(Text(one_line(item.answer.text, 600)) for item in (pair.before, pair.after)))
        console.print(table)


def drawn(table: report_tables.Table) -> Table:
    """A table of the report for the terminal: numbers are never broken, the first column and headings may be."""
    shown = Table(box=None, pad_edge=False)
    for place, heading in enumerate(table.headings):
        width = max((len(row[place]) for row in table.rows), default=0) if place else None
        shown.add_column(Text(heading), justify="right" if place else "left", min_width=width)
    for row in table.rows:
        shown.add_row(*(Text(one_line(cell, 120)) for cell in row))
    return shown
