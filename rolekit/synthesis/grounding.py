"""How far an answer rests on what it was made from: its quote, and the names and numbers that it uses.

A rule, not a judge: it finds evidence that was made up and people, places and numbers out of nowhere. What it holds
back a person (or the model check) looks at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rapidfuzz import fuzz

from rolekit.ranking import words_of
from rolekit.roles.role import Role

SUPPORTED = 0.75
"""An answer with less support is held."""
_LEAST_QUOTE = 3
"""Words (characters in Chinese and Japanese) that make a quote."""
_NAME = re.compile(r"(?<![.!?…:;\"“”‘'«—-] )(?<!^)(?<!\n)\b[A-ZÀ-ÞА-Я][\w'’-]{2,}")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*|[一二三四五六七八九十百千万两]{2,}")
_BOOK = re.compile(r"《([^》]{1,30})》")


def quote_share(quote: str, segment: str) -> float:
    """How much of the quote stands in the segment in one piece, 0 to 1; 0 where it is too short to prove anything."""
    words = words_of(quote)
    if len(words) < _LEAST_QUOTE:
        return 0.0
    bare, ground = " ".join(words), " ".join(words_of(segment))
    return 1.0 if bare in ground else fuzz.partial_ratio(bare, ground) / 100.0


def claims_of(answer: str) -> list[str]:
    """Names, numbers and titles of works that the answer uses, once each."""
    found = [*_NAME.findall(answer), *_NUMBER.findall(answer), *_BOOK.findall(answer)]
    return list(dict.fromkeys(found))


def unsupported_claims(answer: str, grounds: Iterable[str]) -> list[str]:
    """Those claims that stand nowhere in the grounds."""
    whole = " ".join(grounds).casefold()
    known = set(words_of(whole))
    return [
        claim
        for claim in claims_of(answer)
        if claim.casefold() not in whole and not all(word in known for word in words_of(claim))
    ]


def profile_texts(role: Role) -> list[str]:
    """What a role's own file says: grounds for every answer."""
    examples = [text for example in role.examples for text in (example.user, example.reply)]
    return [
        role.name, *role.aliases, role.description, role.personality, role.scenario, *role.catchphrases, *role.facts,
        *examples,
    ]  # fmt: skip


def support(answer: str, quote: str, segment: str, others: Iterable[str]) -> tuple[float, str]:
    """How far segment and others bear the answer out, 0 to 1, and what is missing.

    The quote's share in the segment times the share of the answer's claims that are known. others: the profile's
    texts and the question.
    """
    share = quote_share(quote, segment)
    grounds = [segment, *others]
    claims = claims_of(answer)
    loose = unsupported_claims(answer, grounds)
    known = 1.0 - len(loose) / len(claims) if claims else 1.0
    missing = "" if share >= 0.9 else "the quote is not in the segment"
    if loose:
        missing = f"{missing}; not known: {', '.join(loose[:5])}".removeprefix("; ")
    return round(share * known, 3), missing
