"""How far each tensor of a written file lies from the exact merged numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from rolekit.convert.base import open_base
from rolekit.convert.conversion import merged
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.job import Job, Progress
from rolekit.convert.mixes import Mix
from rolekit.convert.plan import ModelPlan, OutputTensor, read_rows
from rolekit.convert.proof import TensorError
from rolekit.convert.source import TensorSource, span
from rolekit.engine.gguf_header import read_header
from rolekit.engine.inspect import quantization
from rolekit.engine.threads import physical_cores
from rolekit.errors import RolekitError
from rolekit.text import one_line

MEASURED_WEIGHTS = 2_000_000
"""Of a tensor, so many numbers are compared, in blocks spread evenly over its rows."""
_BLOCK_WEIGHTS = 250_000


def tensor_errors(
    job: Job, file: Path, wanted: Mapping[str, str] | None = None, progress: Progress | None = None
) -> tuple[TensorError, ...]:
    """The error of every tensor of file (the first one of a split model), which job has written.

    wanted: the types that the mix asked for, by tensor; without it, by what the file's header says it is. Raises RolekitError when the base, the
    adapter or the file cannot be read, and where the file is not that job's.
    """
    found = list[TensorError]()
    with closing(open_base(job.base)) as base, closing(GgufSource(file)) as stored:
        source = merged(base, job)
        plan = base.plan(source)
        tensors = plan.tensors
        _check_same(tensors, stored, file)
        wanted = _fallbacks(plan, file) if wanted is None else wanted
        with ThreadPoolExecutor(job.threads or physical_cores()) as pool:
            errors = pool.map(lambda tensor: _relative_error(source, stored, tensor), tensors)
            for number, (tensor, error) in enumerate(zip(tensors, errors, strict=True)):
                if progress:
                    progress("measuring tensors", number, len(tensors))
                type_name = stored.dtype(tensor.name)
                asked = wanted.get(tensor.name, type_name)
                found.append(TensorError(tensor.name, type_name, asked, tensor.shape[-1], error))
    return tuple(found)


def _fallbacks(plan: ModelPlan, file: Path) -> Mapping[str, str]:
    """What file's mix would have given the tensors whose rows do not allow it."""
    header = read_header(file)
    try:
        mix = Mix(quantization(file, header), has_imatrix="quantize.imatrix.entries_count" in header.metadata)
        choices = mix.choices(plan)
    except RolekitError:
        return {}  # a type, or an architecture, whose rules are not known here
    return {name: choice.wanted for name, choice in choices.items() if choice.type_name != choice.wanted}


def _check_same(tensors: Sequence[OutputTensor], stored: GgufSource, file: Path) -> None:
    known = set(stored.names())
    for tensor in tensors:
        if tensor.name not in known or stored.shape(tensor.name) != tensor.shape:
            raise RolekitError(
                f"{file.name} was not made of this base: its {one_line(tensor.name)} is another one.",
                "Name the base and the adapter it was made of.",
            )


def _relative_error(source: TensorSource, stored: TensorSource, tensor: OutputTensor) -> float:
    wrong = total = 0.0
    for start, stop in _blocks(tensor):
        exact = read_rows(source, tensor, start, stop).astype(np.float64)
        written = stored.rows(tensor.name, span(start, stop))
        wrong += float(np.square(written.reshape(exact.shape) - exact).sum())
        total += float(np.square(exact).sum())
    if total:
        return float(np.sqrt(wrong / total))
    return 0.0 if not wrong else float("inf")


def _blocks(tensor: OutputTensor) -> Iterator[tuple[int, int]]:
    """Blocks of rows: all of a small tensor, evenly spread ones of a large one."""
    height = max(_BLOCK_WEIGHTS // tensor.columns, 1)
    starts = range(0, tensor.rows, height)
    wanted = max(MEASURED_WEIGHTS // (height * tensor.columns), 1)
    step = max(len(starts) // wanted, 1)
    for start in starts[::step]:
        yield start, min(start + height, tensor.rows)
