"""The data of rocit.md: RoleBench rows split by question, and the trials that are made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rapidfuzz import fuzz

from rolekit.paths import write_text
from rolekit.rolebench.records import Kind, Record, as_row, read_records

ENGLISH = ("Jack Sparrow", "Lestat de Lioncourt", "Walt Kowalski")
CHINESE = ("孙悟空",)
FILES = {
    "en": (
        "rolebench-eng/instruction-generalization/role_specific/test.jsonl",
        "rolebench-eng/role-generalization/general/test.jsonl",
    ),
    "zh": ("rolebench-zh/role_specific/train.jsonl", "rolebench-zh/general/train.jsonl"),
}
HELD_OUT: dict[Kind, int] = {"role_specific": 10, "general": 16}
"""Questions a role that nothing is trained on."""
LONGEST = {"en": 110, "zh": 130}
"""Words (characters) of question and first answer together; longer rows are left out, to save time."""
NEAR = 90.0
"""A question as near as this to a held-out one (rapidfuzz's token_set_ratio) is not trained on either."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training run and what it is scored on."""

    name: str
    language: Literal["en", "zh"] = "en"
    roles: tuple[str, ...] = ENGLISH
    specific: int = 0
    """Role-specific rows a role."""
    general: int = 0
    epochs: float = 2.0
    condition: Literal["system", "retrieval"] = "system"
    lora: dict[str, Any] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    batch: dict[str, Any] = field(default_factory=dict)
    scored: bool = True
    """Whether it answers the held-out questions; False: only its held-out loss is wanted."""

    @property
    def trains(self) -> bool:
        """Whether anything is trained; the base itself is a trial too."""
        return self.specific + self.general > 0


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on in an order of their own, rows to ask, and what was left out."""

    train: tuple[Record, ...]
    test: tuple[Record, ...]
    near: int
    """Rows left out because a held-out question says nearly the same."""
    duplicates: int


def split(data: Path, language: str, roles: Sequence[str]) -> Split:
    """The rows of these roles, split by question: no held-out question is in train, for any role."""
    records = [
        record
        for file in FILES[language]
        for record in read_records(data / file).records
        if record.role in roles
    ]
    records = [record for record in records if _length(record) <= LONGEST[language]]
    unique = {(record.role, normal(record.question)): record for record in reversed(records)}
    ordered = sorted(unique.values(), key=lambda record: rank(record.question, record.role))
    test = [record for record in ordered if _is_held_out(record, ordered)]
    asked = {normal(record.question) for record in test}
    rest = [record for record in ordered if normal(record.question) not in asked]
    train = [record for record in rest if not _near(record, test)]
    return Split(tuple(train), tuple(test), len(rest) - len(train), len(records) - len(unique))


def _length(record: Record) -> int:
    texts = (record.question, record.references[0])
    return sum(len(text) if record.language == "zh" else len(text.split()) for text in texts)


def _is_held_out(record: Record, ordered: Iterable[Record]) -> bool:
    own = [other for other in ordered if (other.role, other.kind) == (record.role, record.kind)]
    return record in own[: HELD_OUT[record.kind]]


def _near(record: Record, test: Iterable[Record]) -> bool:
    question = normal(record.question)
    return any(
        other.kind == record.kind and fuzz.token_set_ratio(question, normal(other.question)) >= NEAR
        for other in test
        if record.kind == "general" or other.role == record.role
    )


def normal(question: str) -> str:
    """The question without what does not matter to telling it from others."""
    return " ".join(question.split()).casefold()


def rank(question: str, role: str = "") -> str:
    """An order that has nothing to do with the data's own; the same question comes at the same place for all roles."""
    text = normal(question)
    return hashlib.sha256(text.encode()).hexdigest() + role


def write_rows(trial: Trial, parts: Split, folder: Path) -> tuple[Path, Path]:
    """The trial's training rows and its held-out rows, as RoleBench files in folder."""
    chosen = []
    for role in trial.roles:
        for kind, count in (("role_specific", trial.specific), ("general", trial.general)):
            own = [record for record in parts.train if record.role == role and record.kind == kind]
            if len(own) < count:
                raise SystemExit(f"{trial.name}: {role} has {len(own)} {kind} rows, not {count}")
            chosen += own[:count]
    train, test = folder / f"{trial.name}.jsonl", held_out_file(trial, folder)
    write_text(train, _lines(chosen))
    asked = [record for record in parts.test if record.role in trial.roles]
    write_text(test, _lines(asked))
    return train, test


def held_out_file(trial: Trial, folder: Path) -> Path:
    """Where the rows are that the trial's roles are asked."""
    return folder / f"held-out-{trial.language}-{len(trial.roles)}.jsonl"


def _lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(as_row(record), ensure_ascii=False) + "\n" for record in records)


ONE = ("Jack Sparrow",)
BEST = {"lr": 1e-3}
"""What the sweep found for the starter."""
TRIALS = (
    *(
        Trial(f"lr-{rate:g}", roles=ONE, specific=32, general=32, optimiser={"lr": rate}, scored=False)
        for rate in (2e-4, 5e-4, 1e-3, 2e-3)
    ),
    Trial("base"),
    Trial("mixed", specific=20, general=20, optimiser=BEST),
    Trial("general-only", general=40, optimiser=BEST),
    Trial("specific-only", specific=20, optimiser=BEST),
    Trial("tuned-zh", language="zh", roles=CHINESE, specific=20, general=20, optimiser=BEST),
    Trial("base-zh", language="zh", roles=CHINESE),
    Trial("retrieval-48", specific=8, general=8, epochs=1, condition="retrieval", optimiser=BEST),
    Trial("system-48", specific=8, general=8, epochs=1, optimiser=BEST),
    Trial("base-retrieval", condition="retrieval"),
    *(
        Trial(
            f"rank-{r}",
            roles=ONE,
            specific=32,
            general=32,
            lora={"r": r, "alpha": 2 * r},
            optimiser=BEST,
            scored=False,
        )
        for r in (4, 64)
    ),
    Trial(
        "batch-8",
        roles=ONE,
        specific=32,
        general=32,
        batch={"rows_per_step": 8},
        optimiser=BEST,
        scored=False,
    ),
    Trial("epochs-4", roles=ONE, specific=32, general=32, epochs=4, optimiser=BEST, scored=False),
)
