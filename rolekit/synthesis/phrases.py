"""A character's own turns of phrase: word sequences it repeats and others do not use."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rolekit.ranking import words_of
from rolekit.synthesis.cast import TITLES
from rolekit.synthesis.findings import Catchphrase, Place
from rolekit.synthesis.turns import Turn

MOST = 12
_LONGEST = 12
_LONGEST_HAN = 14
_COMPARED = 500
"""So many of the best phrases are compared with each other."""
_SENTENCE = re.compile(r"[^.!?…。！？；;\n]+[.!?…。！？；;]*")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’-][^\W_]+)*")
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_ENGLISH = """
    a about after all also am an and any are as at back be because been before being but by came can come could did do
    does down even ever first for from get give go going good got had has have he her here him his how i if in into is
    it its just know last left let like little long look made make man may me mean more much must my never no not now
    of off oh on once one only or other our out over own people put really right said same say see shall she should so
    some still such sure take tell than that the their them then there these they thing things think this those time to
    too two up upon us very was way we well went were what when where which who why will with would yes yet you your
    i'm i've i'd i'll it's that's don't can't won't you're you've didn't isn't wasn't there's what's he's she's let's
    thought couldn't wouldn't doesn't we're we'll they're
"""
_CHINESE = "的了是我你他她它们这那不在有也就都和很说要会能去来看上下么什吗吧呢啊一个还没好得着过给把被让对为到从又才却"
COMMON = frozenset(_ENGLISH.split()) | frozenset(_CHINESE)
"""Words that a phrase cannot consist of alone."""
_ARTICLES = ("the", "a", "an", "of", "and", "in", "to", "my", "that")


@dataclass(frozen=True, slots=True)
class _Gram:
    words: tuple[str, ...]
    surface: str
    """As it stands there, without what stands around it."""
    starts: bool
    """Whether a clause begins with it."""
    ends: bool


def catchphrases(
    own: Sequence[Turn], others: Sequence[str], names: Sequence[str] = (), most: int = MOST
) -> tuple[Catchphrase, ...]:
    """The phrases that stand in at least two utterances of the character, most telling first.

    own: the character's turns; others: what everybody else says and what is told; names: of which no phrase consists.
    A phrase is scored by how often it
    is said, how much likelier here than elsewhere (log odds, add one half), its length, and whether it is a whole clause.
    """
    places: dict[tuple[str, ...], list[Place]] = defaultdict(list)
    surfaces: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    edges: Counter[tuple[str, ...]] = Counter()
    for turn in own:
        seen: set[tuple[str, ...]] = set()
        for gram in _grams(turn.text):
            surfaces[gram.words][gram.surface] += 1
            edges[gram.words] += gram.starts + gram.ends
            if gram.words not in seen:
                seen.add(gram.words)
                places[gram.words].append(Place(turn.source, turn.line))
    named = {word for name in names for word in words_of(name)} | set(TITLES)
    repeated = {w for w, found in places.items() if len(found) > 1 and not _is_common(w, named)}
    elsewhere = _times_in(others, repeated)
    size = max(1, len(own)), max(1, len(others))
    scored = []
    for words in repeated:
        times, there = len(places[words]), elsewhere[words]
        odds = math.log(((times + 0.5) / size[0]) / ((there + 0.5) / size[1]))
        whole = edges[words] / (2 * sum(surfaces[words].values()))
        if odds > math.log(2) and whole >= (0.75 if len(words) < 5 else 0.5):
            scored.append((times * odds * (1 + 0.25 * min(len(words), 6)) * (0.3 + whole), words))
    scored = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:_COMPARED]
    often = {words: len(places[words]) for _, words in scored}
    scored = [pair for pair in scored if not _is_part_of_one(pair[1], often)]
    kept: list[tuple[str, ...]] = []
    for _, words in scored:
        if len(kept) < most and not any(_overlap(words, other) for other in kept):
            kept.append(words)
    return tuple(
        Catchphrase(_spelling(surfaces[w]), len(places[w]), elsewhere[w], tuple(places[w][:5])) for w in kept
    )


def telling_words(own: Sequence[Turn], others: Sequence[str], most: int = 8) -> list[str]:
    """Words that the character uses far more than anybody else, most telling first; no names, no common words."""
    mine = Counter(word for turn in own for word in set(_plain_words(turn.text)))
    theirs = Counter(word for text in others for word in set(_plain_words(text)))
    capital = {
        word.casefold() for turn in own for word in re.findall(r"(?<=[a-z,;] )[^\W\d_a-z]\w+", turn.text)
    }
    scored = []
    for word, times in mine.items():
        if (
            times > 2
            and word not in COMMON
            and word not in capital
            and len(word) > 2
            and not _HAN.match(word)
        ):
            odds = math.log(((times + 0.5) / len(own)) / ((theirs[word] + 0.5) / max(1, len(others))))
            if odds > math.log(2):
                scored.append((-times * odds, word))
    return [word for _, word in sorted(scored)[:most]]


def _grams(text: str) -> Iterator[_Gram]:
    for sentence in _SENTENCE.finditer(text):
        found = list(_WORD.finditer(sentence[0]))
        is_han = sum(bool(_HAN.match(word[0])) for word in found) > len(found) / 2
        shortest, longest = (3, _LONGEST_HAN) if is_han else (2, _LONGEST)
        words = [word[0].casefold().replace("’", "'") for word in found]
        for start in range(len(found)):
            for end in range(start + shortest, min(len(found), start + longest) + 1):
                starts = start == 0 or _parted(sentence[0], found[start - 1].end(), found[start].start())
                ends = end == len(found) or _parted(sentence[0], found[end - 1].end(), found[end].start())
                if starts or ends:
                    surface = sentence[0][found[start].start() : found[end - 1].end()]
                    yield _Gram(tuple(words[start:end]), surface, starts, ends)


def _plain_words(text: str) -> list[str]:
    return [word[0].casefold().replace("’", "'") for word in _WORD.finditer(text)]


def _parted(text: str, end: int, start: int) -> bool:
    """Whether punctuation stands between two words."""
    return any(not char.isspace() for char in text[end:start])


def _is_common(words: tuple[str, ...], names: set[str]) -> bool:
    """Whether a phrase says nothing: common words and names alone, or an article and a noun."""
    telling = sum(word not in COMMON and word not in names for word in words)
    return telling < 1 + (len(words) > 5) or (len(words) == 2 and words[0] in _ARTICLES)


def _is_part_of_one(words: tuple[str, ...], often: Mapping[tuple[str, ...], int]) -> bool:
    """Whether a longer phrase that holds this one is said nearly as often: then that one is the phrase."""
    return any(
        len(other) > len(words)
        and times >= 0.6 * often[words]
        and any(other[at : at + len(words)] == words for at in range(len(other) - len(words) + 1))
        for other, times in often.items()
    )


def _times_in(texts: Sequence[str], wanted: set[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """In how many of the texts each of the phrases stands."""
    counts: Counter[tuple[str, ...]] = Counter()
    lengths = sorted({len(words) for words in wanted})
    for text in texts:
        words = _plain_words(text)
        counts.update(
            {
                gram
                for length in lengths
                for start in range(len(words) - length + 1)
                if (gram := tuple(words[start : start + length])) in wanted
            }
        )
    return counts


def _overlap(words: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one stands in the other, or they share most of their words in a row."""
    short, long = sorted((words, other), key=len)
    needed = max(2, math.ceil(0.6 * len(short)))
    runs = {long[at : at + needed] for at in range(len(long) - needed + 1)}
    return any(short[at : at + needed] in runs for at in range(len(short) - needed + 1))


def _spelling(surfaces: Counter[str]) -> str:
    """The commonest spelling, its first letter a capital where that is how it mostly begins."""
    return min(surfaces, key=lambda surface: (-surfaces[surface], surface))
