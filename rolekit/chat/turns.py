"""Whose turn it is in a room. Everything here is pure: the same talk and the same seed give the same speakers."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rolekit.chat.room import Turns
from rolekit.roles.role import Role

_PARTICLES = frozenset({"the", "of", "von", "van", "de", "da", "di", "du", "la", "le", "el", "al", "dr", "mr", "mrs",
                        "ms", "sir", "lady", "lord", "king", "queen", "prince", "princess", "captain", "doctor", "saint",
                        "st", "miss", "master", "madame", "monsieur", "frau", "herr", "and", "und"})  # fmt: skip
_SHORTEST = 3
_SENTENCE = r"(?:^|[\n.!?…。！？“\"«—–-])\s*"
_CALLING = r"[,:!?，：！？、—–-]"


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is in the room, by slug, in the order of round-robin."""

    roles: Mapping[str, Role]

    def called(self, text: str, *, directly: bool = False) -> list[str]:
        """The slugs of those whom a text calls by name, in the order of their names in it.

        A name with a sign of address at it (`Watson, …`, `…, Watson?`, `@Watson`) wins over names merely mentioned;
        directly: only such count.
        """
        first: dict[str, int] = {}
        mentioned: dict[str, int] = {}
        for slug in self.roles:
            address, mention = _patterns(names_in(self.roles, slug))
            if address and (found := address.search(text)):
                first[slug] = found.start()
            if mention and (found := mention.search(text)):
                mentioned[slug] = found.start()
        places = first if first or directly else mentioned
        return sorted(places, key=lambda slug: places[slug])

    def after(self, slug: str) -> str:
        """The next one in order; the first where slug is nobody here."""
        order = list(self.roles)
        return order[(order.index(slug) + 1) % len(order)] if slug in self.roles else order[0]


def names_in(roles: Mapping[str, Role], slug: str) -> tuple[str, ...]:
    """What a role may be called in company: its names, and each word of its name that no other role shares."""
    own = roles[slug]
    others = {
        word.casefold()
        for other, role in roles.items()
        if other != slug
        for name in (role.name, *role.aliases)
        for word in (name, *name.split())
    }
    names = dict.fromkeys(name.strip() for name in (own.name, *own.aliases) if name.strip())
    for word in own.name.replace(",", " ").split():
        plain = word.strip(".'’\"")
        if len(plain) >= _SHORTEST and plain.casefold() not in _PARTICLES:
            names.setdefault(plain)
    return tuple(name for name in names if name.casefold() not in others)


def answering(turns: Turns, cast: Cast, spoken: Sequence[str], text: str, seed: str) -> list[str]:
    """Who answers the user's text, in order; at least one. spoken: the slugs of the lines so far, oldest first."""
    last = spoken[-1] if spoken else ""
    if turns == "round-robin":
        return [cast.after(last)]
    called = cast.called(text)
    if turns == "named":
        return called or [last if last in cast.roles else cast.after("")]
    draw = random.Random(seed)
    others = [slug for slug in cast.roles if slug not in called]
    draw.shuffle(others)
    found = called + [slug for slug in others if draw.random() < cast.roles[slug].talkativeness]
    return found or [_weighted(cast, others, draw)]


def follows(turns: Turns, cast: Cast, text: str, speaker: str, silent: Sequence[str]) -> str:
    """Who is called on by what speaker just said and has not spoken yet this turn; empty: nobody goes on."""
    if turns == "round-robin":
        return ""
    called = [slug for slug in cast.called(text, directly=True) if slug != speaker]
    return next((slug for slug in called if slug in silent), "")


def next_speaker(turns: Turns, cast: Cast, spoken: Sequence[str], text: str, seed: str) -> str:
    """Who goes on when the user says nothing; never the one who spoke last. text: the last line."""
    last = spoken[-1] if spoken else ""
    if turns == "round-robin":
        return cast.after(last)
    if called := [slug for slug in cast.called(text, directly=True) if slug != last]:
        return called[0]
    if turns == "named":
        return cast.after(last)
    return _weighted(cast, [slug for slug in cast.roles if slug != last], random.Random(seed))


def _weighted(cast: Cast, slugs: Sequence[str], draw: random.Random) -> str:
    weights = [cast.roles[slug].talkativeness for slug in slugs]
    return draw.choices(slugs, weights if any(weights) else None)[0]


@lru_cache(maxsize=64)
def _patterns(names: tuple[str, ...]) -> tuple[Any, Any]:
    """What finds an address, and what finds a mention, by one of these names."""
    if not names:
        return None, None
    longest = sorted(names, key=len, reverse=True)
    name = "(?:" + "|".join(_bounded(text) for text in longest) + ")"
    address = rf"@{name}|{_SENTENCE}(?:\w{{1,12}}\s+)?{name}\s*{_CALLING}|[,，]\s*(?:\w{{1,12}}\s+)?{name}\s*(?:[.!?,。！？，…]|$)"
    flags = re.IGNORECASE
    return re.compile(address, flags), re.compile(name, flags)


def _bounded(name: str) -> str:
    """A name that is a word of its own; Chinese and Japanese names stand between other characters."""
    escaped = re.escape(name)
    if not name.isascii() and any(
        "\u2e80" <= sign <= "\u9fff" or "\uac00" <= sign <= "\ud7af" for sign in name
    ):
        return escaped
    return rf"(?<!\w){escaped}(?!\w)"
