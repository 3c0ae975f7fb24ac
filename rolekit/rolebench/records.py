"""RoleBench's rows as values, and reading them from its folders or from single files.

A row is `{"role", "question", "generated": [...], "type"?}`. What a row does not say, its place says: the folder
`general` or `role_specific` gives the kind, `rolebench-zh` the language. Texts stay exactly as the file has them;
rolekit.rolebench.cleaning strips and merges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import regex  # type: ignore[import-untyped, unused-ignore]

from rolekit.errors import RolekitError
from rolekit.paths import data_dir, expanded
from rolekit.rolebench.rows import Fault, Row, read_rows

Kind = Literal["general", "role_specific"]
KINDS: tuple[Kind, ...] = ("general", "role_specific")
SPLITS = ("train", "test")

_LETTERS = regex.compile(r"\p{L}")
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to ask a role, and what a good answer says."""

    role: str
    question: str
    references: tuple[str, ...]
    """In the role's own voice: RoleGPT's answers (general) or Context-Instruct's (role_specific)."""
    kind: Kind
    raw_references: tuple[str, ...] = ()
    """Plain answers that play no role, for RAW; empty where the data has none."""
    types: tuple[str, ...] = ()
    """script_based or script_agnostic, as the row names them; empty where it does not."""
    language: str = "en"
    origin: str = ""
    """file:line of the row; of the first one where duplicates were merged."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What came out of one or more files: the records in file order, the rows that could not be used, counts."""

    records: tuple[Record, ...]
    faults: tuple[Fault, ...]
    rows_by_file: Mapping[str, int]
    """Non-blank rows a file, faulty ones included."""
    records_by_file: Mapping[str, int]
    """How many of the records each file gave; they lie in records one file after another."""
    types_as_text: int = 0
    """Rows whose `type` is a text instead of a list; both are read."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role once, in order of first appearance."""
        return tuple(dict.fromkeys(record.role for record in self.records))

    def by_file(self) -> dict[str, tuple[Record, ...]]:
        """The records of each file that was read, whatever their origin says."""
        found, start = {}, 0
        for file, number in self.records_by_file.items():
            found[file] = self.records[start : start + number]
            start += number
        return found


def record_files(path: Path, split: str = "") -> tuple[Path, ...]:
    """The files that read_records reads for path: itself, or all RoleBench rows of a folder, sorted.

    split ("train" or "test") keeps the folder's files of that name; baselines (answers, not references) are never
    among them. Raises RolekitError when there is no such path, or nothing of RoleBench below it.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise RolekitError(
            f"There is no file or folder {path}.", "Fetch RoleBench with: rolekit data pull rolebench"
        )
    wanted = (split,) if split else SPLITS
    found = tuple(sorted(file for file in path.rglob("*.jsonl") if file.stem in wanted))
    if not found:
        names = " or ".join(f"{name}.jsonl" for name in wanted)
        raise RolekitError(
            f"{path} holds no RoleBench file ({names}).",
            "Give a folder of RoleBench, or one .jsonl file of its rows.",
        )
    return found


def find_data(name: str) -> Path:
    """The path that a person typed; a bare name that is no path here is a data set that was fetched."""
    path = expanded(name)
    fetched = data_dir() / name
    return fetched if not path.exists() and "/" not in name and fetched.is_dir() else path


def read_records(path: Path, split: str = "") -> Reading:
    """The records of a file or of a whole folder of RoleBench (see record_files), nothing dropped silently.

    Raises RolekitError when the path holds no rows at all or a file cannot be read.
    """
    records: list[Record] = []
    faults: list[Fault] = []
    rows: Counter[str] = Counter()
    by_file: dict[str, int] = {}
    types_as_text = 0
    for file in record_files(path, split):
        rows[str(file)], before = 0, len(records)
        for row, item in _records_of(file):
            rows[str(file)] += 1
            if isinstance(item, Record):
                records.append(item)
                types_as_text += isinstance(row, Row) and isinstance(row.value.get("type"), str)
            else:
                faults.append(item)
        by_file[str(file)] = len(records) - before
    if not rows.total():
        raise RolekitError(f"{path} is empty.", "Give a file with one RoleBench row a line.")
    return Reading(tuple(records), tuple(faults), dict(rows), by_file, types_as_text)


def usable(reading: Reading, path: Path) -> tuple[Record, ...]:
    """The reading's records. Raises RolekitError that lists the faults when no row could be used."""
    if reading.records:
        return reading.records
    shown = "\n".join(f"  {fault}" for fault in reading.faults[:20])
    raise RolekitError(
        f"No row of {path} is a RoleBench record.",
        f'A row is {{"role": …, "question": …, "generated": [answers]}}. The faults:\n{shown}',
    )


