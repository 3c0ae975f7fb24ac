"""What there is to say about a set before it is used, and the cleaned set with its manifest."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rolekit.rolebench.cleaning import Cleaned, Flag, clean
from rolekit.rolebench.manifest import MANIFEST, changed_files, file_entry, write_manifest
from rolekit.rolebench.overlap import Overlap, overlaps
from rolekit.rolebench.records import Reading, Record, as_row, read_records
from rolekit.rolebench.rows import Fault, write_rows

QUARANTINE = "quarantine.jsonl"
FLAGS = "flags.jsonl"


@dataclass(frozen=True, slots=True)
class FileCheck:
    """One file: what it holds, and what cleaning would do to it."""

    file: str
    rows: int
    faults: int
    records: int
    """Once duplicates are merged."""
    counts: dict[str, int]
    """Of cleaning (rolekit.rolebench.cleaning.COUNTS)."""
    leaks: dict[str, int]
    """Flagged references by kind of leak."""


@dataclass(frozen=True, slots=True)
class Check:
    """A whole set."""

    files: tuple[FileCheck, ...]
    faults: tuple[Fault, ...]
    flags: tuple[Flag, ...]
    overlaps: tuple[Overlap, ...]
    changed: tuple[str, ...]
    """Files that are not what the set's manifest says."""

    @property
    def findings(self) -> dict[str, int]:
        """What a strict check does not let pass, by count; empty when there is nothing."""
        merged = sum(f.counts["exact_duplicates"] + f.counts["stripped_duplicates"] for f in self.files)
        found = {
            "bad rows": len(self.faults),
            "duplicates": merged,
            "flagged references": len(self.flags),
            "test rows that are in train": sum(overlap.pairs_in_train for overlap in self.overlaps),
            "files changed since the manifest": len(self.changed),
        }
        return {what: number for what, number in found.items() if number}


def check_data(path: Path) -> Check:
    """Everything `rolekit data check` prints, for a file or a folder.

    Raises RolekitError when there is nothing to read.
    """
    reading = read_records(path)
    cleaned = _cleaned_by_file(reading)
    bad = Counter(fault.origin.rpartition(":")[0] for fault in reading.faults)
    return Check(
        files=tuple(
            _file_check(file, reading.rows_by_file[file], bad[file], cleaned[file])
            for file in reading.rows_by_file
        ),
        faults=reading.faults,
        flags=tuple(flag for one in cleaned.values() for flag in one.flags),
        overlaps=overlaps(reading.by_file()),
        changed=tuple(changed_files(path)) if path.is_dir() else (),
    )


def write_clean_set(path: Path, out: Path) -> dict[str, Any]:
    """Put the cleaned set at out, file by file in the same layout, and return its counts.

    Beside it: quarantine.jsonl (rows that could not be used), flags.jsonl (references that fall out of their role)
    and manifest.json with the hash of every input and output. The same input gives the same bytes. Raises
    RolekitError when there is nothing to read or out cannot be written.
    """
    reading = read_records(path)
    root = path if path.is_dir() else path.parent
    made, inputs, flags = [], [], []
    totals: Counter[str] = Counter()
    for file, cleaned in _cleaned_by_file(reading).items():
        source = Path(file)
        inputs.append(file_entry(source, root) | {"rows": reading.rows_by_file[file]})
        target = out / source.relative_to(root)
        write_rows(target, (as_row(_placed(record, root)) for record in cleaned.records))
        made.append(file_entry(target, out) | {"records": len(cleaned.records)})
        flags += [asdict(flag) | {"origin": _place(flag.origin, root)} for flag in cleaned.flags]
        totals.update(cleaned.counts)
    quarantine = [asdict(fault) | {"origin": _place(fault.origin, root)} for fault in reading.faults]
    write_rows(out / QUARANTINE, quarantine)
    write_rows(out / FLAGS, flags)
    made += [file_entry(out / QUARANTINE, out), file_entry(out / FLAGS, out)]
    counts = {
        "rows": sum(reading.rows_by_file.values()),
        "records": sum(entry.get("records", 0) for entry in made),
        "quarantined": len(quarantine),
        "flagged": len(flags),
        "types_as_text": reading.types_as_text,
        **totals,
    }
    write_manifest(out / MANIFEST, "data clean", made, inputs=inputs, counts=counts)
    return counts


def _cleaned_by_file(reading: Reading) -> dict[str, Cleaned]:
    return {file: clean(records) for file, records in reading.by_file().items()}


def _file_check(file: str, rows: int, faults: int, cleaned: Cleaned) -> FileCheck:
    leaks: Counter[str] = Counter(flag.leak for flag in cleaned.flags)
    return FileCheck(file, rows, faults, len(cleaned.records), cleaned.counts, dict(leaks))


def _place(origin: str, root: Path) -> str:
    file, _, line = origin.rpartition(":")
    return f"{Path(file).relative_to(root).as_posix()}:{line}" if Path(file).is_relative_to(root) else origin


def _placed(record: Record, root: Path) -> Record:
    return replace(record, origin=_place(record.origin, root))
