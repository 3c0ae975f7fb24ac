"""Segments: stretches of a source that are read, asked about and cited as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.rolebench.rows import Fault, read_rows, write_rows


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of one source, a scene or a part of one, with its text as it stands there."""

    id: str
    """Unique within a run and the same in every run over the same texts: `story-003`."""
    text: str
    """Narration as it stands; speech as `NAME: words` in scripts and as the source quotes it in prose."""
    source: str
    """The file as it was named; a document inside an EPUB is `book.epub!chapter-2.xhtml`."""
    first_line: int
    """From 1, in the source file."""
    last_line: int
    speakers: tuple[str, ...]
    """Who speaks in it, by the names the profile uses, in order of appearance; those not known are left out."""

    @property
    def place(self) -> str:
        """Where it stands, for people: `story.txt:12-40`."""
        return f"{self.source}:{self.first_line}-{self.last_line}"


def write_segments(path: Path, segments: Iterable[Segment]) -> None:
    """Put the segments at path, one JSON object a line, in one step."""
    write_rows(path, (asdict(segment) for segment in segments))


def read_segments(path: Path) -> list[Segment]:
    """The segments that write_segments put there, in order.

    Raises RolekitError naming every line that is none.
    """
    segments: list[Segment] = []
    faults: list[str] = []
    for row in read_rows(path):
        if isinstance(row, Fault):
            faults.append(str(row))
        elif (segment := _segment(row.value)) is None:
            faults.append(f"{row.origin}: no segment")
        else:
            segments.append(segment)
    if faults:
        raise RolekitError(
            f"{path} holds lines that are no segments: {'; '.join(faults[:20])}.",
            "Make the profile again with `rolekit synth profile`.",
        )
    return segments


def _segment(value: dict[str, Any]) -> Segment | None:
    match value:
        case {
            "id": str(id_), "text": str(text), "source": str(source), "first_line": int(first), "last_line": int(last),
            "speakers": list(speakers),
        } if all(isinstance(name, str) for name in speakers):  # fmt: skip
            return Segment(id_, text, source, first, last, tuple(speakers))
    return None