def as_row(record: Record) -> dict[str, Any]:
    """The record as a RoleBench row that also says what its place said; read_records gives the same record back."""
    row: dict[str, Any] = {
        "role": record.role,
        "question": record.question,
        "generated": list(record.references),
        "kind": record.kind,
        "language": record.language,
        "origin": record.origin,
    }
    if record.types:
        row["type"] = list(record.types)
    if record.raw_references:
        row["raw"] = list(record.raw_references)
    return row


def language_of(text: str) -> str:
    """`zh` where at least half of the letters are Han or kana, else `en` (read: blanks part the words)."""
    letters = len(_LETTERS.findall(text))
    return "zh" if letters and 2 * len(_HAN.findall(text)) >= letters else "en"


def _records_of(file: Path) -> Iterator[tuple[Row | Fault, Record | Fault]]:
    folders = file.absolute().parts
    place_kind = next((kind for part in reversed(folders) for kind in KINDS if kind == part), None)
    place_language = "zh" if "rolebench-zh" in folders else "en" if "rolebench-eng" in folders else ""
    for row in read_rows(file):
        yield row, row if isinstance(row, Fault) else _record(row, place_kind, place_language)


def _record(row: Row, place_kind: Kind | None, place_language: str) -> Record | Fault:
    value = row.value
    reason = _why_not(value)
    if reason:
        return Fault(row.origin, reason, row.raw)
    given = value.get("type", ())
    types = (given,) if isinstance(given, str) else tuple(given or ())
    kind: Kind = value.get("kind") or place_kind or ("role_specific" if types else "general")
    references = value["generated"]
    return Record(
        role=value["role"],
        question=value["question"],
        references=(references,) if isinstance(references, str) else tuple(references),
        kind=kind,
        raw_references=tuple(value.get("raw") or ()),
        types=types,
        language=value.get("language") or place_language or language_of(value["question"]),
        origin=value.get("origin") or row.origin,
    )


def _why_not(value: dict[str, Any]) -> str:
    """Why the row is no record; empty when it is one."""
    for key in ("role", "question"):
        if key not in value:
            return f"no `{key}`"
        if not isinstance(value[key], str) or not value[key].strip():
            return f"`{key}` is not a text, or empty"
    if "generated" not in value:
        return "no `generated` (the reference answers)"
    references = value["generated"]
    if not isinstance(references, str) and not _texts(references):
        return "`generated` is not a list of texts"
    if not references:
        return "`generated` is empty"
    if not all(text.strip() for text in ([references] if isinstance(references, str) else references)):
        return "an empty reference in `generated`"
    if not isinstance(value.get("type") or "", str) and not _texts(value["type"]):
        return "`type` is neither a text nor a list of texts"
    if value.get("kind") not in (None, "", *KINDS):
        return f"`kind` is neither {KINDS[0]} nor {KINDS[1]}"
    if value.get("raw") and not _texts(value["raw"]):
        return "`raw` is not a list of texts"
    if not all(isinstance(value.get(key) or "", str) for key in ("language", "origin")):
        return "`language` or `origin` is not a text"
    return ""


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
