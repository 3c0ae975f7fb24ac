"""How much each tensor's rounding costs: the error of every type, scaled by what a group's rounding does to a reply.

Rounding errors of different tensors are nearly independent, so their KL divergences add up. Within a group (one kind
of tensor in one third of the layers) a tensor's share is its squared rounding error, each column weighted by how
strongly it is driven (importance matrix); one measurement a group tells what such an error costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rolekit.convert.dequantize import to_float32
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.job import Progress
from rolekit.convert.kl_meter import KlMeter
from rolekit.convert.mixes import fallback
from rolekit.convert.model_facts import layer_of
from rolekit.convert.quantize import GgmlQuantizer
from rolekit.convert.source import Float32, span
from rolekit.convert.tensor_types import row_bytes
from rolekit.engine.threads import physical_cores

LADDER = ("Q2_K", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
"""The types that are tried, fewest bits first."""
_PROBE = "Q3_K"
"""What a group is rounded to for its measurement: enough to be seen above the noise."""
_SAMPLED_ROWS = 192
_BLOCK_NUMBERS = 1 << 20


@dataclass(frozen=True, slots=True)
class Option:
    """One tensor at one type."""

    type_name: str
    size_bytes: int
    kl: float
    """What it is expected to add to the divergence, in nats."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One tensor that may be quantized."""

    name: str
    rows: int
    columns: int

    def group(self, layers: int) -> str:
        """Its kind, and which third of the layers it stands in."""
        layer = layer_of(self.name)
        if layer < 0:
            return self.name
        kind = self.name.split(".", 2)[2]
        return f"{kind} {min(3 * layer // max(layers, 1), 2)}"


def types_for(columns: int) -> list[str]:
    """The ladder for rows of this length: what each rung falls back to, without doubles."""
    return list(dict.fromkeys(fallback(kind, columns) for kind in LADDER))


def rounding_errors(
    scratch: GgufSource, weights: Sequence[Weights], means: Mapping[str, Float32], progress: Progress
) -> dict[str, dict[str, float]]:
    """Weighted squared error of each tensor at each type of its ladder, estimated from evenly spread rows."""
    quantizer = GgmlQuantizer(means)

    def errors(one: Weights) -> dict[str, float]:
        index = np.unique(np.linspace(0, one.rows - 1, min(one.rows, _SAMPLED_ROWS)).astype(np.intp))
        rows = scratch.rows(one.name, index)
        weight = means.get(one.name)
        found = {}
        for kind in types_for(one.columns):
            rounded = to_float32(quantizer.quantize(one.name, kind, rows), kind, one.columns)
            squares = np.square(rows - rounded, dtype=np.float64)
            total = squares.sum() if weight is None else (squares * weight).sum()
            found[kind] = float(total) * one.rows / len(index)
        return found

    result = {}
    with ThreadPoolExecutor(physical_cores()) as pool:
        for number, (one, found) in enumerate(zip(weights, pool.map(errors, weights), strict=True)):
            progress("measuring rounding errors", number, len(weights))
            result[one.name] = found
    return result


def options(
    path: Path,
    weights: Sequence[Weights],
    layers: int,
    means: Mapping[str, Float32],
    meter: KlMeter,
    progress: Progress,
) -> dict[str, list[Option]]:
    """For each tensor what each type costs in bytes and in divergence.

    path is an F16 file of the model that may be written to; it is as it was when this returns.
    """
    source = GgufSource(path)
    try:
        errors = rounding_errors(source, weights, means, progress)
        groups: dict[str, list[Weights]] = {}
        for one in weights:
            groups.setdefault(one.group(layers), []).append(one)
        found: dict[str, list[Option]] = {}
        for number, members in enumerate(groups.values()):
            progress("measuring what rounding costs", number, len(groups))
            probes = {one.name: fallback(_PROBE, one.columns) for one in members}
            with _rounded(path, source, members, probes, means):
                measured = meter.measure(path)
            whole = sum(errors[name][kind] for name, kind in probes.items())
            scale = measured / whole if whole else 0.0
            for one in members:
                found[one.name] = [
                    Option(kind, one.rows * row_bytes(kind, one.columns), scale * error)
                    for kind, error in errors[one.name].items()
                ]
        return found
    finally:
        source.close()


@contextmanager
def _rounded(
    path: Path,
    source: GgufSource,
    members: Sequence[Weights],
    kinds: Mapping[str, str],
    means: Mapping[str, Float32],
) -> Iterator[None]:
    """The file with these tensors rounded to their types (and kept as F16) for the block."""
    quantizer = GgmlQuantizer(means)
    places = {tensor.name: source.header.data_offset + tensor.offset for tensor in source.header.tensors}
    kept: list[tuple[int, bytes]] = []
    with path.open("r+b") as file:
        try:
            for one in members:
                step = max(1, _BLOCK_NUMBERS // one.columns)
                for start in range(0, one.rows, step):
                    index = span(start, min(start + step, one.rows))
                    rows = source.rows(one.name, index)
                    place = places[one.name] + start * one.columns * 2
                    kept.append((place, source.raw_rows(one.name, index).tobytes()))
                    kind = kinds[one.name]
                    rounded = to_float32(quantizer.quantize(one.name, kind, rows), kind, one.columns)
                    file.seek(place)
                    file.write(rounded.astype("<f2").tobytes())
            file.flush()
            yield
        finally:
            for place, data in kept:
                file.seek(place)
                file.write(data)
            file.flush()
