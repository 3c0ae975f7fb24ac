"""JSON Lines, read strictly: every line is an object or a fault with its file and line number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.paths import replacing
from rolekit.text import one_line

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used: where it is (file:line), why, and the row as it stands in the file."""

    origin: str
    reason: str
    raw: str

    def __str__(self) -> str:
        """One line: FILE:LINE, the reason, and the first 60 characters of the row."""
        return f"{self.origin}: {self.reason} ({one_line(self.raw, 60)})"


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a JSON Lines file; origin is file:line, raw the line itself."""

    origin: str
    value: dict[str, Any]
    raw: str


def read_rows(path: Path) -> Iterator[Row | Fault]:
    """Every line of the file in order: an object, or the fault that it is. Blank lines are skipped.

    Raises RolekitError when the file cannot be read at all.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line and not line.isspace():
            yield _row(f"{path}:{number}", line)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Put the rows at path, one JSON object a line, in one step: a reader sees the old file or the new one."""
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")


def cut_torn_line(path: Path) -> None:
    """Cut off what stands behind the last newline: a line that a killed process did not finish."""
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        end = size
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            block = file.read(end - start)
            newline = block.rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def _lines(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}).", "Check the path and its permissions."
        ) from error
    return content.removeprefix(_BOM).split(b"\n")


def _row(origin: str, line: bytes) -> Row | Fault:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return Fault(origin, "not UTF-8", line.decode("utf-8", "replace"))
    try:
        value = json.loads(text)
    except ValueError as error:
        return Fault(
            origin, f"not JSON ({error.msg if isinstance(error, json.JSONDecodeError) else error})", text
        )
    except RecursionError:
        return Fault(origin, "nested too deeply", text)
    if not isinstance(value, dict):
        return Fault(origin, f"a JSON {_KINDS[type(value)]} where an object belongs", text)
    if "\\u" in text and _has_lone_surrogate(value):
        return Fault(origin, "half a character (a lone surrogate)", text)
    return Row(origin, value, text)


_KINDS = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def _has_lone_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
