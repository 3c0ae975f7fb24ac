"""A source as lines that know where they stand, whatever file it came in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.rolebench.rows import Fault, read_rows
from rolekit.synthesis.decoding import decode, read_bytes
from rolekit.synthesis.markup import plain_line
from rolekit.text import one_line

SUFFIXES = (".txt", ".text", ".md", ".markdown", ".srt", ".epub", ".jsonl")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a source."""

    number: int
    """From 1, in the file."""
    text: str
    speaker: str = ""
    """Where the file itself says who speaks (JSON Lines)."""
    addressee: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """One source: a file, or one document inside an EPUB."""

    source: str
    """As places name it: `story.txt`, `book.epub!chapter-2.xhtml`."""
    lines: tuple[Line, ...]
    suffix: str
    """.txt, .md, .srt, .epub or .jsonl."""

    @property
    def length(self) -> int:
        """How many characters the lines have."""
        return sum(len(line.text) for line in self.lines)


def read_texts(paths: Sequence[Path]) -> list[Text]:
    """The texts in files, in the order given.

    Raises RolekitError naming everything that cannot be read (file:line), all files at once.
    """
    texts: list[Text] = []
    faults: list[RolekitError] = []
    for path, source in zip(paths, _names(paths), strict=True):
        try:
            texts += _read(path, source)
        except RolekitError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise RolekitError(" ".join(error.what_happened for error in faults), faults[0].what_to_do)
    if not any(line.text.strip() for text in texts for line in text.lines):
        raise RolekitError("There is no text in what was given.", "Name files with words in them.")
    return texts


def _names(paths: Sequence[Path]) -> list[str]:
    """File names; with the folder in front where two files are called the same."""
    names = [path.name for path in paths]
    return [
        one_line(name if names.count(name) == 1 else f"{path.parent.name}/{name}", 200)
        for path, name in zip(paths, names, strict=True)
    ]


def _read(path: Path, source: str) -> list[Text]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise RolekitError(
            f"{source} is not a kind of text that can be read.",
            f"Name a file that ends in {', '.join(SUFFIXES)}.",
        )
    if suffix == ".epub":
        from rolekit.synthesis.epub import read_epub

        return [
            Text(f"{source}!{name}", tuple(Line(number, text) for number, text in lines), ".epub")
            for name, lines in read_epub(path, source)
        ]
    if suffix == ".jsonl":
        return [Text(source, tuple(_records(path, source)), ".jsonl")]
    text = decode(read_bytes(path), source)
    if suffix == ".srt":
        return [Text(source, tuple(_cues(text, source)), ".srt")]
    kind = ".md" if suffix in (".md", ".markdown") else ".txt"
    return [
        Text(source, tuple(Line(n, line.rstrip()) for n, line in enumerate(text.split("\n"), start=1)), kind)
    ]


_TIME = re.compile(r"\s*\d+:\d\d:\d\d[,.]\d+\s*-->\s*\d+:\d\d:\d\d[,.]\d+")


def _cues(text: str, source: str) -> list[Line]:
    """The words of subtitles, an empty line between cues; numbers, times and markup are gone."""
    lines: list[Line] = []
    found = False
    rows = text.split("\n")
    for number, row in enumerate(rows, start=1):
        if _TIME.match(row):
            found = True
            lines.append(Line(number, ""))
        elif not (row.strip().isdigit() and number < len(rows) and _TIME.match(rows[number])):
            lines.append(Line(number, plain_line(row).strip()))
    if not found:
        raise RolekitError(f"{source} has no subtitle times in it.", "Name it .txt if it is plain text.")
    return lines


_SPEAKER_KEYS = ("speaker", "role", "name", "character", "from", "author")
_TEXT_KEYS = ("text", "content", "utterance", "line", "dialogue", "value", "message", "body")
_TO_KEYS = ("to", "addressee", "listener")
_NARRATION = {"narration", "narrator", "system", "旁白", "scene"}


def _records(path: Path, source: str) -> list[Line]:
    """Rows as lines: {"speaker", "text", "to"?} or {"messages": [{"role", "content"}]}, under any usual key."""
    read_bytes(path)  # its size and that it is there
    lines: list[Line] = []
    faults: list[str] = []
    for number, row in _numbered(path):
        if isinstance(row, str):
            faults.append(f"{source}:{number}: {row}")
            continue
        turns = row.get("messages", row.get("conversations"))
        values = turns if isinstance(turns, list) else [row]
        made = [_record(number, value) for value in values]
        if not made or None in made:
            faults.append(f"{source}:{number}: no text under {', '.join(_TEXT_KEYS[:4])} …")
        lines += [line for line in made if line is not None]
        if isinstance(turns, list):
            lines.append(Line(number, ""))
    if faults:
        more = f" and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise RolekitError(
            f"{source} has rows that cannot be read: {'; '.join(faults[:20])}{more}.",
            'A row is {"speaker": "Ada", "text": "…", "to": "Charles"}, or {"text": "…"}.',
        )
    return lines


def _numbered(path: Path) -> list[tuple[int, dict[str, Any] | str]]:
    """The rows with their line numbers; a text where a line is no row."""
    found: list[tuple[int, dict[str, Any] | str]] = []
    for row in read_rows(path):
        number = int(row.origin.rpartition(":")[2])
        found.append((number, row.reason if isinstance(row, Fault) else row.value))
    return found


def _record(number: int, value: Any) -> Line | None:
    if not isinstance(value, dict):
        return None
    text = _first(value, _TEXT_KEYS)
    if not text.strip():
        return None
    speaker = _first(value, _SPEAKER_KEYS).strip()
    if speaker.casefold() in _NARRATION:
        speaker = ""
    return Line(number, text, one_line(speaker, 80), one_line(_first(value, _TO_KEYS), 80))


def _first(value: dict[str, Any], keys: Sequence[str]) -> str:
    for key in keys:
        if isinstance(found := value.get(key), str):
            return found
    return ""
