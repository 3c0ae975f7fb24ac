"""The scorers against the packages whose numbers they give, pair by pair and to the last bit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge import Rouge
from rouge_score import rouge_scorer

from rolekit.errors import RolekitError
from rolekit.rolebench.answers import read_answers
from rolekit.rolebench.joining import join
from rolekit.rolebench.lcs import union_lcs
from rolekit.rolebench.records import Record, read_records
from rolekit.rolebench.scorers import OpenCompass, Paper, RougeScore, Standard, open_scorer
from rolekit.rolebench.scoring import figure, score_answers
from rolekit.rolebench.tokens import Interner, dot_sentences, words

ROUGE = Rouge(metrics=["rouge-l"])


@pytest.fixture(autouse=True)
def deep_recursion() -> Iterator[None]:
    """The `rouge` package recurses once a token: give it room, so that it is the oracle for longer texts too."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


@cache
def google(stemmer: bool) -> Any:
    return rouge_scorer.RougeScorer(["rougeL"], use_stemmer=stemmer)


def paper(answer: str, reference: str) -> dict[str, float]:
    """Recall, precision and F as the `rouge` package names them, from our union."""
    hypothesis, sentences = dot_sentences(answer, False), dot_sentences(reference, False)
    common = len(union_lcs(sentences, hypothesis))
    r, p = common / len(set().union(*sentences)), common / len(set().union(*hypothesis))
    return {"r": r, "p": p, "f": 2.0 * ((p * r) / (p + r + 1e-8))}


def real_pairs(english: Path) -> list[tuple[str, str]]:
    joined = join(
        read_records(english / "test.jsonl").records,
        read_answers(english / "rolegpt_baseline.jsonl").answers,
    )
    assert joined.exact == 4750
    return [(a.text, ref) for record, a in joined.pairs if a for ref in record.references]


WORDS = st.lists(st.sampled_from([*"abcde", ".", "..", " ", ". ", "the", "The", "\n", "\t"]), max_size=60)


@settings(max_examples=400, deadline=None)
@given(WORDS, WORDS)
def test_paper_equals_the_rouge_package_on_any_pair_that_it_can_handle(
    left: list[str], right: list[str]
) -> None:
    for glue in ("", " "):
        answer, reference = glue.join(left), glue.join(right)
        try:
            expected = ROUGE.get_scores(answer, reference)[0]["rouge-l"]
        except ValueError:
            assert not dot_sentences(answer, False) or not dot_sentences(reference, False)
            continue
        assert paper(answer, reference) == expected


def test_paper_equals_the_rouge_package_on_real_pairs(english: Path) -> None:
    for answer, reference in real_pairs(english)[::25]:
        assert paper(answer, reference) == ROUGE.get_scores(answer, reference)[0]["rouge-l"]


def test_paper_equals_the_rouge_package_on_long_texts_with_few_dots(english: Path) -> None:
    pairs = real_pairs(english)
    for start in (0, 500):
        answer, reference = (
            " ".join(pair[side] for pair in pairs[start : start + 3]).replace(".", " ") for side in (0, 1)
        )
        assert paper(answer, reference) == ROUGE.get_scores(answer, reference)[0]["rouge-l"]


def test_paper_on_chinese_is_the_rouge_package_on_characters(shared: Path) -> None:
    folder = shared / "rolebench-zh" / "general"
    joined = join(
        read_records(folder / "test.jsonl").records, read_answers(folder / "rolegpt_baseline.jsonl").answers
    )
    for record, answer in joined.pairs[::10]:
        assert answer is not None
        value = Paper().score(answer.text, record.references, record.language)
        expected = [
            ROUGE.get_scores(" ".join(answer.text), " ".join(text))[0]["rouge-l"]["r"]
            for text in record.references
        ]
        assert value is not None
        assert value.best == max(expected)


def test_paper_gives_the_published_number_of_rolegpt(english: Path) -> None:
    """Table 3, RoleGPT, SPE: .3229."""
    scoring = score_answers(
        read_records(english / "test.jsonl").records,
        read_answers(english / "rolegpt_baseline.jsonl").answers,
        open_scorer("paper"),
    )
    spe = figure(scoring.items_of("SPE"))
    assert (round(spe.score, 4), spe.scored) == (0.3229, 4750)


def test_paper_handles_what_the_package_cannot() -> None:
    assert Paper().score("", ["a b"], "en").best == 0  # type: ignore[union-attr]
    assert Paper().score("...", ["a b"], "en").best == 0  # type: ignore[union-attr]
    assert Paper().score("a", ["...", "."], "en") is None
    assert Paper().score("a", ["...", "a"], "en").reference == 1  # type: ignore[union-attr]
    deep = " ".join(str(n) for n in range(3000))
    assert Paper().score(deep, [deep], "en").best == 1  # type: ignore[union-attr]


READABLE = st.text(
    st.one_of(
        st.sampled_from("abcXYZ019 ..,'-\n\u2019\u201c\u2014\u3002\uff0c\U0001f600_"),
        st.characters(codec="ascii"),
    )
)


