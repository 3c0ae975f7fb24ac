"""A scoring as a row of JSON, and a run's scores.json: figures that name their scorer and say what they count."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rolekit import __version__
from rolekit.errors import RolekitError
from rolekit.paths import file_sha256, write_text
from rolekit.rolebench.answers import AnswerReading, read_answers
from rolekit.rolebench.records import Reading, read_records, usable
from rolekit.rolebench.runs import SCORES, Run
from rolekit.rolebench.scorers import Scorer
from rolekit.rolebench.scoring import METRICS, Scoring, average, figure, length_ratio, score_answers


def score_files(
    reading: Reading,
    answers: AnswerReading,
    scorers: Sequence[Scorer],
    report: Callable[[str, int, int], None] = lambda scorer, done, total: None,
) -> list[Scoring]:
    """One scoring a scorer, of the same answers.

    Raises RolekitError when no row is an answer, or no answer belongs to any record: then the two files are not about
    the same questions.
    """
    if not answers.answers:
        shown = "\n".join(f"  {fault}" for fault in answers.faults[:20])
        raise RolekitError(
            "No row is an answer.", f'A row is {{"role", "question", "answer"}}. The faults:\n{shown}'
        )
    found = []
    for scorer in scorers:

        def told(done: int, total: int, name: str = scorer.name) -> None:
            report(name, done, total)

        found.append(score_answers(reading.records, answers.answers, scorer, told))
    if found and not found[0].joined.answered:
        roles = ", ".join(found[0].joined.unknown_roles[:5])
        raise RolekitError(
            f"None of the {len(answers.answers)} answers belongs to one of the {len(reading.records)} records"
            + (f" (roles the data does not have: {roles})." if roles else "."),
            "Answers are found by role and question: give the data that was asked.",
        )
    return found


def read_run(run: Run) -> tuple[Reading, AnswerReading]:
    """What a run asked and what was answered so far.

    Raises RolekitError when nothing was answered yet, or the files cannot be read.
    """
    if not run.answers_file.is_file():
        raise RolekitError(f"{run.folder} has no answers yet.", "Go on with the same `rolekit bench run`.")
    reading = read_records(run.records_file)
    usable(reading, run.records_file)
    return reading, read_answers(run.answers_file)


def summary(scoring: Scoring, reading: Reading, answers: AnswerReading) -> dict[str, Any]:
    """The figures as one JSON object; a score that cannot be computed is null, its reason under `unscored`."""
    figures = {m: figure(scoring.items_of(m)) for m in METRICS if m not in scoring.unscored}
    mean = average(scoring)
    scores: dict[str, float | None] = {m: figures[m].score if m in figures else None for m in METRICS}
    ci95: dict[str, list[float]] = {m: [f.ci95.low, f.ci95.high] for m, f in figures.items()}
    scores["avg"] = mean[0] if mean else None
    if mean:
        ci95["avg"] = [mean[1].low, mean[1].high]
    return {
        "scorer": scoring.scorer,
        "scores": scores,
        "ci95": ci95,
        "n": {"asked": scoring.asked, "answered": scoring.joined.answered, "scored": scoring.scored},
        "length_ratio": length_ratio([item for item in scoring.items if item.metric != "RAW"]),
        "unscored": scoring.unscored,
        "scored_by_metric": {m: f.scored for m, f in figures.items()},
        "length_ratio_by_metric": {m: f.length_ratio for m, f in figures.items()},
        "mean_over_references": {m: f.mean_over_references for m, f in figures.items()},
        "says": scoring.says,
        "accounts": accounts(scoring, reading, answers),
    }


def accounts(scoring: Scoring, reading: Reading, answers: AnswerReading) -> dict[str, int]:
    """Everything that did not go the straight way, by count."""
    joined = scoring.joined
    return {
        "joined_exactly": joined.exact,
        "joined_stripped": joined.stripped,
        "unanswered": scoring.asked - joined.answered,
        "empty_answers": scoring.empty,
        "cut_off_answers": sum(a is not None and a.stop_reason == "length" for _, a in joined.pairs),
        "unreadable_references": sum(scoring.unreadable.values()),
        "answers_to_nothing": len(joined.unmatched),
        "answers_of_unknown_roles": sum(a.role in joined.unknown_roles for a in joined.unmatched),
        "rows_with_several_answers": answers.several,
        "bad_answer_rows": len(answers.faults),
        "bad_record_rows": len(reading.faults),
    }


def save_scores(run: Run, summaries: Sequence[dict[str, Any]]) -> Path:
    """Put the summaries into the run's scores.json; those of other scorers stay while the answers are the same."""
    target = run.folder / SCORES
    answers_sha256 = file_sha256(run.answers_file)
    kept = load_scores(run)
    scores = kept if kept is not None else {}
    scores |= {row["scorer"]: row for row in summaries}
    content = {"rolekit": __version__, "answers_sha256": answers_sha256, "scores": scores}
    write_text(target, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return target


def load_scores(run: Run) -> dict[str, Any] | None:
    """The saved summaries by scorer; None where there are none, or the answers have changed since."""
    try:
        content = json.loads((run.folder / SCORES).read_text(encoding="utf-8"))
        answers_sha256 = file_sha256(run.answers_file)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("answers_sha256") != answers_sha256:
        return None
    scores = content.get("scores")
    return scores if isinstance(scores, dict) else None
