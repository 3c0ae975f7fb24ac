"""`rolekit bench score`: what saved answers are worth. No model is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands import bench_options as options
from rolekit.commands.progress import advise, progress
from rolekit.errors import RolekitError
from rolekit.paths import expanded
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.rolebench.answers import AnswerReading
    from rolekit.rolebench.records import Reading

ScorerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scorer",
        metavar="NAME",
        help="standard, paper, opencompass or rouge-score; may be given several times."
        " Without it: standard, and paper beside it in the table.",
        show_default=False,
    ),
]
Raw = Annotated[
    str | None,
    typer.Option(
        "--raw",
        metavar="FILE",
        help="Plain answers to the general questions, for RAW: Alpaca, BELLE, COIG, Super-NaturalInstructions …",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="PATH", help="The references: a file or folder of RoleBench.", show_default=False
    ),
]


def score(
    answers: options.Answers,
    data: Data = None,
    scorer: ScorerOption = None,
    stemmer: Annotated[
        bool, typer.Option("--stemmer", help="Porter stems (standard and rouge-score).")
    ] = False,
    raw: Raw = None,
    as_json: options.JsonByScorer = False,
) -> None:
    """Score saved answers: CUS, RAW, SPE and their mean, each with its scorer, its interval and what it counts.

    Rows of ANSWERS are {"role", "question", "answer"}, or RoleBench's with "generated". They are joined with the
    references by role and question, exactly, then stripped.
    """
    from rolekit.rolebench.runs import is_run, open_run
    from rolekit.rolebench.scorers import open_scorer
    from rolekit.rolebench.summary import save_scores, score_files, summary

    names = scorer or (["standard"] if as_json else ["standard", "paper"])
    scorers = [open_scorer(name, stemmer and name in ("standard", "rouge-score")) for name in names]
    path = expanded(answers)
    reading, saved = load(path, data, raw)
    tell_faults(reading, saved)
    with progress() as told:
        scorings = score_files(reading, saved, scorers, told)
    rows = [summary(scoring, reading, saved) for scoring in scorings]
    if is_run(path) and not data:
        run = open_run(path)
        save_scores(run, rows)
        if not run.finished:
            advise("The run is not finished: these are the answers so far.")
    for row in rows:
        if as_json:
            print(json.dumps(row, ensure_ascii=False))
    if not as_json:
        from rolekit.commands.bench_pages import print_summaries

        print_summaries(rows)


def load(path: Path, data: str | None, raw: str | None) -> tuple[Reading, AnswerReading]:
    """The records and answers that a command's arguments name.

    Raises RolekitError when they cannot be read, or the references of a plain answers file are not given.
    """
    from rolekit.rolebench.answers import read_answers
    from rolekit.rolebench.records import read_records, usable
    from rolekit.rolebench.runs import ANSWERS, open_run
    from rolekit.rolebench.summary import read_run

    if path.is_dir() and not data:
        reading, saved = read_run(open_run(path))
    else:
        if not data:
            raise RolekitError(
                f"{path} alone has no references to compare with."
                if path.exists()
                else f"There is no {path}.",
                "Give a run folder, or add --data REFERENCES.jsonl.",
            )
        saved = read_answers(path / ANSWERS if path.is_dir() else path)
        place = expanded(data)
        reading = read_records(place, "test" if place.is_dir() else "")
        usable(reading, place)
    if raw:
        from rolekit.rolebench.raw import with_raw_references

        reading = with_raw_references(reading, expanded(raw), advise)
    return reading, saved


def tell_faults(reading: Reading, saved: AnswerReading, shown: int = 10) -> None:
    """Name on stderr the rows that could not be used, the first of them in full."""
    faults: list[Any] = [*reading.faults, *saved.faults]
    for fault in faults[:shown]:
        advise(f"left out: {one_line(str(fault), 200)}")
    if len(faults) > shown:
        advise(f"left out: {count(len(faults) - shown)} more bad rows")
