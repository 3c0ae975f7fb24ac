"""`rolekit roles facts`: what a role is to remember of its own life, taken from a run or a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.paths import write_text
from rolekit.roles.facts import Fact, Facts, facts_file, read_facts
from rolekit.roles.library import Entry
from rolekit.text import one_line, sanitize

_STEPS = ("script-based", "script-agnostic")


def take_facts(entry: Entry, source: Path, *, as_json: bool) -> None:
    """Add the facts of a file, or of the run in a folder, to those of a role, and say how many there are now."""
    role, path = entry.loaded(), facts_file(entry.slug)
    names = (role.name, entry.slug, *role.aliases)
    taken = _of_run(source, names) if source.is_dir() else _of_file(source, names)
    kept = read_facts(path)
    if kept.faults:
        raise RolekitError(
            f"{path} has lines that are no facts ({'; '.join(kept.faults[:5])}).",
            "Mend or remove them first.",
        )
    known = {fact.text for fact in kept.facts}
    fresh = [fact for fact in taken.facts if fact.text not in known]
    rows = [{"fact": fact.text, "source": fact.source} for fact in (*kept.facts, *fresh)]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    for fault in taken.faults[:20]:
        print(f"rolekit: {one_line(source.name)} {fault}", file=sys.stderr)
    if taken.of_others:
        print(f"rolekit: {taken.of_others} rows are another role's", file=sys.stderr)
    row = {"role": role.name, "path": str(path), "added": len(fresh), "facts": len(rows)}
    shown = f"{path}: {len(rows)} facts, {len(fresh)} of them new"
    print(json.dumps(row, ensure_ascii=False) if as_json else sanitize(shown))


def _of_file(path: Path, names: tuple[str, ...]) -> Facts:
    if not path.is_file():
        raise RolekitError(
            f"There is no file {one_line(str(path), 200)}.",
            "Give a .jsonl file, or the folder of a synth run.",
        )
    found = read_facts(path, names)
    if not found.facts:
        raise RolekitError(
            f"{one_line(path.name)} has no fact of this role in it ({len(found.faults)} lines are no facts).",
            'A line is: {"fact": "…"} or {"question": "…", "answer": "…"}.',
        )
    return found


def _of_run(run: Path, names: tuple[str, ...]) -> Facts:
    """A profile's facts, and the accepted answers of Context-Instruct, a person's decisions included."""
    profile = read_facts(run / "facts.jsonl", names)
    facts, others = list(profile.facts), profile.of_others
    if (run / "rows.jsonl").is_file():
        from rolekit.roles.names import fold
        from rolekit.synthesis.audit import effective

        own = {fold(name) for name in names}
        rows = [
            row for row in effective(run) if row.verdict == "accepted" and row.step in _STEPS and row.answers
        ]
        for row in rows:
            if fold(row.role) not in own:
                others += 1
                continue
            segment = f", segment {row.segment}" if row.segment else ""
            facts.append(Fact(one_line(f"{row.question} {row.answers[0]}", 600), f"{run.name}{segment}"))
    if not facts:
        raise RolekitError(
            f"The run {one_line(run.name)} has no facts of this role.",
            "Give the folder of a finished synth run.",
        )
    return Facts(tuple(facts), profile.faults, others)