@settings(max_examples=400, deadline=None)
@given(READABLE, READABLE, st.booleans())
def test_standard_is_rouge_score_to_the_last_bit_on_text_it_can_read(a: str, b: str, stemmer: bool) -> None:
    assert Standard(stemmer).pair(a, b) == google(stemmer).score(b, a)["rougeL"].fmeasure


@pytest.mark.parametrize("stemmer", [False, True])
def test_standard_is_rouge_score_on_real_pairs(english: Path, stemmer: bool) -> None:
    ours = Standard(stemmer)
    for answer, reference in real_pairs(english)[::10]:
        expected = google(stemmer).score(reference, answer)["rougeL"].fmeasure
        # Unicode letters are rare in these rows, and rouge-score cannot read them.
        if all(c.isascii() or not c.isalnum() for c in answer + reference):
            assert ours.pair(answer, reference) == expected


def test_standard_gives_rouge_scores_number_on_the_whole_set(english: Path) -> None:
    records = read_records(english / "test.jsonl").records
    answers = read_answers(english / "rolegpt_baseline.jsonl").answers
    spe = figure(score_answers(records, answers, open_scorer("standard")).items_of("SPE"))
    assert round(spe.score, 4) == 0.2326
    stemmed = figure(score_answers(records, answers, open_scorer("standard", stemmer=True)).items_of("SPE"))
    assert round(stemmed.score, 4) == 0.2381


@pytest.mark.parametrize(
    "text",
    [
        "你好世界",
        "これはペンです。",
        "안녕하세요",
        "สวัสดี",
        "Café naïve",
        "Ελληνικά",
        "здравствуй, мир",
        "हिन्दी",
    ],
)
def test_identical_text_of_any_script_scores_one(text: str) -> None:
    assert Standard().pair(text, text) == 1.0


def test_tokens_beyond_ascii() -> None:
    assert words("你好, World2！") == ["你".encode(), "好".encode(), b"world2"]
    assert words("Café don’t") == ["café".encode(), b"don", b"t"]
    assert words("Cafe\u0301") == words("café")
    assert Standard().pair("café", "cafe") == 0.0
    assert words("❤️ ok 👍🏽") == [b"ok"]
    assert words("हिन्दी भाषा") == ["हिन्दी".encode(), "भाषा".encode()]
    assert words("\ud800 a é") == [b"a", "é".encode()]
    assert len(words("我今年18岁")) == 5


@pytest.mark.parametrize("scorer", [Standard(), Paper(), OpenCompass(), RougeScore()])
def test_values_stay_between_zero_and_one(scorer: Any) -> None:
    for answer in ("", " ", "a b c", "你好", "a" * 5000, ". . .", "\x00\x1b[2J"):
        value = scorer.score(answer, ("a b", "你好 b"), "en")
        assert value is not None
        assert 0 <= value.mean <= value.best <= 1


def test_max_and_mean_over_references() -> None:
    value = Standard().score("one two", ["three", "one two", "one four"], "en")
    assert value is not None
    assert (value.best, value.reference) == (1.0, 1)
    assert value.mean == pytest.approx((0 + 1 + 0.5) / 3)


def test_opencompass_looks_at_the_first_reference_only() -> None:
    assert OpenCompass().score("one two", ["three", "one two"], "en").best == 0  # type: ignore[union-attr]
    # What follows the first comma counts for nothing, in either text.
    assert OpenCompass().score("你好,再见", ["你好.朋友"], "zh").best == 1  # type: ignore[union-attr]


def test_rouge_score_cannot_read_chinese_and_says_so() -> None:
    assert RougeScore().score("你好", ["你好"], "zh") is None
    records = [Record("李白", "谁？", ("诗人",), "role_specific", language="zh")]
    scoring = score_answers(records, [], RougeScore())
    assert "has an answer" in scoring.unscored["SPE"]


@pytest.mark.parametrize("stemmer", [False, True])
def test_the_rouge_score_scorer_is_the_package(stemmer: bool) -> None:
    value = open_scorer("rouge-score", stemmer).score("Cats were running", ["A cat runs", "dogs"], "en")
    expected = google(stemmer).score_multi(["A cat runs", "dogs"], "Cats were running")["rougeL"].fmeasure
    assert value is not None
    assert value.best == expected


def test_unknown_scorers_are_one_sentence() -> None:
    with pytest.raises(RolekitError, match=r"no scorer 'bleu'.*standard, paper"):
        open_scorer("bleu")
    with pytest.raises(RolekitError, match="does not stem"):
        open_scorer("paper", stemmer=True)


def test_a_stem_is_not_stemmed_again() -> None:
    expected = google(True).score("relationships", "relationship relation relat")["rougeL"].fmeasure
    assert Standard(stemmer=True).pair("relationship relation relat", "relationships") == expected


def test_the_interner_starts_again_before_its_alphabet_runs_out() -> None:
    interner = Interner()
    huge = [str(n).encode() for n in range(600_000)]
    interner.encode([huge])
    first, second = interner.encode([[*huge[:5], b"x" * 9], [str(-n).encode() for n in range(1, 600_000)]])
    assert len(set(first)) == 6
    assert not set(first) & set(second)
