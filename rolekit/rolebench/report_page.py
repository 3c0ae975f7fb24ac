"""A report as one HTML file that needs nothing else: no script, no font, no picture, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rolekit import __version__
from rolekit.rolebench.comparing import Comparison
from rolekit.rolebench.plots import Bar, Step, bars, scatter, steps
from rolekit.rolebench.report import Report, most_telling
from rolekit.rolebench.report_tables import (
    NONE,
    Table,
    breakdown_table,
    change_table,
    published_sentence,
    published_table,
    summary_table,
)
from rolekit.rolebench.scoring import METRICS, Item
from rolekit.rolebench.wording import comparison_sentences, decimals, sentences_of_accounts, signed
from rolekit.text import count, sanitize

_STYLE = """
:root{color-scheme:light dark;--ink:#222;--dim:#6a6a6a;--line:#ddd;--bar:#3b6ea5;--up:#2c7a4b;--down:#b0413e;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--dim:#9a9a9a;--line:#3a3a3a;--bar:#6fa3d8;--up:#6fc08f;--down:#e08a86;--paper:#181818}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}.dim,.says{color:var(--dim)}
table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.15rem .7rem .15rem 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td{overflow-wrap:break-word;max-width:34rem}th{font-weight:600;border-bottom:1px solid var(--line)}
tr.ours td{font-weight:600}svg{width:100%;max-width:46rem;height:auto;display:block;margin:.8rem 0}
svg text{font:11px system-ui,sans-serif;fill:var(--ink)}svg .title{font-weight:600}svg .tick{fill:var(--dim)}
.bar{fill:var(--bar)}.whisker{stroke:var(--ink);stroke-width:1.2;fill:none}.grid{stroke:var(--line)}.axis{stroke:var(--dim);fill:none}
.dot{fill:var(--bar);opacity:.35}.step{stroke-width:2}.up{stroke:var(--up)}.down{stroke:var(--down)}
circle.before{fill:var(--paper)}circle.after.up{fill:var(--up)}circle.after.down{fill:var(--down)}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:1rem}.pair p,blockquote{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2rem 0}
.wide{overflow-x:auto}@media(max-width:40rem){body{margin:1rem auto}.pair{grid-template-columns:1fr;gap:.4rem}.wide svg{min-width:34rem}
table{font-size:.9rem}}th{white-space:nowrap}td.long{min-width:9rem}
blockquote{border-left:3px solid var(--line);padding-left:.8rem}details{margin:.5rem 0}summary{cursor:pointer}
"""


_LONG_CELL = 24
"""Characters from which on a cell needs a width of its own on a phone."""


def page(report: Report, comparison: Comparison | None = None) -> str:
    """The page's HTML. Everything that comes from a file or a model is escaped and cleaned."""
    n = report.summaries[0]["n"]
    counted = f"Asked {count(n['asked'])} · answered {count(n['answered'])} · scored {count(n['scored'])}"
    ratio = f"answers are {report.summaries[0]['length_ratio']:.2f} times as long as their references"
    unfinished = "<p><strong>The run is not finished: these are the answers so far.</strong></p>"
    roles = _table(breakdown_table(report.by_role, report))
    parts = [
        f"<h1>RoleBench: {_text(report.label)}</h1>",
        "" if report.finished else unfinished,
        f"<p>{counted} · {ratio}.</p>",
        _list(sentences_of_accounts(report.summaries[0]["accounts"])),
        *(_summary(row) for row in report.summaries),
        _published(report),
        _comparison(comparison) if comparison else "",
        _plots(report),
        f"<h2>By kind</h2>{_table(breakdown_table(report.by_kind, report))}",
        f"<h2>By role</h2><details open><summary>all roles</summary>{roles}</details>",
        _examples(report),
        _facts(report.facts),
        f"<p class='dim'>Made by rolekit {__version__}. Intervals: 95 %, bootstrapped by role, then item.</p>",
    ]
    return document(f"RoleBench: {report.label}", "\n".join(part for part in parts if part))


def comparison_page(title: str, comparison: Comparison) -> str:
    """A page of its own for a comparison."""
    return document(title, f"<h1>{_text(title)}</h1>{_comparison(comparison)}")


