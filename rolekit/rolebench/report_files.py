"""A report as files: Markdown, CSV (one row an answer), JSON, and the HTML page of rolekit.rolebench.report_page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rolekit import __version__
from rolekit.paths import ensure_dir, write_text
from rolekit.rolebench.comparing import Change, Comparison
from rolekit.rolebench.report import Breakdown, Report
from rolekit.rolebench.report_markdown import markdown
from rolekit.rolebench.report_page import page
from rolekit.rolebench.runs import REPORT
from rolekit.rolebench.scoring import Metric, Scoring


def write_report(folder: Path, report: Report, comparison: Comparison | None = None) -> list[Path]:
    """Put report.html, .md, .csv and .json into folder; each is replaced in one step. The paths, HTML first.

    comparison: of an earlier run with this one, told along. Raises RolekitError when the folder cannot be written.
    """
    ensure_dir(folder)
    contents = {
        "html": page(report, comparison),
        "md": markdown(report, comparison),
        "csv": items_csv(report.scorings),
        "json": json.dumps(as_json(report, comparison), ensure_ascii=False, indent=1) + "\n",
    }
    paths = []
    for ending, content in contents.items():
        target = folder / f"{REPORT}.{ending}"
        write_text(target, content.encode("utf-8", "replace").decode())
        paths.append(target)
    return paths


def as_json(report: Report, comparison: Comparison | None = None) -> dict[str, Any]:
    """The whole report as one JSON object, without the answers themselves (report.csv has them)."""
    made: dict[str, Any] = {
        "rolekit": __version__,
        "label": report.label,
        "finished": report.finished,
        "facts": dict(report.facts),
        "scores": list(report.summaries),
        "by_role": [_breakdown_json(row) for row in report.by_role],
        "by_kind": [_breakdown_json(row) for row in report.by_kind],
    }
    if comparison is not None:
        made["comparison"] = comparison_json(comparison)
    return made


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as one JSON object; differences are those of the second run against the first."""
    return {
        "scorer": comparison.scorer,
        "only_first": comparison.only_before,
        "only_second": comparison.only_after,
        "length_ratios": list(comparison.length_ratios),
        "metrics": {change.metric: _change_json(change) for change in comparison.changes},
        "most_changed": [
            {
                "metric": pair.before.metric,
                "role": pair.before.record.role,
                "question": pair.before.record.question,
                "reference": pair.after.best_reference,
                "first": pair.before.answer.text,
                "second": pair.after.answer.text,
                "first_value": pair.before.value.best,
                "second_value": pair.after.value.best,
            }
            for pair in comparison.most_changed
        ],
    }


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "first": change.before,
        "second": change.after,
        "difference": change.difference,
        "ci95": [change.ci95.low, change.ci95.high],
        "better_share": change.better_share,
        "verdict": change.verdict,
        "answers": asdict(change.answers),
        "roles": asdict(change.role_tally),
        "by_role": [
            {"role": role.role, "first": role.before, "second": role.after, "n": role.n}
            for role in change.roles
        ],
    }


def items_csv(scorings: Sequence[Scoring]) -> str:
    """One row an answer and metric, every scorer's value beside it.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front: answers come from anywhere.
    """
    values: dict[tuple[Metric, int], dict[str, Any]] = {}
    for scoring in scorings:
        for item in scoring.items:
            row = values.setdefault(
                (item.metric, id(item.record)),
                {
                    "metric": item.metric,
                    "role": item.record.role,
                    "kind": item.record.kind,
                    "types": " ".join(item.record.types),
                    "question": item.record.question,
                    "answer": item.answer.text,
                    "answer_words": item.answer_words,
                    "reference_words": round(item.reference_words, 2),
                    "best_reference": item.best_reference,
                },
            )
            row[scoring.scorer] = f"{item.value.best:.6f}"
            row[f"{scoring.scorer} mean"] = f"{item.value.mean:.6f}"
    columns = list(dict.fromkeys(name for row in values.values() for name in row)) or ["metric"]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(cell) for name, cell in row.items()} for row in values.values())
    return out.getvalue()


def _breakdown_json(row: Breakdown) -> dict[str, Any]:
    return {
        "group": row.group,
        "metric": row.metric,
        "scorers": {
            name: {
                "score": figure.score,
                "ci95": [figure.ci95.low, figure.ci95.high],
                "mean_over_references": figure.mean_over_references,
                "n": figure.scored,
                "length_ratio": figure.length_ratio,
            }
            for name, figure in row.figures.items()
        },
    }


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
