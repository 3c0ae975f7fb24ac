"""standard against rouge-score, paper against the `rouge` package: the same pairs, the same numbers, in turn.

python tests/benchmarks/bench_scorers.py [rows] [long] [--rounds N] [--data FOLDER]

FOLDER is RoleBench's English role-specific one (test.jsonl with rolegpt_baseline.jsonl). `rows` scores all its rows;
`long` texts of 2,000 tokens made of its answers and references, as they are and with their dots taken out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from measuring import in_turn, report
from rouge import Rouge
from rouge_score import rouge_scorer

from rolekit.rolebench.answers import read_answers
from rolekit.rolebench.joining import join
from rolekit.rolebench.records import read_records
from rolekit.rolebench.scorers import open_scorer

SHARED = Path(__file__).parents[3] / "shared" / "data" / "rolebench"
ENGLISH = SHARED / "rolebench-eng" / "instruction-generalization" / "role_specific"
LONG_TOKENS = 2000
LONG_TEXTS = 2
Pairs = Sequence[tuple[str, Sequence[str]]]


def real_pairs(folder: Path) -> Pairs:
    """Every answer with the references of its record."""
    joined = join(
        read_records(folder / "test.jsonl").records, read_answers(folder / "rolegpt_baseline.jsonl").answers
    )
    return [(answer.text, record.references) for record, answer in joined.pairs if answer]


def long_pairs(pairs: Pairs, dots: bool) -> Pairs:
    """Answers and references of LONG_TOKENS words, joined from real ones."""
    found = []
    for start in range(LONG_TEXTS):
        sides = [
            " ".join(pair[0] for pair in pairs[start::7]),
            " ".join(pair[1][0] for pair in pairs[start::7]),
        ]
        if not dots:
            sides = [side.replace(".", " ") for side in sides]
        answer, reference = (" ".join(side.split()[:LONG_TOKENS]) for side in sides)
        found.append((answer, [reference]))
    return found


def ours(name: str, stemmer: bool, pairs: Pairs, means: list[float]) -> float:
    """Pairs a second, with a scorer that has seen nothing before."""
    scorer = open_scorer(name, stemmer)
    start = time.perf_counter()
    values = [scorer.score(answer, references, "en") for answer, references in pairs]
    seconds = time.perf_counter() - start
    means.append(sum(value.best for value in values if value) / len(pairs))
    return sum(len(references) for _, references in pairs) / seconds


def google(stemmer: bool, pairs: Pairs, means: list[float]) -> float:
    """The same of rouge-score."""
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=stemmer)
    start = time.perf_counter()
    values = [scorer.score_multi(references, answer)["rougeL"].fmeasure for answer, references in pairs]
    seconds = time.perf_counter() - start
    means.append(sum(values) / len(pairs))
    return sum(len(references) for _, references in pairs) / seconds


def pltrdy(pairs: Pairs, means: list[float]) -> float:
    """The same of the `rouge` package."""
    rouge = Rouge(metrics=["rouge-l"], stats=["r"])
    start = time.perf_counter()
    values = [
        max(score["rouge-l"]["r"] for score in rouge.get_scores([answer] * len(references), list(references)))
        for answer, references in pairs
    ]
    seconds = time.perf_counter() - start
    means.append(sum(values) / len(pairs))
    return sum(len(references) for _, references in pairs) / seconds


Measure = Callable[[Pairs, list[float]], float]


def versus(title: str, rounds: int, pairs: Pairs, mine: Measure, theirs: Measure, target: str = "") -> None:
    """One line: pairs a second of both; says so when their numbers differ."""
    means: tuple[list[float], list[float]] = ([], [])
    fast, slow = in_turn(rounds, partial(mine, pairs, means[0]), partial(theirs, pairs, means[1]))
    report(title, fast, slow, "pairs/s", target)
    if means[0] != means[1]:
        beyond = sum(any(c.isalnum() and not c.isascii() for text in (a, *b) for c in text) for a, b in pairs)
        print(f"   means {means[0][0]:.6f} and {means[1][0]:.6f}; {beyond} rows have letters beyond ASCII")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["rows", "long"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=ENGLISH)
    options = parser.parse_args()
    sys.setrecursionlimit(50_000)  # the `rouge` package recurses once a token
    pairs = real_pairs(options.data)
    standard, stemmed = partial(ours, "standard", False), partial(ours, "standard", True)
    paper = partial(ours, "paper", False)
    if "rows" in options.parts:
        print(f"{len(pairs)} rows, {sum(len(references) for _, references in pairs)} pairs")
        versus(
            "rows: standard vs rouge-score", options.rounds, pairs, standard, partial(google, False), ">= 15"
        )
        versus("rows: with stemmer", options.rounds, pairs, stemmed, partial(google, True))
        versus("rows: paper vs rouge", options.rounds, pairs, paper, pltrdy, ">= 10")
    if "long" in options.parts:
        for dots in (True, False):
            texts = long_pairs(pairs, dots)
            what = f"{LONG_TOKENS} tokens{'' if dots else ', one sentence'}"
            versus(
                f"{what}: standard vs rouge-score",
                options.rounds,
                texts,
                standard,
                partial(google, False),
                ">= 15",
            )
            versus(f"{what}: paper vs rouge", options.rounds, texts, paper, pltrdy, ">= 10")


if __name__ == "__main__":
    main()