def document(title: str, body: str) -> str:
    """A whole page around body (HTML), in the reports' style; it loads nothing and runs nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _summary(row: Mapping[str, Any]) -> str:
    says = f"<p class='says'>{_text(row['says'])}</p>"
    return f"<h2>{_text(row['scorer'])}</h2>{says}{_table(summary_table(row))}"


def _published(report: Report) -> str:
    if report.published is None:
        return ""
    says = f"<p class='says'>{_text(published_sentence(report))}</p>"
    return f"<h2>Beside the paper (scorer: paper)</h2>{says}{_table(published_table(report), 'ours')}"


def _plots(report: Report) -> str:
    lead = report.lead.scorer
    drawn = []
    for metric in METRICS:
        for what, rows in (("kind", report.by_kind), ("role", report.by_role)):
            shown = [
                Bar(row.group, found.score, found.ci95.low, found.ci95.high)
                for row in rows
                if row.metric == metric and (found := row.figures.get(lead))
            ]
            if shown:
                ordered = sorted(shown, key=lambda bar: -bar.value)
                drawn.append(bars(f"{metric} by {what} ({lead}, 95 % intervals)", ordered))
        for scoring in report.scorings:
            points = [
                (item.answer_words / item.reference_words, item.value.best)
                for item in scoring.items_of(metric)
                if item.reference_words
            ]
            if points:
                across = "answer's words by its references' words"
                drawn.append(scatter(f"{metric}: length against score ({scoring.scorer})", across, points))
    return "<h2>Plots</h2>" + "".join(drawn) if drawn else ""


def _comparison(comparison: Comparison) -> str:
    drawn = []
    for change in comparison.changes:
        ordered = sorted(change.roles, key=lambda role: role.before - role.after)
        title = f"{change.metric} by role, before (hollow) and after (filled), {comparison.scorer}"
        drawn.append(steps(title, [Step(role.role, role.before, role.after) for role in ordered]))
    most = "".join(
        f"<h3>{_text(pair.before.record.role)} <span class='dim'>{pair.before.metric}"
        f" {signed(pair.difference, 3)}</span></h3><p>{_text(pair.before.record.question.strip())}</p>"
        f"<details><summary>reference</summary><blockquote>{_reference(pair.after)}</blockquote></details>"
        f"<div class='pair'><div><b>before {decimals(pair.before.value.best, 3)}</b>"
        f"<p>{_text(pair.before.answer.text)}</p></div>"
        f"<div><b>after {decimals(pair.after.value.best, 3)}</b><p>{_text(pair.after.answer.text)}</p></div></div>"
        for pair in comparison.most_changed
    )
    return (
        "<h2>Before and after</h2>"
        + _list(comparison_sentences(comparison))
        + _table(change_table(comparison))
        + "".join(drawn)
        + f"<h2>Most changed answers</h2>{most}"
    )


def _examples(report: Report) -> str:
    highest, lowest = most_telling([item for item in report.lead.items if item.metric != "RAW"])
    parts = []
    for title, items in (("Highest", highest), ("Lowest", lowest)):
        shown = "".join(
            f"<h3>{_text(item.record.role)} <span class='dim'>{item.metric}"
            f" {decimals(item.value.best, 3)}</span></h3><p>{_text(item.record.question.strip())}</p>"
            f"<div class='pair'><div><b>answer</b><p>{_text(item.answer.text)}</p></div>"
            f"<div><b>reference</b><p>{_reference(item)}</p></div></div>"
            for item in items
        )
        parts.append(
            f"<details><summary>{title} answers ({_text(report.lead.scorer)})</summary>{shown}</details>"
        )
    return "<h2>Answers</h2>" + "".join(parts)


def _facts(facts: Mapping[str, str]) -> str:
    return (
        "<h2>How it was made</h2>" + _table(Table(["", ""], [[name, value] for name, value in facts.items()]))
        if facts
        else ""
    )


def _reference(item: Item) -> str:
    return _text(item.best_reference.strip())


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(text)}</li>" for text in sentences) + "</ul>" if sentences else ""


def _table(table: Table, first_row_class: str = "") -> str:
    columns = [[row[place] for row in table.rows] for place in range(len(table.headings))]
    marks = [" class=n" if _holds_numbers(cells) else "" for cells in columns]
    head = "".join(f"<th{mark}>{_text(text)}</th>" for mark, text in zip(marks, table.headings, strict=True))
    body = "".join(
        f"<tr class='{'' if place else first_row_class}'>"
        + "".join(_cell(cell, mark) for mark, cell in zip(marks, row, strict=True))
        + "</tr>"
        for place, row in enumerate(table.rows)
    )
    shown = f"<tr>{head}</tr>" if any(table.headings) else ""
    return f"<div class='wide'><table>{shown}{body}</table></div>"


def _cell(text: str, mark: str) -> str:
    long = " class=long" if len(text) > _LONG_CELL else ""
    return f"<td{mark or long}>{_text(text)}</td>"


def _holds_numbers(cells: Sequence[str]) -> bool:
    """Whether a column reads best flush right: nothing but numbers, with what stands for a missing one."""
    numbers = [cell for cell in cells if cell not in ("", NONE)]
    return bool(numbers) and all(cell[0] in ".+−0123456789" and len(cell) < _LONG_CELL for cell in numbers)


def _text(text: str) -> str:
    return escape(sanitize(text), quote=True)
