"""The languages that attribution knows, and the general rule for all others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rolekit.synthesis import tags_en
from rolekit.synthesis.cast import MOST_NAMES
from rolekit.synthesis.speeches import Passage
from rolekit.synthesis.tags_en import Tag


class English:
    """`said Mara`, `he asked`, `Mara set down the lamp.`"""

    def tag_after(self, narration: str) -> Tag | None:
        """As Tongue says."""
        return tags_en.tag_after(narration)

    def tag_before(self, narration: str) -> Tag | None:
        """As Tongue says."""
        return tags_en.tag_before(narration)

    def subjects(self, narration: str, names: re.Pattern[str] | None) -> list[str]:
        """As Tongue says."""
        return tags_en.sentence_subjects(narration, names)

    def gender(self, subject: str) -> str | None:
        """As Tongue says."""
        return tags_en.gender_of(subject)

    def can_speak(self, name: str) -> bool:
        """As Tongue says."""
        return tags_en.is_somebody(name)

    def full_names(self, narration: str, known: Iterable[str]) -> list[str]:
        """As Tongue says."""
        return tags_en.full_names(narration, known)

    def called(self, words: str, names: re.Pattern[str] | None) -> list[str]:
        """As Tongue says."""
        return set_off(words, names)


class Nearby:
    """Any language: a name within three words of the quotation mark, which stands so at least twice in the text."""

    def __init__(self, passages: Sequence[Passage], given: Sequence[str]) -> None:
        """passages: the whole text, where names are learned; given: names that are known anyway."""
        near: Counter[str] = Counter()
        for passage in passages:
            for speech in passage.speeches:
                near.update({*_capitals(_head(speech.after)), *_capitals(_tail(speech.before))})
        lower = Counter(
            word
            for passage in passages
            for word in re.findall(r"[^\W\d_]+", passage.narration)
            if word.islower()
        )
        often = near.most_common(MOST_NAMES)
        names = [name for name, times in often if times > 1 and not lower[name.lower()]]
        self._given = list(given)
        self._known = {*names, *given}

    def tag_after(self, narration: str) -> Tag | None:
        """The only known name at the narration's beginning."""
        return self._only(_head(narration))

    def tag_before(self, narration: str) -> Tag | None:
        """The only known name at the narration's end."""
        return self._only(_tail(narration)) if narration.rstrip().endswith((":", ",", "：", "，")) else None

    def _only(self, words: str) -> Tag | None:
        found = {name for name in self._known if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)}
        found |= {name for name in self._given if not name.isascii() and name in words}
        return Tag(found.pop()) if len(found) == 1 else None

    def subjects(self, narration: str, names: re.Pattern[str] | None) -> list[str]:
        """No grammar is known, so no sentence is read."""
        return []

    def gender(self, subject: str) -> str | None:
        """No pronouns are known."""
        return None

    def can_speak(self, name: str) -> bool:
        """Every name has been counted already."""
        return True

    def full_names(self, narration: str, known: Iterable[str]) -> list[str]:
        """Names are taken as they are."""
        return []

    def called(self, words: str, names: re.Pattern[str] | None) -> list[str]:
        """As Tongue says."""
        return set_off(words, names)


def _head(narration: str) -> str:
    sentence = re.split(r"[.!?;:。！？]", narration.lstrip(" ,，—–-"), maxsplit=1)[0]
    return " ".join(sentence.split()[:4])


def _tail(narration: str) -> str:
    sentence = re.split(r"[.!?;。！？]", narration.rstrip(" ,:，：—–-"))[-1]
    return " ".join(sentence.split()[-5:])


def _capitals(words: str) -> list[str]:
    return re.findall(r"\b[^\W\d_a-z][\w'’-]+", words) if words else []


def set_off(words: str, names: re.Pattern[str] | None) -> list[str]:
    """Names between commas or at an end: `Tobias, come in.`, `Yes, Mara!`, `小满，过来。`"""
    if names is None:
        return []
    found: list[str] = []
    for name in names.finditer(words):
        before, after = words[: name.start()].rstrip(), words[name.end() :].lstrip()
        opens = not before or before[-1] in ",.!?;—–…，。！？；、“‘"
        closes = not after or after[0] in ",.!?;—–…，。！？；、”’"
        titled = before.endswith(("dear", "Dear", "old", "my"))
        if (opens or titled) and closes and (before or after[:1] in ",!?，！？…"):
            found.append(name[0])
    return found
