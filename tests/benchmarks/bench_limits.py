"""What the proof's limits rest on: the figures of sound conversions, type by type, beside the limits.

python tests/benchmarks/bench_limits.py [--work DIR] [--conversations N]

The starter as bf16 safetensors with a random adapter of rank 16 (bench_convert.py's), and a random Llama of two layers.
"""

from __future__ import annotations

import argparse
import json
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


def measure(name: str, base: Path, adapter: Path, out: Path, demands: Demands) -> None:
    """A row for every type: what was found, and the limit."""
    reference = Once(open_reference(Job(base, out, adapter=adapter))())
    for type_name in TYPES:
        part = convert(Job(base, out, adapter=adapter, type_name=type_name)).parts[0]
        proof = verify(Candidate(part, type_name=type_name), base, lambda: reference, demands)
        part.unlink()
        journal_of(part).unlink(missing_ok=True)
        limits = limits_of(type_name)
        row = {
            check.name: [check.figure, getattr(limits, MEASURED[check.name])]
            for check in proof.checks
            if check.name in MEASURED
        }
        print(json.dumps({"model": name, "type": type_name, "passed": proof.passed, **row}), flush=True)


def main() -> None:
    """Measure both models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "rolekit-bench-convert")
    parser.add_argument("--conversations", type=int, default=6)
    chosen = parser.parse_args()
    demands = Demands(bundled_conversations(chosen.conversations))
    for name in ("starter", "two-layers"):
        folder = chosen.work / name
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "base"
        base = starter_folder(place) if name == "starter" else random_folder(place, layers=2)
        measure(name, base, adapter_for(base, folder / "adapter"), folder / "limits.gguf", demands)


if __name__ == "__main__":
    main()
