"""Turns cut into segments: a scene each, long ones in parts that end where somebody has finished speaking."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rolekit.roles.names import slug_of
from rolekit.synthesis.dialogue import Dialogue
from rolekit.synthesis.segments import Segment
from rolekit.synthesis.turns import Turn

MOST_WORDS = 320
"""A segment has at most about so many words (a Chinese character is two thirds of one): it is asked about as one."""
FEWEST_WORDS = 60
"""Shorter scenes are joined to the next one of the same source."""
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def words_in(text: str) -> int:
    """How many words a text has; three Chinese or Japanese characters count as two."""
    han = len(_HAN.findall(text))
    return len(_HAN.sub(" ", text).split()) + 2 * han // 3


def segment(dialogues: Sequence[Dialogue]) -> list[Segment]:
    """The segments of all texts, in order. The same texts always give the same segments and ids."""
    segments: list[Segment] = []
    used: dict[str, int] = {}
    for dialogue in dialogues:
        stem = slug_of(re.sub(r"\.\w{2,8}(?=$|!)", "", dialogue.text.source))
        for turns in _parts(dialogue.turns):
            used[stem] = used.get(stem, 0) + 1
            segments.append(_segment(f"{stem}-{used[stem]:03d}", dialogue, turns))
    return segments


def _parts(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Runs of turns that belong together."""
    parts: list[list[Turn]] = []
    current: list[Turn] = []
    length = 0
    for turn in turns:
        words = words_in(turn.text)
        full = length + words > MOST_WORDS and length >= FEWEST_WORDS
        if current and (full or (turn.kind == "scene" and length >= FEWEST_WORDS)):
            parts.append(current)
            current, length = [], 0
        current.append(turn)
        length += words
    if current:
        parts.append(current)
    if len(parts) > 1 and sum(words_in(turn.text) for turn in parts[-1]) < FEWEST_WORDS // 2:
        parts[-2] += parts.pop()
    return [part for part in parts if any(turn.kind != "scene" for turn in part)]


def _segment(id_: str, dialogue: Dialogue, turns: Sequence[Turn]) -> Segment:
    first, last = turns[0].line, max(turn.last_line for turn in turns)
    if dialogue.kind in ("script", "subtitles"):
        text = "\n".join(_written(turn) for turn in turns if turn.text)
    else:
        lines = [line.text for line in dialogue.text.lines if first <= line.number <= last]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    speakers = dict.fromkeys(turn.speaker for turn in turns if turn.speaker)
    return Segment(id_, text, dialogue.text.source, first, last, tuple(speakers))


def _written(turn: Turn) -> str:
    """One turn of a script under the name that the profile uses."""
    if turn.kind != "speech":
        return turn.text
    return f"{turn.speaker}: {turn.text}" if turn.speaker else f"- {turn.text}"
