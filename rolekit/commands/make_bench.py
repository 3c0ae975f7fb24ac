"""The last step of `rolekit make`: questions that nobody trained on, asked before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekit.commands.make_convert import chat_model
from rolekit.commands.make_plan import Making, digest_of, digest_of_file
from rolekit.commands.progress import advise
from rolekit.errors import RolekitError
from rolekit.messages import Sampling
from rolekit.paths import ensure_dir

if TYPE_CHECKING:
    from rolekit.rolebench.comparing import Comparison
    from rolekit.rolebench.planning import Plan
    from rolekit.rolebench.scoring import Scoring

FOLDER = "bench"
_SAMPLES = 8
"""Answers that the page shows side by side."""


def inputs(making: Making) -> dict[str, Any]:
    """What the scores rest on."""
    made, sizes = making.results["convert"], making.wishes.sizes
    files = [making.path(made[name]) for name in ("adapter", "model") if made[name]]
    return {
        "the questions": [making.results["synthesis"]["test_digest"], sizes.questions, sizes.answer_tokens],
        "the role": digest_of_file(making.role_file()),
        "the model": [chat_model(making), *(digest_of_file(file) for file in files)],
    }


def carry_out(making: Making) -> dict[str, Any]:
    """Ask, score and compare; the figures by metric, and some answers side by side."""
    before, after = (making.folder / FOLDER / name for name in ("before", "after"))
    planned = _planned(making)
    ref, adapters = _with_character(making)
    _asked(making, before, planned, chat_model(making), (), "before")
    _asked(making, after, planned, ref, adapters, "after")
    first, second = _scored(before), _scored(after)
    comparison = _compared(first, second)
    files = _report(making, after, comparison)
    return {
        "scorer": comparison.scorer,
        "scores": {
            change.metric: {
                "before": change.before, "after": change.after, "difference": change.difference,
                "ci95": [change.ci95.low, change.ci95.high], "verdict": change.verdict,
                "n": change.answers.better + change.answers.worse + change.answers.same,
            }
            for change in comparison.changes
        },
        "length_ratios": list(comparison.length_ratios),
        "questions": len(planned.records),
        "samples": _samples(first, second),
        "report": f"{FOLDER}/{files.name}",
        "made": [f"{FOLDER}/before/DONE", f"{FOLDER}/after/DONE", f"{FOLDER}/{files.name}"],
    }  # fmt: skip


def _with_character(making: Making) -> tuple[str, tuple[str, ...]]:
    """REF and adapters of the trained character: the adapter where there is one, else the merged file."""
    made = making.results["convert"]
    if made["adapter"]:
        return chat_model(making), (str(making.path(made["adapter"])),)
    return str(making.path(made["model"])), ()


def _planned(making: Making) -> Plan:
    from rolekit.rolebench.planning import Wishes, plan

    data = making.path(making.results["synthesis"]["data"])
    wishes = Wishes(data, making.wishes.sizes.questions, (making.role().name,), split="test")
    return plan(wishes, "zero-shot", "system", _advise(making))


def _asked(
    making: Making, folder: Path, planned: Plan, ref: str, adapters: tuple[str, ...], label: str
) -> None:
    """A bench run, asked to its end; where it is already, nothing is asked. Raises RolekitError where answers lack."""
    from rolekit.commands.bench_asking import Chosen, Settings, carry_out, check_whole
    from rolekit.rolebench.runs import is_run, open_run

    wishes = making.wishes
    if is_run(folder) and open_run(folder).finished:
        return
    settings = Settings(
        data_path=making.results["synthesis"]["data"],
        subset={
            "per_role": wishes.sizes.questions,
            "roles": [making.role().name],
            "kinds": [],
            "split": "test",
        },
        prompting="zero-shot",
        customise="system",
        sampling=Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0),
        max_tokens=wishes.sizes.answer_tokens,
        seed=wishes.seed,
        label=label,
    )
    check_whole(carry_out(folder, planned, Chosen(ref, adapters, threads=wishes.threads), settings))


def _scored(folder: Path) -> Scoring:
    from rolekit.rolebench.runs import open_run
    from rolekit.rolebench.scorers import open_scorer
    from rolekit.rolebench.summary import read_run, save_scores, score_files, summary

    run = open_run(folder)
    reading, answers = read_run(run)
    scoring = score_files(reading, answers, [open_scorer("standard")])[0]
    save_scores(run, [summary(scoring, reading, answers)])
    return scoring


def _compared(first: Scoring, second: Scoring) -> Comparison:
    from rolekit.rolebench.comparing import compare

    return compare(first, second)


def _report(making: Making, after: Path, comparison: Comparison) -> Path:
    """The bench's own report of the run after, with the comparison; its HTML file."""
    from rolekit.rolebench.report import build_report, facts_of
    from rolekit.rolebench.report_files import write_report
    from rolekit.rolebench.runs import open_run
    from rolekit.rolebench.scorers import open_scorer
    from rolekit.rolebench.summary import read_run, score_files

    run = open_run(after)
    reading, answers = read_run(run)
    scorings = score_files(reading, answers, [open_scorer(name) for name in ("standard", "paper")])
    made = build_report(making.role().name, facts_of(run.recipe), run.finished, reading, answers, scorings)
    return write_report(ensure_dir(making.folder / FOLDER), made, comparison)[0]


def _samples(first: Scoring, second: Scoring) -> list[dict[str, str]]:
    """Questions with both answers and a reference, chosen by hash so that nobody picks the flattering ones."""
    answers = {(item.record.role, item.record.question): item.answer.text for item in second.items}
    rows = [
        {
            "question": item.record.question.strip(),
            "kind": item.record.kind,
            "before": item.answer.text,
            "after": answers[key],
            "reference": item.record.references[0],
        }
        for item in first.items
        if item.metric != "RAW" and (key := (item.record.role, item.record.question)) in answers
    ]
    if not rows:
        raise RolekitError("No held-out question was answered both before and after.", "Run it --from bench.")
    return sorted(rows, key=lambda row: digest_of(row["question"]))[:_SAMPLES]


def _advise(making: Making) -> Any:
    return (lambda text: None) if making.wishes.quiet else advise
