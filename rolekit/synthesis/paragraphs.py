"""Lines joined to paragraphs, each character of which knows its line."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rolekit.synthesis.texts import Line

_NUMBER = r"(?:\d{1,4}|[IVXLC]{1,7}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|the (?:first|second|third|last))"
_HEADING = re.compile(
    rf"#{{1,6}}\s+\S|={{2,6}}[^=].{{0,200}}?={{2,6}}\s*$|(?:chapter|part|book|scene|act|letter)\s+{_NUMBER}\b[^.!?]{{0,60}}\.?$"
    r"|(?:prologue|epilogue)\W*$|(?:INT|EXT)[./ ].{0,100}$|第[一二三四五六七八九十百零〇\d]{1,6}[章回节幕场卷部折封].{0,40}$"
    r"|[IVXLC]{1,7}\.?$|\d{1,3}\.?$",
    re.IGNORECASE,
)
LONGEST = 8000
"""Characters of a paragraph; a longer one is taken as several."""
_BREAK = re.compile(r"[\s*\-—–_=~#·•◇◆○●※☆★…]{1,60}$")
_ENDS = re.compile(r"[.!?…:;。！？：；”’」』»\"')）\]*_—–-]\s*$")
_CJK_END = re.compile(r"[\u3000-\u9fff\uff00-\uffef]$")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text on one line, whose parts stand on the lines of a source."""

    text: str
    starts: tuple[int, ...]
    """Where in text each line begins."""
    numbers: tuple[int, ...]
    """The number of each line."""
    is_break: bool = False
    """A heading or a row of stars: a new scene begins."""

    def line_at(self, offset: int) -> int:
        """The number of the line that the character at offset stands on."""
        return self.numbers[max(0, bisect_right(self.starts, offset) - 1)]


def is_scene_break(line: str) -> bool:
    """Whether a line begins a new scene: a heading, or only stars, dashes and the like."""
    stripped = line.strip()
    if not stripped:
        return False
    if _HEADING.match(stripped):
        return True
    return bool(_BREAK.match(stripped)) and len(set(stripped) - {" "}) <= 2 and len(stripped) >= 3


def paragraphs_of(lines: Sequence[Line]) -> list[Paragraph]:
    """The paragraphs of prose: a line each, or hard-wrapped lines between empty or indented ones."""
    wrapped = _is_wrapped(lines)
    made: list[Paragraph] = []
    block: list[Line] = []

    def flush() -> None:
        if block:
            made.extend(_pieces(_join(block)))
            block.clear()

    for line in lines:
        if not line.text.strip():
            flush()
        elif is_scene_break(line.text) and (not block or line.text[0] in "#="):
            flush()
            made.append(Paragraph(line.text.strip(), (0,), (line.number,), is_break=True))
        else:
            if not wrapped or line.text[:1] in "\u3000\t" or line.text.startswith("  "):
                flush()
            block.append(line)
    flush()
    return made


def _is_wrapped(lines: Sequence[Line]) -> bool:
    """Whether many lines that another follows end in the middle of a sentence."""
    pairs = [
        bool(_ENDS.search(line.text))
        for line, after in pairwise(lines)
        if line.text.strip() and after.text.strip()
    ]
    return len(pairs) > 0 and pairs.count(False) > 0.35 * len(pairs)


def _join(block: Sequence[Line]) -> Paragraph:
    text, starts = "", []
    for line in block:
        if text and not _CJK_END.search(text):
            text += " "
        starts.append(len(text))
        text += line.text.strip()
    return Paragraph(text, tuple(starts), tuple(line.number for line in block))


def _pieces(paragraph: Paragraph) -> list[Paragraph]:
    """The paragraph, or its parts where it is longer than anybody writes one."""
    made: list[Paragraph] = []
    at = 0
    while len(paragraph.text) - at > LONGEST:
        space = paragraph.text.rfind(" ", at + 1, at + LONGEST)
        end = space if space > at else at + LONGEST
        made.append(_cut(paragraph, at, end))
        at = end
    return [*made, _cut(paragraph, at, len(paragraph.text))] if made else [paragraph]


def _cut(paragraph: Paragraph, start: int, end: int) -> Paragraph:
    first = max(0, bisect_right(paragraph.starts, start) - 1)
    last = bisect_right(paragraph.starts, max(start, end - 1))
    starts = tuple(max(0, one - start) for one in paragraph.starts[first:last])
    return Paragraph(paragraph.text[start:end], starts, paragraph.numbers[first:last])
