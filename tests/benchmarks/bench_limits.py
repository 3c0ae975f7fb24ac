"""What the proof's limits rest on: the figures of sound conversions, type by type, beside the limits.

python tests/benchmarks/bench_limits.py [--work DIR] [--conversations N] [--strength S] [--inside F …] [--types T …]

The starter as bf16 safetensors with a random adapter of rank 16 (bench_convert.py's), and a random Llama of two layers.
--strength multiplies the adapter's scale; --inside says how much of it the file gets: 1 is a sound file, 0 one whose
adapter was lost, 0.25 what a forgotten sqrt(rank) leaves, 2 one that was merged twice. Every row is kept in
DIR/limits.jsonl; what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from convert_models import adapter_for, random_folder, starter_folder

from rolekit.convert.conversations import bundled_conversations
from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.convert.limits import limits_of
from rolekit.convert.output import journal_of
from rolekit.convert.reference import Prediction, Reference
from rolekit.convert.references import open_reference
from rolekit.convert.verify import Candidate, Demands, verify

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q4_0", "Q3_K_M", "Q2_K")
MODELS = ("starter", "two-layers")
MEASURED = {"mean KL": "mean_kl", "p99 KL": "p99_kl", "greedy": "agreement", "adapter": "adapter"}


class Once:
    """A reference that is asked once for each conversation, and stays open."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._seen: dict[tuple[tuple[int, ...], tuple[int, ...]], Prediction] = {}
        self.label = reference.label

    def predict(
        self, prompt: Sequence[int], reply: Sequence[int], tokens: int, ends: frozenset[int]
    ) -> Prediction:
        """See Reference."""
        key = (tuple(prompt), tuple(reply))
        if key not in self._seen:
            self._seen[key] = self._reference.predict(prompt, reply, tokens, ends)
        return self._seen[key]

    def close(self) -> None:
        """Stays open for the next type."""


def scaled(adapter: Path, by: float) -> Path:
    """The same adapter at so many times its scale."""
    if by == 1:
        return adapter
    folder = adapter.with_name(f"{adapter.name}-{by:g}")
    if not folder.exists():
        shutil.copytree(adapter, folder)
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        config["lora_alpha"] *= by
        file.write_text(json.dumps(config), encoding="utf-8")
    return folder


def measure(name: str, base: Path, folder: Path, chosen: argparse.Namespace) -> None:
    """A row for every type and every part of the adapter: what was found, and the limit."""
    plain, out, results = (
        adapter_for(base, folder / "adapter"),
        folder / "limits.gguf",
        folder / "limits.jsonl",
    )
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    whole = scaled(plain, chosen.strength)
    reference = Once(open_reference(Job(base, out, adapter=whole))())
    for type_name in chosen.types:
        for inside in chosen.inside:
            case = {"model": name, "type": type_name, "conversations": chosen.conversations,
                    "strength": chosen.strength, "inside": inside}  # fmt: skip
            if any(case.items() <= row.items() for row in known):
                continue
            given = scaled(plain, chosen.strength * inside) if inside else None
            part = convert(Job(base, out, adapter=given, type_name=type_name)).parts[0]
            demands = Demands(bundled_conversations(chosen.conversations))
            proof = verify(Candidate(part, type_name=type_name), base, lambda: reference, demands)
            part.unlink()
            journal_of(part).unlink(missing_ok=True)
            limits = limits_of(type_name)
            row = {
                check.name: [check.value, check.figure, check.verdict, getattr(limits, MEASURED[check.name])]
                for check in proof.checks
                if check.name in MEASURED
            }
            line = json.dumps({**case, "passed": proof.passed, **row})
            with results.open("a") as file:
                print(line, file=file)
            print(line, flush=True)


def main() -> None:
    """Measure both models, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "rolekit-bench-convert")
    parser.add_argument("--conversations", type=int, default=6)
    parser.add_argument("--strength", type=float, default=1)
    parser.add_argument("--inside", type=float, nargs="+", default=[1])
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    chosen = parser.parse_args()
    for name in chosen.models:
        folder = chosen.work / name
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "base"
        base = starter_folder(place) if name == "starter" else random_folder(place, layers=2)
        measure(name, base, folder, chosen)


if __name__ == "__main__":
    main()
