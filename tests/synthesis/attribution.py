"""Labelled dialogue: passages with `{NAME}` in front of each quotation, and the story with a table of its speakers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Self

from rolekit.synthesis.dialogue import read_dialogue
from rolekit.synthesis.texts import Line, Text, read_texts

HERE = Path(__file__).parent
PASSAGES = sorted((HERE / "labelled").glob("*.txt"))
_MARK = re.compile(r"\{([^}]*)\}")


@dataclass
class Score:
    """How many speeches of a labelled text were given to whom."""

    right: int = 0
    wrong: int = 0
    unknown: int = 0
    missing: int = 0
    """Speeches that were not seen as such."""
    extra: int = 0
    """What was taken for a speech and is none."""
    rules: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.right + self.wrong + self.unknown + self.missing

    @property
    def precision(self) -> float:
        """Of those who were given a speaker: how many the right one."""
        return self.right / max(1, self.right + self.wrong + self.extra)

    @property
    def recall(self) -> float:
        """Of all speeches: how many have their speaker."""
        return self.right / max(1, self.total)

    def __iadd__(self, other: Score) -> Self:
        for name in ("right", "wrong", "unknown", "missing", "extra"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.rules += other.rules
        self.faults += other.faults
        return self

    def line(self, name: str) -> str:
        return (
            f"| {name} | {self.total} | {self.right} | {self.wrong + self.extra} | {self.unknown + self.missing} |"
            f" {self.precision:.1%} | {self.recall:.1%} | {self.unknown / max(1, self.total):.1%} |"
        )


def labelled(path: Path) -> tuple[Text, list[tuple[int, str]]]:
    """The text without its labels, and the labels with their lines."""
    lines: list[Line] = []
    labels: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        labels += [(number, found[1]) for found in _MARK.finditer(line)]
        lines.append(Line(number, _MARK.sub("", line)))
    return Text(path.name, tuple(lines), ".txt"), labels


def story() -> tuple[Text, list[tuple[int, str]]]:
    """The story and who speaks in which of its paragraphs."""
    [text] = read_texts([HERE / "story.txt"])
    rows = [
        row.split("\t") for row in (HERE / "story.labels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    ]
    return text, [(int(line), name) for line, name in rows]


def score(text: Text, labels: list[tuple[int, str]], language: str = "") -> Score:
    """Attribution against the labels; labels of one line that name one person are one speech."""
    role = Counter(name for _, name in labels).most_common(1)[0][0]
    dialogue, cast = read_dialogue(text, role, (), language)
    starts = sorted({line for line, _ in labels})
    found: dict[int, list[tuple[str, str, str]]] = {}
    for turn in dialogue.turns:
        if turn.kind == "speech":
            line = max((start for start in starts if start <= turn.line), default=0)
            found.setdefault(line, []).append((turn.speaker, turn.rule, turn.text))
    result = Score()
    for line in starts:
        wanted = [name for name, _ in groupby(name for at, name in labels if at == line)]
        got = found.pop(line, [])
        result.extra += max(0, len(got) - len(wanted))
        for number, name in enumerate(wanted):
            if number >= len(got):
                result.missing += 1
                continue
            speaker, rule, words = got[number]
            result.rules[rule] += 1
            if not speaker:
                result.unknown += 1
            elif cast.person(speaker) == cast.person(name):
                result.right += 1
            else:
                result.wrong += 1
                result.faults.append(f"{text.source}:{line}: {speaker} for {name} ({rule}): {words[:60]}")
    result.extra += sum(map(len, found.values()))
    return result


def language_of(path: Path) -> str:
    return "fr" if path.name.startswith("fr-") else ""


def table() -> list[str]:
    """Everything that is labelled, as rows of a table."""
    head = "| text | speeches | right | wrong | no speaker | precision | recall | unknown |"
    rows = [head, "|---" * 8 + "|", score(*story()).line("story.txt")]
    for folder in ("labelled", "heldout"):
        whole = Score()
        for path in sorted((HERE / folder).glob("*.txt")):
            one = score(*labelled(path), language_of(path))
            rows.append(one.line(f"{folder}/{path.name}"))
            whole += one
        rows.append(whole.line(f"**{folder}, all**"))
    return rows


if __name__ == "__main__":
    print("\n".join(table()))
