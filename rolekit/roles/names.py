"""Names as people type them: folded for comparison, turned into file names, matched forgivingly."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_FUZZY_ENOUGH = 75.0
_FUZZY_LEAD = 6.0
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def fold(name: str) -> str:
    """A name without case, accents and punctuation, words one space apart: "d’Artagnan " -> "d artagnan"."""
    if name.isascii():
        plain = name.lower()
    else:
        decomposed = unicodedata.normalize("NFKD", name).casefold()
        plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join("".join(char if char.isalnum() else " " for char in plain).split())


def slug_of(name: str) -> str:
    """A file name (without .toml) for a role's name; letters of every script stay: "Élise Ö." -> "elise-o"."""
    slug = unicodedata.normalize("NFC", fold(name).replace(" ", "-"))
    while len(slug.encode()) > 120:
        slug = slug[:-1]
    slug = slug.strip("-") or "role"
    return f"{slug}-role" if slug in _DEVICES else slug


@dataclass(frozen=True, slots=True)
class Match:
    """The keys that a typed name stands for (several when it is ambiguous), or the nearest ones."""

    found: tuple[str, ...]
    nearest: tuple[str, ...] = ()


def match(typed: str, names: Mapping[str, Iterable[str]]) -> Match:
    """Which of names (key -> all folded names it goes by) somebody means.

    The first rule that fits anything decides: the same name, a beginning of the name or of each of its words
    (a part of it for scripts without spaces), or a typing error that leaves one name clearly the nearest.
    """
    wanted = fold(typed)
    if not wanted:
        return Match((), tuple(sorted(names))[:3])
    for rule in (_same, _begins):
        found = tuple(key for key, known in names.items() if any(rule(wanted, name) for name in known))
        if found:
            return Match(found)
    return _fuzzy(wanted, names)


def _same(wanted: str, name: str) -> bool:
    return wanted == name or wanted.replace(" ", "") == name.replace(" ", "")


def _begins(wanted: str, name: str) -> bool:
    if name.startswith(wanted) or (not wanted.isascii() and wanted.replace(" ", "") in name):
        return True
    words = name.split()
    return all(any(word.startswith(part) for word in words) for part in wanted.split())


def _fuzzy(wanted: str, names: Mapping[str, Iterable[str]]) -> Match:
    from rapidfuzz import fuzz

    scores: list[tuple[float, str]] = []
    for key, known in names.items():
        best = max(
            (max(fuzz.ratio(wanted, name), fuzz.token_sort_ratio(wanted, name)) for name in known), default=0
        )
        scores.append((best, key))
    scores.sort(key=lambda pair: (-pair[0], pair[1]))
    if scores and scores[0][0] >= _FUZZY_ENOUGH:
        runner_up = scores[1][0] if len(scores) > 1 else 0.0
        if scores[0][0] - runner_up >= _FUZZY_LEAD:
            return Match((scores[0][1],))
    return Match((), tuple(key for _, key in scores[:3]))
