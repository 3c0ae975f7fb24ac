"""The bundled general instructions: enough of them, in both languages, and none that asks what another asks."""

from __future__ import annotations

from itertools import combinations

import pytest
from rapidfuzz import fuzz

from rolekit.ranking import words_of
from rolekit.synthesis.instructions import LANGUAGES, bundled_instructions, counts


def test_there_are_three_hundred_in_two_languages_over_many_categories() -> None:
    found = counts()
    assert all(sum(found[tag].values()) >= 150 for tag in LANGUAGES)
    assert sum(sum(one.values()) for one in found.values()) >= 300
    assert all(len(found[tag]) >= 12 and min(found[tag].values()) >= 8 for tag in LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_none_asks_what_another_asks(language: str) -> None:
    questions = [one.question for one in bundled_instructions(language)]
    assert not [(a, b) for a, b in combinations(questions, 2) if _near(a, b)]


def _near(first: str, second: str) -> bool:
    """More than two thirds of the same text; the same words in another order, where words are more than letters."""
    words = [" ".join(words_of(text)) for text in (first, second)]
    return fuzz.ratio(*words) > 75 or (first.isascii() and fuzz.token_set_ratio(*words) > 85)


def test_the_rule_finds_a_near_duplicate() -> None:
    assert _near("How do I sharpen a knife properly?", "How does one properly sharpen a knife?")
    assert _near("怎样挑一个又甜又脆的西瓜？", "怎么挑一个又甜又脆的西瓜呢？")


def test_each_set_is_in_its_language_and_of_its_own_making() -> None:
    """A translated list would have as many in each category; and no Chinese one is half in English."""
    assert counts()["en"] != counts()["zh"]
    assert not any(one.question.isascii() for one in bundled_instructions("zh"))
    assert all(one.question.isascii() for one in bundled_instructions("en"))


def test_a_language_gets_its_set_and_any_beginning_is_diverse() -> None:
    assert bundled_instructions("zh-Hant") == bundled_instructions("zh")
    assert bundled_instructions("fr") == bundled_instructions("en")
    assert len({one.kind for one in bundled_instructions("en")[:16]}) == 16
    assert bundled_instructions() == bundled_instructions("en") + bundled_instructions("zh")
    assert all(one.turns[0].text == one.question and not one.answers for one in bundled_instructions())
