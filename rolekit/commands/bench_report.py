"""`rolekit bench report` and `rolekit bench compare`: what a run says, and what changed from one to another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolekit.commands import bench_options as options
from rolekit.commands.bench_score import Data, Raw, ScorerOption, load, tell_faults
from rolekit.commands.progress import advise
from rolekit.errors import RolekitError
from rolekit.paths import expanded, write_text
from rolekit.text import one_line

if TYPE_CHECKING:
    from rolekit.rolebench.comparing import Comparison
    from rolekit.rolebench.scoring import Scoring


Before = Annotated[
    str,
    typer.Option("--before", metavar="RUN", help="An earlier run, to show what changed.", show_default=False),
]
Folder = Annotated[
    str,
    typer.Option(
        "--out", metavar="DIR", help="Where the files go; the run's folder without it.", show_default=False
    ),
]


def report(
    answers: options.Answers, data: Data = None, before: Before = "", scorer: ScorerOption = None, raw: Raw = None,
    out: Folder = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:  # fmt: skip
    """Print a run's report and write it as HTML (one file, with plots), Markdown, CSV and JSON.

    standard leads; paper stands beside it with the length ratio, and with the paper's own table.
    """
    from rolekit.rolebench.comparing import compare as changes
    from rolekit.rolebench.report import build_report, facts_of
    from rolekit.rolebench.report_files import as_json as row_of
    from rolekit.rolebench.report_files import write_report
    from rolekit.rolebench.runs import is_run, open_run
    from rolekit.rolebench.scorers import open_scorer
    from rolekit.rolebench.summary import score_files

    path = expanded(answers)
    if not out and not path.is_dir():
        raise RolekitError("The report of a plain file needs a place to go.", "Add --out DIR.")
    reading, saved = load(path, data, raw)
    tell_faults(reading, saved)
    scorers = [open_scorer(name) for name in scorer or ("standard", "paper")]
    scorings = score_files(reading, saved, scorers)
    run = open_run(path) if is_run(path) else None
    label, facts = (run.label, facts_of(run.recipe)) if run else (path.name, {"answers": path.name})
    made = build_report(label, facts, run.finished if run else True, reading, saved, scorings)
    comparison = (
        changes(_scored(expanded(before), data, raw, made.lead.scorer), made.lead) if before else None
    )
    files = write_report(expanded(out) if out else path, made, comparison)
    if as_json:
        print(json.dumps(row_of(made, comparison), ensure_ascii=False))
    else:
        from rolekit.commands.bench_pages import print_report

        print_report(made, comparison)
    for file in files:
        advise(f"written: {one_line(str(file), 300)}")


def compare(
    first: options.Before,
    second: Annotated[str, typer.Argument(metavar="AFTER", help="Another, over the same questions.")],
    data: Data = None,
    scorer: ScorerOption = None,
    raw: Raw = None,
    html: Annotated[
        str, typer.Option("--html", metavar="FILE", help="Write a page as well.", show_default=False)
    ] = "",
    as_json: options.JsonByScorer = False,
) -> None:
    """Say what changed between two runs: the paired difference with its interval, roles, the most changed answers.

    Only questions that both answered are compared; the rest is counted. Roles are resampled, then questions.
    """
    from rolekit.rolebench.comparing import compare as changes
    from rolekit.rolebench.report_files import comparison_json
    from rolekit.rolebench.report_page import comparison_page

    found: list[Comparison] = []
    for name in scorer or ["standard"]:
        before, after = (_scored(expanded(path), data, raw, name) for path in (first, second))
        found.append(changes(before, after))
    if html:
        title = f"RoleBench: {Path(first).name} and {Path(second).name}"
        page = comparison_page(title, found[0]).encode("utf-8", "replace").decode()
        write_text(expanded(html), page)
        advise(f"written: {one_line(html, 300)}")
    for comparison in found:
        if as_json:
            print(json.dumps(comparison_json(comparison), ensure_ascii=False))
        else:
            from rolekit.commands.bench_pages import print_comparison

            print_comparison(comparison)


def _scored(path: Path, data: str | None, raw: str | None, scorer: str) -> Scoring:
    from rolekit.rolebench.scorers import open_scorer
    from rolekit.rolebench.summary import score_files

    reading, saved = load(path, data, raw)
    tell_faults(reading, saved)
    name, _, stemmer = scorer.partition("+")
    return score_files(reading, saved, [open_scorer(name, bool(stemmer))])[0]
