"""llama.cpp's own tools beside ours: llama-imatrix on the same text, and llama-quantize with either's matrix."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.convert.activations import CHUNK_TOKENS
from rolekit.convert.calibration import Texts, calibrate
from rolekit.convert.conversion import convert
from rolekit.convert.imatrix import read_imatrix, write_imatrix
from rolekit.convert.job import Job
from rolekit.convert.output import publish
from rolekit.engine.gguf_header import read_header
from rolekit.engine.threads import physical_cores

TYPES = ("Q4_K_M", "IQ4_XS", "Q2_K")
Note = Callable[..., None]


def same_matrix(tool: Path, exact: Path, text: Path, note: Note) -> tuple[Path, Path]:
    """Both programs' matrices of text, compared; their files."""
    theirs, ours = text.with_name("theirs.gguf"), text.with_name("ours.gguf")
    threads = str(physical_cores())
    words = ["-m", exact, "-f", text, "-o", theirs, "-b", CHUNK_TOKENS, "-t", threads, "--no-ppl"]
    started = time.perf_counter()
    _run(tool, *words)
    between = time.perf_counter()
    write_imatrix(calibrate(exact, Texts(plain=text.read_text())), ours)
    seconds = between - started, time.perf_counter() - between
    one, other = read_imatrix(theirs), read_imatrix(ours)
    assert one.entries.keys() == other.entries.keys()
    apart = [
        np.abs(one.entries[name].mean() - other.entries[name].mean()) / one.entries[name].mean().max()
        for name in one.entries
    ]
    columns = [
        np.abs(one.entries[name].mean() - other.entries[name].mean()) / one.entries[name].mean()
        for name in one.entries
    ]
    note(
        what="oracle",
        weights=len(one.entries),
        tokens=int(max(entry.counts[0] for entry in one.entries.values())),
        counts_equal=all(
            np.array_equal(one.entries[name].counts, other.entries[name].counts) for name in one.entries
        ),
        apart=float(max(values.max() for values in apart)),
        apart_of_a_column=float(max(np.nanmax(values) for values in columns)),
        theirs_seconds=seconds[0],
        ours_seconds=seconds[1],
    )
    return theirs, ours


def read_by_llama_imatrix(tool: Path, exact: Path, ours: Path, note: Note) -> None:
    """llama-imatrix takes our file in and writes it out again."""
    again = ours.with_name("combined.gguf")
    _run(tool, "-m", exact, "--in-file", ours, "-o", again)
    combined, own = read_imatrix(again).means(), read_imatrix(ours).means()
    note(
        what="read by llama-imatrix",
        equal=all(np.allclose(combined[name], own[name], rtol=1e-5) for name in own),
    )


def quantized_alike(tool: Path, exact: Path, matrices: dict[str, Path], note: Note) -> None:
    """llama-quantize and rolekit make the same tensors of the same file with the same matrix, whoever made that."""
    for kind in TYPES:
        for maker, matrix in matrices.items():
            theirs, ours = (matrix.with_name(f"{kind}-{maker}-{side}.gguf") for side in ("theirs", "ours"))
            _run(tool, "--imatrix", matrix, exact, theirs, kind)
            produced = convert(Job(exact, ours, type_name=kind, imatrix=matrix))
            publish(produced.parts, produced.targets)
            one, other = _contents(theirs), _contents(ours)
            equal = sum(one[name] == other.get(name) for name in one)
            note(
                what="llama-quantize",
                type=kind,
                matrix=maker,
                tensors=len(one),
                equal=equal,
                keys={"theirs": _keys(theirs), "ours": _keys(ours)},
            )
            assert one.keys() == other.keys()
            theirs.unlink()
            ours.unlink()


def _contents(file: Path) -> dict[str, tuple[str, bytes]]:
    """Every tensor's type and bytes."""
    header = read_header(file)
    with file.open("rb") as opened:
        found = {}
        for tensor in header.tensors:
            opened.seek(header.data_offset + tensor.offset)
            found[tensor.name] = (tensor.type_name, opened.read(tensor.size_bytes))
    return found


def _keys(file: Path) -> dict[str, Any]:
    return {
        key: value for key, value in read_header(file).metadata.items() if key.startswith("quantize.imatrix")
    }


def _run(tool: Path, *words: object) -> None:
    done = subprocess.run([str(tool), *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tool.name} failed:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
