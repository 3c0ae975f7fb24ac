"""Who is in a text: the names people go by, which of them are one person, and whether it is a he or a she."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rolekit.roles.names import fold

MOST_NAMES = 500
"""So many of the most frequent names are taken for people; others stay as they are."""
TITLES = {
    "mr": "m", "mister": "m", "sir": "m", "lord": "m", "master": "m", "uncle": "m", "father": "m", "brother": "m",
    "king": "m", "prince": "m", "count": "m", "duke": "m", "monsieur": "m", "herr": "m", "señor": "m", "don": "m",
    "mrs": "f", "ms": "f", "miss": "f", "lady": "f", "madam": "f", "madame": "f", "aunt": "f", "mother": "f",
    "sister": "f", "queen": "f", "princess": "f", "countess": "f", "duchess": "f", "mademoiselle": "f", "frau": "f",
    "señora": "f", "dr": "", "doctor": "", "professor": "", "captain": "", "colonel": "", "major": "", "general": "",
    "sergeant": "", "inspector": "", "judge": "", "old": "", "young": "", "little": "", "cousin": "", "st": "",
}  # fmt: skip
"""Words in front of a name, with the gender they tell (empty: none)."""
_HE = re.compile(r"\b(?:he|his|himself)\b|他(?!们)", re.IGNORECASE)
_SHE = re.compile(
    r"\b(?:she|hers|herself|her (?!and |but |to |with |in |at |as |for |from )[a-z]+)\b|她(?!们)",
    re.IGNORECASE,
)
"""Not him, and not her where it can be the object: those are mostly somebody else."""
_HAN_TITLE = re.compile(
    r"(?:(?P<m>爷|爺|叔|伯|哥|弟|爹|爸|先生|老头|老頭|和尚|公子|老爷|掌柜|郎|舅)|(?P<f>娘|嫂|婆|姐|妹|姨|妈|媽|奶奶|小姐|夫人|太太|婶|嬸|姑|妇))$"
)
_SENTENCE = re.compile(r"[^.!?。！？]+")
_MASCULINE = {
    "man",
    "boy",
    "lad",
    "father",
    "brother",
    "son",
    "uncle",
    "gentleman",
    "king",
    "husband",
    "grandfather",
}
_FEMININE = {"woman", "girl", "lady", "mother", "sister", "daughter", "aunt", "queen", "wife", "grandmother"}


@dataclass
class Cast:
    """The people of a text, each under one name."""

    wanted: str
    """The role's name: whatever is one with it is called so."""
    canonical: dict[str, str] = field(default_factory=dict)
    """Every name anybody goes by -> the one name of that person."""
    genders: dict[str, str] = field(default_factory=dict)
    """One name -> m or f, where the text shows it."""

    def person(self, name: str) -> str:
        """The one name of whoever goes by this one; the name itself where it is new."""
        return self.canonical.get(fold(name), name)

    def knows(self, name: str) -> bool:
        """Whether anybody goes by this name."""
        return fold(name) in self.canonical

    def names_of(self, person: str) -> list[str]:
        """All folded names of a person."""
        return [name for name, owner in self.canonical.items() if owner == person]


def make_cast(found: Mapping[str, int], wanted: str, aliases: Iterable[str] = ()) -> Cast:
    """One name for each person among the names found in a text (name -> how often).

    A name whose words all stand in exactly one longer name is that person's (Watson, John Watson); for Chinese the
    end of exactly one longer name is (小满, 林小满). The role's own names come first.
    """
    cast = Cast(wanted)
    own = [wanted, *aliases]
    for name in own:
        cast.canonical[fold(name)] = wanted
    often = sorted(found, key=lambda name: (-found[name], name))[:MOST_NAMES]
    full = [wanted, *sorted(often, key=lambda name: (-len(_core(name)), -found[name], name))]
    people: list[str] = []
    for name in full:
        if not fold(name):
            continue
        if fold(name) in cast.canonical:
            person = cast.canonical[fold(name)]
        else:
            longer = {p for p in people if _is_part(name, p) or _is_titled(name, p)}
            longer |= {wanted} if any(_is_part(name, one) for one in own) else set()
            person = longer.pop() if len(longer) == 1 else name
        cast.canonical[fold(name)] = person
        if person not in people:
            people.append(person)
    return cast


def _core(name: str) -> list[str]:
    """The words of a name without titles and articles; the characters of a Chinese one."""
    if re.search(r"[\u3400-\u9fff]", name):
        return list(name)
    return [word for word in fold(name).split() if word not in TITLES and word not in ("the", "a", "an")]


def _is_part(name: str, longer: str) -> bool:
    short, long = _core(name), _core(longer)
    if not short or len(short) >= len(long):
        return len(short) > 0 and short == long and _genders_agree(name, longer)
    if re.search(r"[\u3400-\u9fff]", longer):
        return len(short) > 1 and long[-len(short) :] == short
    return all(word in long for word in short) and _genders_agree(name, longer)


def _is_titled(name: str, person: str) -> bool:
    """Whether `the doctor` is Doctor Pell."""
    words, titles = fold(name).split(), fold(person).split()
    return (
        len(words) == 2
        and words[0] == "the"
        and words[1] in TITLES
        and titles[0] == words[1]
        and titles != words
    )


def _genders_agree(name: str, other: str) -> bool:
    first, second = title_gender(name), title_gender(other)
    return not first or not second or first == second


def title_gender(name: str) -> str:
    """m or f where a title or a word such as woman says so; else empty."""
    if found := _HAN_TITLE.search(name):
        return "m" if found["m"] else "f"
    words = fold(name).split()
    for word in words:
        if TITLES.get(word):
            return TITLES[word]
    if words and (words[0] in ("the", "a", "an", "his", "her", "my") or len(words) > 1):
        return "m" if set(words) & _MASCULINE else "f" if set(words) & _FEMININE else ""
    return ""


def learn_genders(cast: Cast, narration: Sequence[str], pattern: re.Pattern[str] | None) -> None:
    """Note who is a he and who a she: by titles, else by the pronouns where one person only is named."""
    counts: dict[str, Counter[str]] = {}
    for text in narration:
        for part, weight in [*((sentence, 2) for sentence in _SENTENCE.findall(text)), (text, 1)]:
            names = {cast.person(found[0]) for found in pattern.finditer(part)} if pattern else set()
            genders = _genders_in(part) if len(names) == 1 else set()
            if len(genders) == 1:
                counts.setdefault(names.pop(), Counter())[genders.pop()] += weight
    for person in set(cast.canonical.values()):
        told = {title_gender(name) for name in cast.names_of(person)} - {""}
        seen = counts.get(person, Counter())
        if len(told) == 1:
            cast.genders[person] = told.pop()
        elif seen["m"] >= 2 * seen["f"] and seen["m"]:
            cast.genders[person] = "m"
        elif seen["f"] >= 2 * seen["m"] and seen["f"]:
            cast.genders[person] = "f"


def _genders_in(text: str) -> set[str]:
    return {gender for gender, pattern in (("m", _HE), ("f", _SHE)) if pattern.search(text)}


def name_pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Finds any of the names as whole words, the longest first; None where there are none."""
    ordered = sorted({name for name in names if name}, key=lambda name: (-len(name), name))
    if not ordered:
        return None
    parts = [
        re.escape(name) if re.search(r"[\u3040-\u9fff]", name) else rf"\b{re.escape(name)}\b"
        for name in ordered
    ]
    return re.compile("|".join(parts))
