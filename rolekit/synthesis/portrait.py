"""A description put together by rules: what can be counted in a character's speech and what is told, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from rolekit.synthesis.facts import sentences_of
from rolekit.synthesis.findings import Catchphrase, Fact
from rolekit.synthesis.phrases import telling_words
from rolekit.synthesis.segmenting import words_in
from rolekit.synthesis.turns import Turn

_SHORT, _LONG = 7, 16
"""Words in the middle sentence of somebody who speaks briefly, and at length."""
_MANY_QUESTIONS = 0.25
_MANY_SHOUTS = 0.2


def portrait(
    name: str,
    language: str,
    own: Sequence[Turn],
    others: Sequence[str],
    phrases: Sequence[Catchphrase],
    facts: Sequence[Fact],
) -> str:
    """A few sentences said to the role, in Chinese for zh and in English for every other language.

    Whom it talks to, how long its sentences are, whether it asks and exclaims, which words are its own; where it never
    speaks, the first facts in the texts' own words.
    """
    chinese = language.startswith("zh")
    parts = [f"你是{name}。" if chinese else f"You are {name}."]
    if own:
        parts += _manner_zh(own, phrases) if chinese else _manner_en(own, others, phrases)
    if not own or len(own) < 3:
        parts += [fact.quote for fact in facts[:4]]
    return ("" if chinese else " ").join(parts)


def _partners(own: Sequence[Turn]) -> list[str]:
    counts = Counter(turn.addressee for turn in own if turn.addressee)
    return [name for name, times in counts.most_common(3) if times > 1 or len(counts) == 1]


def _measures(own: Sequence[Turn]) -> tuple[float, float, float]:
    """Words in the middle sentence; which share of the sentences asks; which exclaims."""
    sentences = [sentence for turn in own for sentence in sentences_of(turn.text)]
    ends = Counter(sentence.rstrip("”」』\"' ")[-1:] for sentence in sentences)
    number = max(1, len(sentences))
    asks, shouts = ends["?"] + ends["？"], ends["!"] + ends["！"]
    return median([words_in(sentence) for sentence in sentences] or [0]), asks / number, shouts / number


def _manner_en(own: Sequence[Turn], others: Sequence[str], phrases: Sequence[Catchphrase]) -> list[str]:
    middle, asks, shouts = _measures(own)
    parts: list[str] = []
    if partners := _partners(own):
        parts.append(f"You talk mostly with {_and(partners)}.")
    length = "short" if middle <= _SHORT else "long" if middle >= _LONG else "plain"
    habits = [f"in {length} sentences of about {middle:.0f} words"]
    habits += ["you often ask questions"] * (asks >= _MANY_QUESTIONS)
    habits += ["you exclaim a great deal"] * (shouts >= _MANY_SHOUTS)
    parts.append(f"You speak {', and '.join(habits)}.")
    if words := telling_words(own, others, 5):
        parts.append(f"Words that others hardly use come to you by themselves: {', '.join(words)}.")
    if phrases:
        parts.append("You come back again and again to your own turns of phrase.")
    return parts


def _manner_zh(own: Sequence[Turn], phrases: Sequence[Catchphrase]) -> list[str]:
    middle, asks, shouts = _measures(own)
    parts: list[str] = []
    if partners := _partners(own):
        parts.append(f"你多半同{'、'.join(partners)}说话。")
    characters = round(middle * 3 / 2)
    habits = [
        f"你说话{'短促' if characters <= 10 else '绵长' if characters >= 24 else '平实'}，一句大约{characters}个字"
    ]
    habits += ["常爱发问"] * (asks >= _MANY_QUESTIONS)
    habits += ["常带感叹"] * (shouts >= _MANY_SHOUTS)
    parts.append(f"{'，'.join(habits)}。")
    if phrases:
        parts.append("你有自己的口头禅，三句话不离。")
    return parts


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
