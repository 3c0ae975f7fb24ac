"""The data card of an export: who wrote the rows with which words, what was counted, what it cost, and whose it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rolekit.endpoints.address import is_endpoint, parse_endpoint
from rolekit.endpoints.journal import Journal, Spending
from rolekit.endpoints.prices import price_of
from rolekit.roles.role import Role
from rolekit.synthesis.audit import Decisions, after, agreement
from rolekit.synthesis.desk import SEGMENTS
from rolekit.synthesis.generator import JOURNAL
from rolekit.synthesis.recipe import read_recipes
from rolekit.synthesis.rows import REASONS, STEPS, VERDICTS, Candidate
from rolekit.synthesis.segments import read_segments
from rolekit.text import one_line


def card_text(
    run: Path,
    role: Role,
    rows: Sequence[Candidate],
    decisions: Decisions,
    files: Mapping[str, int],
    test_share: float,
) -> str:
    """The card as Markdown. rows are the run's own, before any decision; files: rows a file of the export."""
    recipes = read_recipes(run)
    parts = [
        f"# {one_line(role.name)}: synthetic training rows",
        f"Language: {role.language}. Every answer was written by a model in the role's voice; nobody said these things.",
        _section("Rows", _counts(rows, after(rows, decisions))),
        _section("Why rows are out", _reasons(rows)),
        _section("Files", _table(("file", "rows"), sorted(files.items()))),
        (
            f"A question is in the test files when the hash of its words says so ({test_share:.0%} of all questions),"
            " whatever step or run it comes from."
        ),
        _section("Audit", _audit(rows, decisions)),
        _section("How it was made", _recipes(recipes)),
        _section("What it cost", _cost(run, recipes)),
        _section("Grounding", _grounding(rows)),
        _section("Sources and licence", _licence(run, role, recipes)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _counts(rows: Sequence[Candidate], decided: Sequence[Candidate]) -> str:
    by_rules = Counter((row.step, row.verdict) for row in rows)
    final = Counter(row.step for row in decided if row.verdict == "accepted")
    lines = [
        (step, *(by_rules[step, verdict] for verdict in VERDICTS), final[step])
        for step in STEPS
        if any(by_rules[step, verdict] for verdict in VERDICTS)
    ]
    return _table(("step", *VERDICTS, "accepted after the audit"), lines)


def _reasons(rows: Iterable[Candidate]) -> str:
    """Rows and single answers that the rules took out or hold, by reason."""
    whole = Counter(row.reason for row in rows if row.reason)
    single = Counter(reason for row in rows for _, reason in row.dropped)
    lines = [
        (name, whole[name], single[name], meaning)
        for name, meaning in REASONS.items()
        if whole[name] or single[name]
    ]
    return _table(("reason", "rows", "single answers", "what it means"), lines) if lines else "None."


def _audit(rows: Sequence[Candidate], decisions: Decisions) -> str:
    found = agreement(rows, decisions)
    if not found.decided:
        return "Nobody has looked at the rows yet."
    return _table(
        ("counter", "value"),
        [
            (name.replace("_", " "), "–" if value is None else value)
            for name, value in found.as_json().items()
        ],
    )


def _recipes(recipes: Mapping[str, Mapping[str, Any]]) -> str:
    names = (
        "model",
        "prompt_version",
        "prompts_sha256",
        "role_sha256",
        "seed",
        "temperature",
        "top_p",
        "rolekit",
    )
    own = (
        "prompting",
        "references",
        "baseline",
        "candidates",
        "not_knowing",
        "refusal",
        "check",
        "dialogues",
    )
    lines = [
        (name, *(one_line(str(recipe.get(name, "–")), 70) for recipe in recipes.values()))
        for name in (*names, *own)
        if any(name in recipe for recipe in recipes.values())
    ]
    return _table(("", *recipes), lines)


def _cost(run: Path, recipes: Mapping[str, Mapping[str, Any]]) -> str:
    path = run / JOURNAL
    if not path.is_file():
        return "No journal is left."
    with Journal(path) as journal:
        spent = journal.spending()
    models = {str(recipe.get("model", "")) for recipe in recipes.values()}
    priced = all(_price_is_known(model) for model in models)
    return _table(("", "value"), list(_spending(spent, priced).items()))


def _price_is_known(model: str) -> bool:
    """Whether what a recipe's model costs is written down; one in this process costs nothing."""
    if "@local:" in model or not is_endpoint(model):
        return True
    return price_of(parse_endpoint(model)) is not None


def _spending(spent: Spending, priced: bool) -> dict[str, object]:
    unknown = "not known: the model has no price in the table"
    return {
        "requests": spent.requests,
        "sent, repetitions included": spent.sent,
        "answered": spent.answered,
        "prompt tokens": spent.prompt_tokens,
        "answer tokens": spent.completion_tokens,
        "paid, US dollars": f"{spent.usd:.4f}" if priced else unknown,
        "at most lost on the way, US dollars": f"{spent.lost_usd:.4f}" if priced else unknown,
    }


def _grounding(rows: Iterable[Candidate]) -> str:
    scores = [row.support for row in rows if row.support is not None and row.verdict != "rejected"]
    if not scores:
        return ""
    return (
        f"{len(scores)} answers rest on a segment; the share of each that the segment and the profile bear out is"
        f" {fmean(scores):.3f} in the mean. Rows below the threshold are held until a person has looked at them."
    )


def _licence(run: Path, role: Role, recipes: Mapping[str, Mapping[str, Any]]) -> str:
    models = sorted({str(recipe.get("model", "")) for recipe in recipes.values()})
    instructions = sorted(
        {
            str(recipe.get("instructions") or "rolekit's own set")
            for recipe in recipes.values()
            if "prompting" in recipe
        }
    )
    lines = [
        f"- The role: {one_line(role.origin, 300) or 'its file does not say where it comes from.'}",
        *(f"- Source: {one_line(source, 200)}" for source in role.sources),
        *(f"- Text: {one_line(name, 200)}" for name in _texts(run)),
        *(
            f"- General instructions: {one_line(name, 200)}; their own licence applies."
            for name in instructions
        ),
        (
            f"- Written by {one_line(', '.join(models), 200)}: that model's licence or its provider's terms decide what may"
            " be trained on its answers and under which name."
        ),
        "- Quotes stand in the rows as evidence; the texts they come from keep their own licence.",
    ]
    return "\n".join(lines)


def _texts(run: Path) -> list[str]:
    """The files that the segments were cut from."""
    path = run / SEGMENTS
    return list(dict.fromkeys(segment.source for segment in read_segments(path))) if path.is_file() else []


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|"]
    for row in rows:
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines)
