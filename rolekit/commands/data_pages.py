"""What `rolekit data` prints for people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rolekit.rolebench.cleaning import COUNTS
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.rolebench.checking import Check

SHOWN = 20


def print_check(check: Check) -> None:
    """The files side by side, then the overlaps, the bad rows and the flagged references."""
    console = Console(highlight=False)
    shared = _shared_folder([file.file for file in check.files])
    console.print(
        _table(["file", "rows", "bad", "records", "duplicates"], [_file_row(f, shared) for f in check.files])
    )
    console.print()
    console.print(_counts_table(check))
    if check.overlaps:
        rows = [
            [
                _short(overlap.file, shared),
                f"{count(overlap.pairs_in_train)} of {count(overlap.rows)}",
                f"{count(overlap.questions_in_train)} of {count(overlap.questions)}",
            ]
            for overlap in check.overlaps
        ]
        console.print()
        console.print(_table(["test file", "rows in train", "questions in train, for any role"], rows))
    for changed in check.changed:
        console.print(Text(f"changed since the manifest: {one_line(changed)}"))
    _print_some(console, "bad rows", [str(fault).removeprefix(shared) for fault in check.faults])
    flags = [f"{f.origin.removeprefix(shared)}: {f.leak}: {f.phrase}" for f in check.flags]
    _print_some(console, "flagged references", flags)


def print_stats(rows: Sequence[dict[str, Any]]) -> None:
    """A short block a file."""
    console = Console(highlight=False)
    shared = _shared_folder([row["file"] for row in rows])
    for row in rows:
        console.print(Text(one_line(row["file"].removeprefix(shared), 200)), style="bold")
        roles = f"{count(row['roles'])} roles, {row['fewest_per_role']}–{row['most_per_role']} each"
        asked = f"{count(row['distinct_questions'])} distinct questions"
        console.print(
            Text(f"  {count(row['records'])} records: {roles}, {asked}, {' '.join(row['languages'])}")
        )
        spread = " ".join(f"{n}:{count(times)}" for n, times in row["references_per_record"].items())
        console.print(f"  references a record: {spread}")
        for what in ("question", "reference"):
            lengths = " / ".join(count(number) for number in row[f"{what}_characters"].values())
            console.print(f"  {what} characters, median / 95th percentile / longest: {lengths}")
        kinds = [
            f"{one_line(kind, 40)} {count(number)}" for kind, number in (row["kinds"] | row["types"]).items()
        ]
        console.print(Text(f"  {', '.join(kinds)}"))


def _file_row(file: Any, shared: str) -> list[str]:
    duplicates = file.counts["exact_duplicates"] + file.counts["stripped_duplicates"]
    return [_short(file.file, shared), *map(count, (file.rows, file.faults, file.records, duplicates))]


def _counts_table(check: Check) -> Table:
    rows = [
        [name.replace("_", " "), count(sum(file.counts[name] for file in check.files))] for name in COUNTS
    ]
    leaks: dict[str, int] = {}
    for file in check.files:
        for leak, number in file.leaks.items():
            leaks[leak] = leaks.get(leak, 0) + number
    rows += [[f"flagged: {leak.replace('_', ' ')}", count(number)] for leak, number in sorted(leaks.items())]
    return _table(["what cleaning finds", "count"], rows)


def _print_some(console: Console, what: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print()
    console.print(f"{what}: {count(len(lines))}", style="bold")
    for line in lines[:SHOWN]:
        console.print(Text(one_line(line, 160)))
    if len(lines) > SHOWN:
        console.print(f"… and {count(len(lines) - SHOWN)} more; --json lists all")


def _table(headings: list[str], rows: list[list[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell, 120)) for cell in row))
    return table


def _shared_folder(files: list[str]) -> str:
    folders = [os.path.dirname(file) for file in files]
    return os.path.commonpath(folders) + os.sep if folders and all(folders) else ""


def _short(file: str, shared: str) -> str:
    name = file.removeprefix(shared)
    return name if len(name) <= 44 else f"…{name[-43:]}"
