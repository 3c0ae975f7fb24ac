"""Letters: whoever signs one says it, to whoever it greets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rolekit.synthesis.paragraphs import Paragraph, is_scene_break, paragraphs_of
from rolekit.synthesis.texts import Line, Text
from rolekit.synthesis.turns import Turn

_GREETING = re.compile(
    r"\s*(?:(?:my |our )?(?:very )?(?:dear|dearest|darling|beloved)(?:est)?\s+(?P<en>[^,:!.\n]{1,60})[,:!.]?"
    r"|(?:亲爱的|敬爱的|尊敬的)?(?P<zh>[^\s，：。！？“”]{1,12})(?:[：:]|，?(?:你好|您好|如晤|见字如面|台鉴)[！。：，]?)"
    r"|(?:lieber|liebe|cher|chère|querido|querida|caro|cara)\s+(?P<other>[^,:!\n]{1,60})[,:!]?)\s*$",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\s*(?:(?:i am|i remain|believe me|with|ever|as ever|always|your|yours|sincerely|affectionately|love|in haste|"
    r"best wishes|kind regards|respectfully|dein|deine|votre|ton|ta|tuyo|tuo)\b.{0,60}|此致|敬礼|祝好|此祝|顺颂.{0,8}|即颂.{0,8}|祝.{1,12})[,，.!！]?\s*$",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"\s*(?:[—–-]\s*)?(?P<name>[^\W\d_][^,:;!?，。：；！？“”\d]{0,40}?)\.?\s*(?:敬上|上|手书|谨上|书)?\s*$"
)
_DATE = re.compile(
    r"\d{4}|\d{1,2}[月日./]|\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b",
    re.IGNORECASE,
)
_WITHIN = 5
"""A signature stands at most so many lines above the end of its letter."""


def is_letters(text: Text) -> bool:
    """Whether a text is letters: greetings on lines of their own, and for half of them at least a closing."""
    greetings = [line for line in text.lines if _greeting(line.text)]
    closings = [line for line in text.lines if _CLOSING.match(line.text)]
    filled = sum(1 for line in text.lines if line.text.strip())
    return bool(greetings) and 2 * len(closings) >= len(greetings) and len(greetings) * 3 <= filled


def _greeting(line: str) -> str:
    found = _GREETING.match(line)
    if not found or len(line.strip()) > 80:
        return ""
    return (found["en"] or found["zh"] or found["other"] or "").strip()


def read_letters(text: Text, name: str) -> list[Turn]:
    """Each letter as a scene: its paragraphs are said by whoever signs it. Dates and greetings are narration.

    name: the role. A letter without a signature has no speaker, unless it is greeted: then it is not the role's own.
    """
    letters: list[list[Line]] = [[]]
    for line in text.lines:
        if _greeting(line.text):
            letters.append([])
        letters[-1].append(line)
    turns = [_told(paragraph, text.source) for paragraph in paragraphs_of(letters[0])]
    for letter in letters[1:]:
        turns += _letter(letter, text.source)
    return turns


def _told(paragraph: Paragraph, source: str) -> Turn:
    kind = "scene" if paragraph.is_break else "narration"
    return Turn(kind, paragraph.text.strip("#=* "), source, paragraph.numbers[0], paragraph.numbers[-1])  # type: ignore[arg-type]


def _letter(lines: Sequence[Line], source: str) -> list[Turn]:
    to = _greeting(lines[0].text)
    signer, end = _signature(lines)
    turns = [Turn("scene", lines[0].text.strip(), source, lines[0].number, lines[0].number)]
    for paragraph in paragraphs_of(lines[1:end]):
        if paragraph.is_break:
            turns.append(_told(paragraph, source))
            continue
        first, last = paragraph.numbers[0], paragraph.numbers[-1]
        rule = "signed" if signer else "unknown"
        turns.append(Turn("speech", paragraph.text, source, first, last, signer, to, rule))  # type: ignore[arg-type]
    turns += [
        Turn("narration", line.text.strip(), source, line.number, line.number)
        for line in lines[end:]
        if line.text.strip()
    ]
    return turns


def _signature(lines: Sequence[Line]) -> tuple[str, int]:
    """Who signs, and where the closing begins; an empty name where nobody does."""
    closing = next((at for at in range(len(lines) - 1, 0, -1) if _CLOSING.match(lines[at].text)), len(lines))
    behind = [at for at in range(closing + 1, len(lines)) if lines[at].text.strip()][:_WITHIN]
    for at in behind:
        words = lines[at].text.strip()
        if _DATE.search(words) or _CLOSING.match(words) or is_scene_break(words):
            continue
        if (found := _SIGNATURE.match(words)) and len(found["name"].split()) <= 5:
            return found["name"].strip(), closing
    return "", closing
