"""metrics.jsonl: what a run measured, appended and flushed as it happens.

One JSON object a step as soon as it is done; what is found out about the step later (its held-out loss, a sample
answer) follows as another object with the same step. Readers put the two together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

from rolekit.errors import RolekitError

METRICS_NAME = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimiser step; eval_loss and sample only on the steps that have them."""

    step: int
    """From 1; the number of optimiser steps that are done."""
    loss: float
    """Mean cross-entropy in nats over the step's supervised tokens."""
    lr: float
    tokens: int
    """Tokens that went through the model in this step, a shared prefix once a pack."""
    supervised_tokens: int
    seconds: float
    """Wall time of this step alone."""
    tokens_per_second: float
    memory_bytes: int
    """Peak so far: of the process on a CPU, of the device elsewhere."""
    total_steps: int = 0
    gradient_norm: float | None = None
    """Before clipping."""
    row_tokens: int = 0
    """Tokens of the step's rows had each been run alone: tokens plus what packing saved."""
    flops_per_second: float | None = None
    peak_fraction: float | None = None
    """Of the machine's own matrix-multiplication rate at the model's shapes; None where it was not measured."""
    eval_loss: float | None = None
    eval_seconds: float | None = None
    sample: str | None = None
    """What the model answers to the recipe's sample question at this step."""

    def as_json(self) -> dict[str, object]:
        """The object of its line: what is None is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


_KEYS = {field.name for field in fields(StepMetrics)}
_NEEDED = {field.name for field in fields(StepMetrics) if field.default is MISSING}


class MetricsWriter:
    """Appends to a run's metrics.jsonl. A context manager; each line is flushed before write returns."""

    def __init__(self, folder: Path, from_step: int = 0) -> None:
        """Open folder/metrics.jsonl; with from_step the lines of later steps go (a resumed run makes them again).

        Raises RolekitError when the file cannot be written.
        """
        self.path = folder / METRICS_NAME
        kept = [line for step, line in _lines(self.path) if step <= from_step] if from_step else []
        try:
            part = self.path.with_name(f"{self.path.name}.part")
            part.write_bytes(b"".join(line + b"\n" for line in kept))
            part.replace(self.path)
            self._file: BinaryIO = self.path.open("ab")
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, metrics: StepMetrics) -> None:
        """Append a step. Raises RolekitError when the disk is full."""
        self._append(metrics.as_json())

    def add(self, step: int, **values: float | str) -> None:
        """Append what else is known of a step that is written already: eval_loss, eval_seconds, sample."""
        self._append({"step": step, **values})

    def _append(self, row: dict[str, object]) -> None:
        line = json.dumps(row, ensure_ascii=False) + "\n"
        try:
            self._file.write(line.encode("utf-8", "replace"))
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> RolekitError:
        return RolekitError(
            f"{self.path} could not be written ({error.strerror or error}).",
            "Free some disk space and run the same command again; it goes on from the last checkpoint.",
        )

    def close(self) -> None:
        """Flush to the disk and close; closing twice is fine."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: Path) -> list[StepMetrics]:
    """The steps in a metrics.jsonl (or in a run folder's), in order; a half-written last line is left out."""
    file = path / METRICS_NAME if path.is_dir() else path
    steps: dict[int, dict[str, Any]] = {}
    for step, line in _lines(file):
        row = json.loads(line)
        if step in steps or set(row) >= _NEEDED:
            steps.setdefault(step, {}).update((key, row[key]) for key in row if key in _KEYS)
    return [StepMetrics(**row) for row in steps.values()]


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their step; what a killed process left half written ends the file."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n")[:-1]:
        try:
            row = json.loads(line)
            yield int(row["step"]), line
        except (ValueError, KeyError, TypeError):
            return
