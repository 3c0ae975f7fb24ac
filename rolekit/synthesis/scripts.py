"""Scripts: `NAME: words`, a name in the middle of a line of its own, and Chinese scripts with full-width colons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rolekit.synthesis.paragraphs import is_scene_break
from rolekit.synthesis.texts import Line, Text
from rolekit.synthesis.turns import Turn, with_addressees

_ASIDE = r"[(\[（【〔]([^()\[\]（）【】〔〕]{0,120})[)\]）】〕]"
_NAME = r"[^\W\d_](?:[\w.'’·-]| (?=\S)){0,40}"
_CUE = re.compile(
    rf"\s*(?:\*\*|__|-\s+)?({_NAME})\s*(?:\*\*|__)?\s*(?:{_ASIDE})?\s*(?:\*\*|__)?\s*[:：]\s*(?:\*\*|__)?\s*(.*)$"
)
_OLD_CUE = re.compile(r"\s*([A-Z][A-Z'’]+(?: [A-Z][A-Z'’]+){0,3})\.\s+(\S.*)$")
_CENTRED = re.compile(rf"\s*([^\W\d_a-z][^a-z():：]{{1,38}}?)\s*(?:{_ASIDE})?\s*$")
_ONLY_ASIDE = re.compile(rf"\s*(?:{_ASIDE}|[*_]{{1,2}}[^*_]{{1,300}}[*_]{{1,2}})\s*$")
_ASIDES = re.compile(rf"\s*{_ASIDE}\s*")
_TO = re.compile(
    r"(?:^|[,;.，])\s*(?:to|at|对着|对|向|冲着|朝)\s*([^\W\d_][\w .'’·-]{0,30}?)(?:说)?\s*(?:$|[,;，])",
    re.IGNORECASE,
)
_NO_NAMES = {
    "note",
    "notes",
    "http",
    "https",
    "ps",
    "p.s",
    "to",
    "from",
    "date",
    "time",
    "place",
    "注",
    "附",
    "时间",
    "地点",
    "人物",
}


def script_names(lines: Sequence[Line]) -> Counter[str]:
    """How often each name stands before a colon or above a speech; empty where the lines are no script."""
    return _colon_names(lines) + _old_names(lines) + _centred_names(lines)


def script_share(text: Text) -> float:
    """Which share of the paragraphs begins with a speaker's name."""
    names = script_names(text.lines)
    starts = sum(1 for line in text.lines if line.text.strip())
    speeches = sum(names.values()) + sum(_centred_names(text.lines).values())
    return speeches / max(starts, 1) if len(names) > 1 else 0.0


def _colon_names(lines: Sequence[Line]) -> Counter[str]:
    counts = Counter(found[1].strip() for line in lines if (found := _CUE.match(line.text)))
    in_all: Counter[str] = Counter()
    for name, times in counts.items():
        in_all[name.casefold()] += times
    return Counter(
        {name: times for name, times in counts.items() if _can_be_name(name, in_all[name.casefold()])}
    )


def _old_names(lines: Sequence[Line]) -> Counter[str]:
    counts = Counter(found[1] for line in lines if (found := _OLD_CUE.match(line.text)))
    return Counter({name: times for name, times in counts.items() if times > 2})


def _centred_names(lines: Sequence[Line]) -> Counter[str]:
    """Names on lines of their own in capitals, after an empty line and above words."""
    counts: Counter[str] = Counter()
    for before, line, after in zip([Line(0, ""), *lines], lines, [*lines[1:], Line(0, "")], strict=False):
        if not before.text.strip() and after.text.strip() and (found := _CENTRED.match(line.text)):
            name = found[1].strip()
            if (
                name.upper() == name
                and name.lower() != name
                and not is_scene_break(name)
                and name[-1] not in ".!?"
            ):
                counts[name] += 1
    return Counter({name: times for name, times in counts.items() if times > 1})


def _can_be_name(name: str, times: int) -> bool:
    words = name.split()
    if len(words) > 5 or name.casefold().strip(".") in _NO_NAMES:
        return False
    if not name.isascii() and re.search(r"[\u3400-\u9fff]", name):
        return len(name) <= 8 and times > 1
    capital = all(word[0].isupper() or word in ("of", "the", "de", "von", "and") for word in words)
    return (capital and times > 1) or name.isupper() or times > 3


def read_script(text: Text) -> list[Turn]:
    """The speeches of a script and what stands between them; asides in brackets are left out of the words."""
    names = _colon_names(text.lines)
    old, centred = _old_names(text.lines), _centred_names(text.lines)
    turns: list[Turn] = []
    in_speech, before_blank = False, True
    for index, line in enumerate(text.lines):
        words, number = line.text.strip(), line.number
        if not words:
            in_speech, before_blank = in_speech and _goes_on(text.lines, index), True
            continue
        cue = _CUE.match(line.text)
        if line.speaker:
            turns.append(
                Turn("speech", words, text.source, number, number, line.speaker, line.addressee, "given")
            )
            in_speech = False
        elif is_scene_break(words) and words.rstrip(".") not in centred:
            turns.append(Turn("scene", words.strip("#=* "), text.source, number, number))
            in_speech = False
        elif cue and cue[1].strip() in names:
            turns.append(_speech(text.source, number, cue[1].strip(), cue[2] or "", cue[3]))
            in_speech = True
        elif (plain := _OLD_CUE.match(line.text)) and plain[1] in old:
            turns.append(_speech(text.source, number, plain[1], "", plain[2]))
            in_speech = True
        elif before_blank and (above := _CENTRED.match(line.text)) and above[1].strip() in centred:
            turns.append(_speech(text.source, number, above[1].strip(), above[2] or "", ""))
            in_speech = True
        elif in_speech and turns and not (_ONLY_ASIDE.match(words) and turns[-1].text):
            turns[-1] = _longer(turns[-1], words, number)
        else:
            in_speech = False
            turns.append(Turn("narration", words.strip("*_"), text.source, number, number))
        before_blank = False
    spoken = [turn for turn in turns if turn.kind != "speech" or turn.text]
    return with_addressees(spoken)


def _goes_on(lines: Sequence[Line], index: int) -> bool:
    """Whether a speech goes on behind an empty line: it does where the next line is indented under its name."""
    after = lines[index + 1].text if index + 1 < len(lines) else ""
    return after.startswith(("  ", "\t")) and not _CENTRED.match(after)


def _speech(source: str, number: int, name: str, aside: str, words: str) -> Turn:
    to = found[1].strip() if (found := _TO.search(aside)) else ""
    if not to and (opening := re.match(_ASIDE, words)) and (found := _TO.search(opening[1])):
        to = found[1].strip()
    return Turn("speech", _ASIDES.sub(" ", words).strip(), source, number, number, name, to, "script")


def _longer(turn: Turn, words: str, number: int) -> Turn:
    more = _ASIDES.sub(" ", words).strip()
    glue = "" if turn.text[-1:] > "\u3000" or not turn.text else " "
    return replace(turn, text=f"{turn.text}{glue}{more}".strip(), last_line=number)
