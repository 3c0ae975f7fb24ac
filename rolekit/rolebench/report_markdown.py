"""A report as Markdown; nothing that comes from a file or a model can open a tag, a link or a column in it."""

from __future__ import annotations

from rolekit.rolebench.comparing import Comparison
from rolekit.rolebench.report import Report
from rolekit.rolebench.report_tables import (
    Table,
    breakdown_table,
    change_table,
    published_sentence,
    published_table,
    summary_table,
)
from rolekit.rolebench.wording import comparison_sentences, decimals, sentences_of_accounts
from rolekit.text import count, one_line


def markdown(report: Report, comparison: Comparison | None = None) -> str:
    """The report: scores, what was counted, the paper beside `paper`, before and after, kinds and roles."""
    lines = [f"# RoleBench: {_cell(report.label)}", ""]
    if not report.finished:
        lines += ["**The run is not finished: these are the answers so far.**", ""]
    for row in report.summaries:
        lines += [
            f"## {row['scorer']}",
            "",
            f"{_cell(row['says'], 300)}.",
            "",
            *_table(summary_table(row)),
            "",
        ]
    n = report.summaries[0]["n"]
    lines += [f"Asked {count(n['asked'])}, answered {count(n['answered'])}, scored {count(n['scored'])}.", ""]
    lines += [*(f"- {text}" for text in sentences_of_accounts(report.summaries[0]["accounts"])), ""]
    if report.published:
        lines += ["## Beside the paper (scorer: paper)", "", published_sentence(report), ""]
        lines += [*_table(published_table(report)), ""]
    if comparison:
        lines += comparison_markdown(comparison)
    lines += ["## By kind", "", *_table(breakdown_table(report.by_kind, report)), ""]
    lines += ["## By role", "", *_table(breakdown_table(report.by_role, report)), ""]
    if report.facts:
        facts = Table(["", ""], [[name, value] for name, value in report.facts.items()])
        lines += ["## How it was made", "", *_table(facts), ""]
    return "\n".join(lines)


def comparison_markdown(comparison: Comparison) -> list[str]:
    """The comparison's lines: what changed by metric, and the answers that changed most."""
    lines = ["## Before and after", "", *(f"- {text}" for text in comparison_sentences(comparison)), ""]
    lines += [*_table(change_table(comparison)), "", "### Most changed answers", ""]
    for pair in comparison.most_changed:
        record = pair.before.record
        lines += [
            f"**{_cell(record.role)}** · {_cell(record.question, 300)}",
            "",
            f"- before ({decimals(pair.before.value.best, 3)}): {_cell(pair.before.answer.text, 600)}",
            f"- after ({decimals(pair.after.value.best, 3)}): {_cell(pair.after.answer.text, 600)}",
            "",
        ]
    return lines


def _cell(text: str, limit: int = 80) -> str:
    """One line that Markdown takes as text: nothing in it opens a tag, a link, a column or emphasis."""
    flat = one_line(text, limit)
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#!" else letter for letter in flat)


def _table(table: Table) -> list[str]:
    return [
        f"| {' | '.join(table.headings)} |",
        f"|{'---|' * len(table.headings)}",
        *(f"| {' | '.join(_cell(cell, 200) for cell in row)} |" for row in table.rows),
    ]
