"""The summary of a make as one HTML file: the score before and after, answers side by side, cost, time, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from rolekit import __version__
from rolekit.commands.make_log import Log
from rolekit.commands.make_plan import STEPS, Making
from rolekit.rolebench.plots import Step, steps
from rolekit.rolebench.report_page import document
from rolekit.rolebench.wording import decimals, signed
from rolekit.text import count, sanitize

_METRICS = {
    "CUS": "general questions, in the role's voice",
    "SPE": "questions about the role's own life",
}
_VERDICTS = {
    "better": "better after training",
    "worse": "worse after training",
    "cannot be told": "no difference can be told from so few questions",
}


def page(making: Making, log: Log, says: Sequence[str]) -> str:
    """The page's HTML; everything that comes from a file, a model or a person is cleaned and escaped.

    says: what a person should do next, a line each.
    """
    role, results = making.role(), making.results
    parts = [
        f"<h1>{_text(role.name)}</h1>",
        f"<p class='says'>{_text(role.description)}</p>",
        _paragraphs(says),
        f"<h2>Before and after</h2>{_scores(results['bench'])}",
        f"<h2>Answers side by side</h2>{_samples(results['bench']['samples'])}",
        f"<h2>What it was made of</h2>{_rows(results)}",
        f"<h2>Time and cost</h2>{_time(log, results)}",
        f"<h2>Files</h2>{_files(making)}",
        _foot(str(results["bench"]["scorer"])),
    ]
    return document(f"{role.name}, made by rolekit", "\n".join(part for part in parts if part))


def _foot(scorer: str) -> str:
    intervals = "95 % intervals of the paired difference, bootstrapped over questions"
    return f"<p class='dim'>Made by rolekit {__version__}. Scores: {_text(scorer)}, {intervals}.</p>"


def score_lines(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence a metric, for the terminal."""
    return [
        f"{metric} {decimals(row['before'])} -> {decimals(row['after'])} ({signed(row['difference'])},"
        f" 95 % {_span(row['ci95'])}, n {row['n']}): {_VERDICTS[row['verdict']]}"
        for metric, row in scores.items()
    ]


def duration(seconds: float) -> str:
    """A time for people: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _span(ci95: Sequence[float]) -> str:
    return f"{signed(ci95[0])} to {signed(ci95[1])}"


def _scores(bench: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{metric}: {_METRICS.get(metric, '')}", decimals(row["before"]), decimals(row["after"]),
            signed(row["difference"]), _span(row["ci95"]), str(row["n"]), _VERDICTS[row["verdict"]],
        )
        for metric, row in bench["scores"].items()
    ]  # fmt: skip
    drawn = steps(
        "before (hollow) and after (filled)",
        [Step(metric, row["before"], row["after"]) for metric, row in bench["scores"].items()],
    )
    before, after = bench["length_ratios"]
    ratio = (
        f"<p>Answers are {before:.2f} times as long as their references before, {after:.2f} times after.</p>"
    )
    heads = ("", "before", "after", "difference", "95 % interval", "n", "")
    return _table(heads, rows) + drawn + ratio


def _samples(samples: Iterable[Mapping[str, str]]) -> str:
    return "".join(
        f"<h3>{_text(row['question'])}</h3>"
        f"<div class='pair'><div><b>before</b><p>{_text(row['before'])}</p></div>"
        f"<div><b>after</b><p>{_text(row['after'])}</p></div></div>"
        f"<details><summary>reference</summary><blockquote>{_text(row['reference'])}</blockquote></details>"
        for row in samples
    )


def _rows(results: Mapping[str, Mapping[str, Any]]) -> str:
    made, train = results["synthesis"], results["train"]
    rows = [(name, count(number)) for name, number in made["funnel"].items()]
    rows += [(f"rejected: {reason}", count(number)) for reason, number in made["reasons"].items()]
    rows += [("rows trained on", count(train["rows"])), ("optimiser steps", count(train["steps"]))]
    if train["eval_loss"] is not None:
        rows.append(("held-out loss", f"{train['eval_loss']:.3f}"))
    return _table(("", "n"), rows)


def _time(log: Log, results: Mapping[str, Mapping[str, Any]]) -> str:
    rows, total, usd, requests = [], 0.0, 0.0, 0
    for name in STEPS:
        record, result = log.of(name), results[name]
        total, usd = total + record.seconds, usd + result.get("usd", 0.0)
        requests += result.get("requests", 0)
        rows.append(
            (
                name, duration(record.seconds), str(record.attempts), _count(result.get("requests")),
                _usd(result.get("usd")),
            )
        )  # fmt: skip
    rows.append(("in all", duration(total), "", _count(requests), _usd(usd)))
    note = "<p class='dim'>An attempt that was killed has left no time behind; what it did counts in the next.</p>"
    killed = any(log.of(name).attempts > 1 for name in STEPS)
    return _table(("", "time", "attempts", "requests", "cost"), rows) + (note if killed else "")


def _count(number: int | None) -> str:
    return "" if number is None else count(number)


def _usd(usd: float | None) -> str:
    return "" if usd is None else f"${usd:.4f}"


def _files(making: Making) -> str:
    results = making.results
    found = {
        "the role, yours to edit": str(making.role_file()),
        "rows and decisions": "synthesis",
        "training data, with its card": results["synthesis"]["data"],
        "adapter, as trained": results["train"]["adapter"],
        "loss curve": results["train"]["curve"],
        "adapter for chats": results["convert"]["adapter"],
        "model, merged": results["convert"]["model"],
        "the bench's own report": results["bench"]["report"],
    }
    return _table(("", ""), [(name, path) for name, path in found.items() if path])


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p><code>{_text(line)}</code></p>" for line in lines)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(text)}</th>" for text in headings)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(text: str) -> str:
    return escape(sanitize(text), quote=True)
