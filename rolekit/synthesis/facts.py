"""Facts that stand in the texts word for word: what the character says of its own life, and what is told of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from rolekit.roles.names import fold
from rolekit.synthesis.dialogue import Dialogue
from rolekit.synthesis.findings import Fact, Place
from rolekit.synthesis.segmenting import words_in
from rolekit.synthesis.turns import Turn

MOST = 20
_SENTENCES = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+[”\"」』’)]*|$)")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|No|vs|etc|[A-Z])\.$")
_KIN = (
    "father|mother|brother|sister|son|daughter|wife|husband|grandmother|grandfather|uncle|aunt|cousin|family|house|home|"
    "village|town|trade|name|school|ship|boat|horse|dog|cat"
)
_OWN_EN = re.compile(
    rf"\b(?:I (?:was|am|had|have|never|always|used to|lived?|grew|learn(?:ed|t)|work(?:ed)?|kept|keep|married|came|"
    rf"went|left|lost|made|served|built|held|do not|don't|don’t|cannot|can't)|I'm|I’m|I've|I’ve|my (?:old |late |own )?(?:{_KIN}))\b",
    re.IGNORECASE,
)
_NOT_EN = re.compile(
    r"^(?:I'm|I’m|I am|I was) (?:sorry|afraid not|sure|glad|going|saying|waiting|coming|just)|\bI beg\b|\bI think\b|\bI suppose\b|\?",
    re.IGNORECASE,
)
_LASTING_EN = re.compile(
    rf"\b(?:born|years?|months|since|never|always|called|named|built|taught|died|drowned|married|because|whole life|{_KIN}|"
    r"\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|hundred|thousand)\b",
    re.IGNORECASE,
)
_OWN_ZH = re.compile(
    r"我(?:是|叫|姓|生|今年|从小|小时候|的|在|有|没有|从来|一直|最|爹|娘|父|母|爷|奶|家|住|曾|当过|学|做了|会|不会|怕|喜欢|爱|恨)"
)
_LASTING_ZH = re.compile(
    r"年|岁|从小|一直|从来|爹|娘|父亲|母亲|爷爷|奶奶|师父|哥|姐|弟|妹|妻|丈夫|生在|出生|家乡|名字|叫做|手艺|最|怕|爱|[一二三四五六七八九十百千]\w?[个年岁天里次]"
)
_TOLD_EN = re.compile(
    r"\b(?:was|were|had|is|has|lived|never|always|used to|kept|worked|owned|came from|knew|could|did not|loved|hated)\b"
)
_TOLD_ZH = re.compile(r"是|有|从来|一直|住|生于|会|爱|喜欢|年|岁|曾|当|做过")
_ABOUT = {"en": ("You have said: “{}”", "It is told of you: “{}”"), "zh": ("你说过：“{}”", "书中写你：“{}”")}


def quoted_facts(
    dialogue: Dialogue, role: str, names: Iterable[str], segment_of: Callable[[Turn], str], most: int = MOST
) -> tuple[Fact, ...]:
    """The most lasting facts of one text in its order, each a quoted sentence with its place.

    names: what the text calls the role. In texts that are about the role (notes, a wiki page) every plain sentence is
    one; in stories those that tell what was, is or lasts.
    """
    found: list[tuple[float, int, Fact]] = []
    seen: set[str] = set()
    folded = [fold(name) for name in names if fold(name)]
    tongue = (
        "zh" if dialogue.language.startswith("zh") else "en" if dialogue.language.startswith("en") else ""
    )
    about = dialogue.kind in ("notes", "wiki")
    for number, turn in enumerate(dialogue.turns):
        own = turn.kind == "speech" and turn.speaker == role
        if not own and turn.kind != "narration":
            continue
        for sentence in sentences_of(turn.text):
            score = _own(sentence, tongue) if own else _told(sentence, folded, tongue, about)
            if score <= 0 or not 4 <= words_in(sentence) <= 45 or (key := fold(sentence)) in seen:
                continue
            seen.add(key)
            forms = _ABOUT.get(tongue)
            text = forms[0 if own else 1].format(sentence) if forms and not (about and not own) else sentence
            fact = Fact(text, segment_of(turn), sentence, Place(turn.source, turn.line), "quoted")
            found.append((score, number, fact))
    best = sorted(found, key=lambda item: (-item[0], item[1]))[:most]
    return tuple(fact for _, _, fact in sorted(best, key=lambda item: item[1]))


def sentences_of(text: str) -> list[str]:
    """The sentences of a text; Mr. and initials do not end one."""
    made: list[str] = []
    for part in _SENTENCES.findall(text):
        if made and _ABBREVIATION.search(made[-1]):
            made[-1] += part
        else:
            made.append(part)
    return [stripped for part in made if (stripped := " ".join(part.split()).strip("-*•· ").strip())]


def _own(sentence: str, tongue: str) -> float:
    """How much a sentence of the character says of its own life."""
    if tongue == "zh":
        if not _OWN_ZH.search(sentence) or sentence.endswith(("？", "?", "吗")):
            return 0.0
        return 1.0 + len(_LASTING_ZH.findall(sentence))
    if tongue != "en" or not _OWN_EN.search(sentence) or _NOT_EN.search(sentence):
        return 0.0
    return len({match.lower() for match in _LASTING_EN.findall(sentence)}) + 0.5 * (
        sentence[:2] in ("I ", "My")
    )


def _told(sentence: str, names: Sequence[str], tongue: str, about: bool) -> float:
    """How much a sentence of the narration says of the character."""
    plain = f" {fold(sentence)} "
    named = any(f" {name} " in plain or (not name.isascii() and name in plain) for name in names)
    if about:
        return 2.0 + named
    if not named:
        return 0.0
    if tongue == "zh":
        return float(len(_LASTING_ZH.findall(sentence))) if _TOLD_ZH.search(sentence) else 0.0
    if tongue != "en":
        return 0.0
    first = any(plain.startswith(f" {name} ") for name in names)
    return (1.0 + len(_LASTING_EN.findall(sentence))) if first and _TOLD_EN.search(sentence) else 0.0
