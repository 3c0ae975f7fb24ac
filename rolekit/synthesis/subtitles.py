"""Subtitles: sentences joined over cues; speakers only where the file names them, for pictures are not in it."""

from __future__ import annotations

import re
from dataclasses import replace

from rolekit.synthesis.texts import Text
from rolekit.synthesis.turns import Turn, with_addressees

_NAMED = re.compile(
    r"(?:-\s*)?(?P<name>[^\W\d_a-z][^a-z\d:：()\[\]]{1,28}|[\u4e00-\u9fff]{2,6})\s*[:：]\s*(?P<words>.*)$"
)
_SOUND = re.compile(r"[\[(（【♪#][^\])）】]*[\])）】♪#]?\s*$")
_SOUNDS = re.compile(r"[\[(（【][^\])）】]{0,120}[\])）】]|♪")
_ENDS = re.compile(r"[.!?…。！？\"”]\s*$")


def read_subtitles(text: Text) -> list[Turn]:
    """The speeches of subtitles. A dash begins another speaker; a name in capitals and a colon names one."""
    turns: list[Turn] = []
    fresh = True
    for line in text.lines:
        words = line.text.strip()
        if not words:
            fresh = True
            continue
        if _SOUND.match(words):
            turns.append(Turn("narration", words.strip("[]()♪# "), text.source, line.number, line.number))
            fresh = True
            continue
        named = _NAMED.match(words)
        spoken = _SOUNDS.sub(" ", named["words"] if named else words.removeprefix("-")).strip()
        before = turns[-1] if turns and turns[-1].kind == "speech" else None
        joins = not named and not words.startswith("-") and before is not None
        if joins and before is not None and (not fresh or not _ENDS.search(before.text)):
            glue = "" if before.text[-1:] > "\u3000" else " "
            turns[-1] = replace(before, text=f"{before.text}{glue}{spoken}", last_line=line.number)
        elif spoken:
            speaker = named["name"].strip() if named else ""
            rule = "script" if named else "unknown"
            turns.append(Turn("speech", spoken, text.source, line.number, line.number, speaker, "", rule))  # type: ignore[arg-type]
        fresh = False
    return with_addressees(turns)
