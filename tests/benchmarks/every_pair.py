"""Every real pair of RoleBench against both oracles: `paper` and the `rouge` package, `standard` and rouge-score.

python tests/benchmarks/every_pair.py --keep FILE.json [--data FOLDER]

RoleGPT's answers against all references of their records (English role-specific, Chinese general), and the first
reference of every English general record against its others. Equal means the same float, to the last bit. FILE holds
what has been compared so far; the same command goes on with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rouge import Rouge
from rouge_score import rouge_scorer

from rolekit.paths import write_text
from rolekit.rolebench.answers import read_answers
from rolekit.rolebench.joining import join
from rolekit.rolebench.records import read_records
from rolekit.rolebench.scorers import Paper, Standard

SHARED = Path(__file__).parents[3] / "shared" / "data" / "rolebench"
ENGLISH = "rolebench-eng/instruction-generalization/role_specific"
GENERAL = "rolebench-eng/role-generalization/general"
CHINESE = "rolebench-zh/general"
SAVE_EVERY = 250
Pair = tuple[str, str, str]
"""An answer, a reference, and the language."""


def answered(folder: Path, language: str) -> Iterator[Pair]:
    """RoleGPT's answers with every reference, of all splits in the folder."""
    answers = read_answers(folder / "rolegpt_baseline.jsonl").answers
    for split in ("test", "train"):
        if (folder / f"{split}.jsonl").is_file():
            for record, answer in join(read_records(folder / f"{split}.jsonl").records, answers).pairs:
                if answer:
                    yield from ((answer.text, reference, language) for reference in record.references)


def between(folder: Path) -> Iterator[Pair]:
    """Each record's first reference with its others."""
    for record in read_records(folder / "test.jsonl").records:
        yield from ((record.references[0], other, "en") for other in record.references[1:])


class Oracles:
    """Compares one pair with both packages."""

    def __init__(self) -> None:
        self._rouge = Rouge(metrics=["rouge-l"], stats=["r"])
        self._google = {
            stemmer: rouge_scorer.RougeScorer(["rougeL"], use_stemmer=stemmer) for stemmer in (False, True)
        }
        self._standard = {stemmer: Standard(stemmer) for stemmer in (False, True)}
        self._paper = Paper()

    def compare(self, pair: Pair) -> Iterator[str]:
        """What came of it: one word a comparison."""
        answer, reference, language = pair
        yield f"paper {language}: {self._paper_verdict(answer, reference, language)}"
        beyond = (unicodedata.category(c)[0] for c in answer + reference if not c.isascii())
        if any(kind in "LMN" for kind in beyond):  # letters, accents that stand alone, digits
            yield f"standard {language}: rouge-score cannot read"
            return
        for stemmer, scorer in self._standard.items():
            expected = self._google[stemmer].score(reference, answer)["rougeL"].fmeasure
            verdict = "equal" if scorer.pair(answer, reference) == expected else "MISMATCH"
            yield f"standard{'+stemmer' if stemmer else ''} {language}: {verdict}"

    def _paper_verdict(self, answer: str, reference: str, language: str) -> str:
        value = self._paper.score(answer, [reference], language)
        if language == "zh":
            answer, reference = " ".join(answer), " ".join(reference)
        try:
            expected = self._rouge.get_scores(answer, reference)[0]["rouge-l"]["r"]
        except ValueError:  # the package refuses texts that are nothing but dots, or empty
            return "rouge cannot read"
        return "equal" if value is not None and value.best == expected else "MISMATCH"


def main() -> None:
    """Compare what has not been compared yet; print the counts; exit 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=SHARED)
    options = parser.parse_args()
    sys.setrecursionlimit(50_000)  # the `rouge` package recurses once a token
    pairs = [
        *answered(options.data / ENGLISH, "en"),
        *between(options.data / GENERAL),
        *answered(options.data / CHINESE, "zh"),
    ]
    kept = json.loads(options.keep.read_text()) if options.keep.is_file() else {"done": 0, "counts": {}}
    counts, oracles = Counter(kept["counts"]), Oracles()
    for done, pair in enumerate(pairs[kept["done"] :], kept["done"] + 1):
        for verdict in oracles.compare(pair):
            counts[verdict] += 1
            if verdict.endswith("MISMATCH"):
                print(verdict, json.dumps(pair, ensure_ascii=False), flush=True)
        if done % SAVE_EVERY == 0 or done == len(pairs):
            write_text(options.keep, json.dumps({"done": done, "counts": counts}))
            print(f"{done} of {len(pairs)} pairs", file=sys.stderr, flush=True)
    print("\n".join(f"{verdict}: {number}" for verdict, number in sorted(counts.items())))
    raise SystemExit(any(verdict.endswith("MISMATCH") for verdict in counts))


if __name__ == "__main__":
    main()
