"""The figures of rocit.md from what rocit_proof.py kept: python tests/benchmarks/rocit_report.py [--work DIR]

Everything behind the line `<!-- rocit_report.py -->` of rocit.md is written anew; what stands before it is prose.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rocit_data import ENGLISH, HELD_OUT, TRIALS, Trial, held_out_file

from rolekit.paths import write_text
from rolekit.rolebench.answers import read_answers
from rolekit.rolebench.records import read_records
from rolekit.rolebench.scorers import open_scorer
from rolekit.rolebench.scoring import Figure, figure, score_answers

MARK = "<!-- rocit_report.py -->"
METRICS = ("CUS", "SPE")
SCORERS = ("standard", "paper")


def figures(trial: Trial, work: Path, role: str = "") -> dict[tuple[str, str], Figure]:
    """Scores by scorer and metric, of all the trial's roles or of one."""
    file = work / trial.name / "answers.jsonl"
    if not file.exists():
        return {}
    answers = [a for a in read_answers(file).answers if role in ("", a.role)]
    records = read_records(held_out_file(trial, work / "data")).records
    records = tuple(record for record in records if role in ("", record.role))
    found = {}
    for name in SCORERS:
        scoring = score_answers(records, answers, open_scorer(name))
        for metric in METRICS:
            if items := scoring.items_of(metric):  # type: ignore[arg-type]
                found[name, metric] = figure(items)
    return found


def cell(value: Figure | None) -> str:
    """A score with its interval."""
    if value is None:
        return ""
    return f"{value.score:.3f} ({value.ci95.low:.3f} to {value.ci95.high:.3f})"


def score_table(names: list[str], work: Path, role: str = "") -> list[str]:
    """Lines of a table: trials down, metric and scorer across."""
    heads = [f"{metric}, {name}" for metric in METRICS for name in SCORERS]
    lines = [f"| trial | {' | '.join(heads)} | words, answer by reference |", "|---" * (len(heads) + 2) + "|"]
    for name in names:
        trial = next(trial for trial in TRIALS if trial.name == name)
        found = figures(trial, work, role)
        if not found:
            lines.append(f"| {name} | not run |" + " |" * len(heads))
            continue
        cells = [cell(found.get((scorer, metric))) for metric in METRICS for scorer in SCORERS]
        ratios = [f"{found['standard', m].length_ratio:.2f}" for m in METRICS if ("standard", m) in found]
        lines.append(f"| {name} | {' | '.join(cells)} | {' / '.join(ratios)} |")
    return lines


def events(trial: Trial, work: Path) -> list[dict[str, Any]]:
    """What the trial's run told, in order."""
    file = work / trial.name / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def training_table(names: list[str], work: Path) -> list[str]:
    """Lines of a table: held-out loss after each epoch, and what the run cost."""
    lines = [
        "| trial | rows | steps | held-out loss after each epoch | tokens | supervised | seconds | tokens/s |",
        "|---" * 8 + "|",
    ]
    for name in names:
        trial = next(trial for trial in TRIALS if trial.name == name)
        told = events(trial, work)
        steps = {event["step"]: event for event in told if event["event"] == "StepDone"}
        losses = {event["step"]: event["loss"] for event in told if event["event"] == "Evaluated"}
        if not steps:
            continue
        tokens = sum(event["tokens"] for event in steps.values())
        taught = sum(event["supervised"] for event in steps.values())
        seconds = sum(event["seconds"] for event in steps.values())
        rows = (trial.specific + trial.general) * len(trial.roles)
        shown = ", ".join(f"{losses[step]:.3f}" for step in sorted(losses))
        lines.append(
            f"| {name} | {rows} | {len(steps)} | {shown} | {tokens:,} | {taught:,} | {seconds:.0f} | "
            f"{tokens / seconds:.0f} |"
        )
    return lines


def samples(names: list[str], work: Path, count: int) -> list[str]:
    """A few held-out questions with what each trial answers."""
    lines = []
    trial = next(trial for trial in TRIALS if trial.name == names[0])
    records = read_records(held_out_file(trial, work / "data")).records
    for record in records[:: max(1, len(records) // count)][:count]:
        lines += [
            f"- **{record.role}**: {_short(record.question)}",
            f"  - reference: {_short(record.references[0])}",
        ]
        for name in names:
            file = work / name / "answers.jsonl"
            if not file.exists():
                continue
            answers = read_answers(file).answers
            text = next(
                (a.text for a in answers if (a.role, a.question) == (record.role, record.question)), ""
            )
            lines.append(f"  - {name}: {_short(text)}")
    return lines


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 160 else plain[:160] + " …"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("rocit-proof"))
    work = parser.parse_args().work
    sweep = [trial.name for trial in TRIALS if trial.trains and not trial.scored]
    trained = [trial.name for trial in TRIALS if trial.trains and trial.scored]
    general, specific = HELD_OUT["general"], HELD_OUT["role_specific"]
    parts = [
        "## Scores",
        f"Held out: {specific} role-specific and {general} general questions a role. 95 % intervals by role, then item.",
        "\n".join(score_table(["base", "general-only", "specific-only", "mixed"], work)),
        "### By role",
        *(f"{role}\n\n" + "\n".join(score_table(["base", "mixed"], work, role)) for role in ENGLISH),
        "### Chinese",
        "\n".join(score_table(["base-zh", "tuned-zh"], work)),
        "### System instruction and retrieval",
        "\n".join(score_table(["base", "system-48", "base-retrieval", "retrieval-48"], work)),
        "## Training",
        "\n".join(training_table(trained, work)),
        "### Sweep",
        "\n".join(training_table(sweep, work)),
        "## Answers",
        "\n".join(samples(["base", "general-only", "specific-only", "mixed"], work, 5)),
        "\n".join(samples(["base-zh", "tuned-zh"], work, 2)),
    ]
    file = Path(__file__).with_name("rocit.md")
    prose = file.read_text(encoding="utf-8").split(MARK)[0] if file.exists() else ""
    write_text(file, prose + MARK + "\n\n" + "\n\n".join(part for part in parts if part) + "\n")


if __name__ == "__main__":
    main()
