"""The four scorers: pure functions of an answer and its references, each named in every number it gives.

standard     rouge-score's rougeL F1 for any script; leads every report
paper        what the paper evidently computed: the `rouge` package's rouge-l recall, which rewards length
opencompass  rougeL F1 against the first reference only
rouge-score  Google's package itself: the oracle, for text in ASCII
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rapidfuzz.distance import LCSseq

from rolekit.errors import RolekitError
from rolekit.rolebench.lcs import union_lcs
from rolekit.rolebench.tokens import Interner, dot_sentences, porter_stem, words

ScorerName = Literal["standard", "paper", "opencompass", "rouge-score"]
SCORERS: tuple[ScorerName, ...] = ("standard", "paper", "opencompass", "rouge-score")


@dataclass(frozen=True, slots=True)
class Value:
    """What one answer is worth, 0 to 1."""

    best: float
    """Against the reference that gives most: the score."""
    mean: float
    """Over all references that were used."""
    reference: int
    """Which reference gave best; its place in the record."""


class Scorer(Protocol):
    """Gives an answer its value."""

    @property
    def name(self) -> str:
        """The name that stands beside every number: `standard`, `standard+stemmer` …"""
        ...

    @property
    def says(self) -> str:
        """One line: the measure, the tokens, and how several references are used."""
        ...

    def score(self, answer: str, references: Sequence[str], language: str) -> Value | None:
        """The answer's value; an empty answer is worth 0. None when it can read none of the references.

        language is the record's (rolekit.rolebench.records.Record.language); not every scorer looks at it.
        """
        ...


def open_scorer(name: str, stemmer: bool = False) -> Scorer:
    """The scorer of that name. stemmer: Porter stems, for standard and rouge-score.

    Raises RolekitError when there is no such scorer, or it does not stem.
    """
    if stemmer and name not in ("standard", "rouge-score"):
        raise RolekitError(f"The scorer {name} does not stem.", "Leave --stemmer out, or use standard.")
    if name == "standard":
        return Standard(stemmer)
    if name == "paper":
        return Paper()
    if name == "opencompass":
        return OpenCompass()
    if name == "rouge-score":
        return RougeScore(stemmer)
    raise RolekitError(f"There is no scorer {name!r}.", f"Choose one of: {', '.join(SCORERS)}.")


class Standard:
    """rougeL F1, to the last bit rouge-score's where all letters and digits are ASCII, and Unicode-aware beyond."""

    def __init__(self, stemmer: bool = False) -> None:
        """stemmer: compare Porter stems of English words, as rouge-score's use_stemmer does."""
        self.name = "standard+stemmer" if stemmer else "standard"
        self.says = (
            "rougeL F1 as rouge-score, any script (CJK by character)"
            f"{', Porter stems' if stemmer else ''}; best of the references"
        )
        self._interner = Interner(porter_stem() if stemmer else None)

    def score(self, answer: str, references: Sequence[str], language: str) -> Value | None:
        """See Scorer.score."""
        tokens = [words(text) for text in (answer, *references)]
        hypothesis, *others = self._interner.encode(tokens)
        return _over([f1(hypothesis, other) if other else None for other in others])

    def pair(self, answer: str, reference: str) -> float:
        """F1 of one answer and one reference; 0 when either has no token."""
        hypothesis, other = self._interner.encode([words(answer), words(reference)])
        return f1(hypothesis, other)


class Paper:
    """Recall over unique tokens of the union LCS, as pltrdy's `rouge` 1.0.1 computes it; case kept."""

    name = "paper"
    says = "rouge-l recall as pltrdy's rouge 1.0.1 (rewards length); zh by character; best of the references"

    def score(self, answer: str, references: Sequence[str], language: str) -> Value | None:
        """See Scorer.score."""
        by_character = language == "zh"
        hypothesis = dot_sentences(answer, by_character)
        return _over([_recall(hypothesis, dot_sentences(text, by_character)) for text in references])


class OpenCompass:
    """rougeL F1 against the first reference; Chinese cut at the first newline, dot or comma, as OpenCompass does.

    Chinese is compared by character where OpenCompass uses jieba's words, so those numbers differ from its own.
    Source: open-compass/opencompass, datasets/rolebench.py and utils/text_postprocessors.py.
    """

    name = "opencompass"
    says = (
        "rougeL F1 against the FIRST reference only; zh cut at the first newline, dot or comma, by character"
    )

    def __init__(self) -> None:
        self._standard = Standard()

    def score(self, answer: str, references: Sequence[str], language: str) -> Value | None:
        """See Scorer.score."""
        first = references[0]
        if language == "zh":
            answer, first = _first_clause(answer), _first_clause(first)
        return self._standard.score(answer, [first], language)


class RougeScore:
    """Google's rouge-score package: rougeL F1. It reads a-z and 0-9 only, so it has nothing to say on Chinese."""

    def __init__(self, stemmer: bool = False) -> None:
        """stemmer: the package's own use_stemmer. Imports rouge_score."""
        from rouge_score import (  # type: ignore[import-untyped, unused-ignore]
            rouge_scorer,
            tokenizers,
        )

        self.name = "rouge-score+stemmer" if stemmer else "rouge-score"
        self.says = "rougeL F1 of the rouge-score package (a-z and 0-9 only); best of the references"
        self._tokenize = tokenizers.DefaultTokenizer(stemmer).tokenize
        self._scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=stemmer)

    def score(self, answer: str, references: Sequence[str], language: str) -> Value | None:
        """See Scorer.score."""
        return _over(
            [
                float(self._scorer.score(text, answer)["rougeL"].fmeasure) if self._tokenize(text) else None
                for text in references
            ]
        )


def f1(hypothesis: str, reference: str) -> float:
    """rougeL F1 of two token strings (rolekit.rolebench.tokens.Interner), in rouge-score's order of operations."""
    common = LCSseq.similarity(hypothesis, reference)
    if not common:
        return 0.0
    precision, recall = common / len(hypothesis), common / len(reference)
    return float(2 * precision * recall / (precision + recall))


def _recall(hypothesis: list[list[str]], reference: list[list[str]]) -> float | None:
    if not reference:
        return None
    if not hypothesis:
        return 0.0
    return len(union_lcs(reference, hypothesis)) / len(set().union(*reference))


def _over(values: Sequence[float | None]) -> Value | None:
    usable = [value for value in values if value is not None]
    if not usable:
        return None
    best = max(usable)
    return Value(best, sum(usable) / len(usable), values.index(best))


_CLAUSE_END = re.compile(r"[\n.,]")
_PUNCTUATION = re.compile(r"[^\w\s]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)


def _first_clause(text: str) -> str:
    return _ARTICLES.sub("", _PUNCTUATION.sub("", _CLAUSE_END.split(text, maxsplit=1)[0]))
