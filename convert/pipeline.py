"""The one pass: blocks of rows are read, merged, reordered and quantized on all cores, and written in order.

No tensor is ever whole in memory, and nothing is written but the result. What is in memory at once is a few blocks,
`chunk_bytes` of float32 together, whatever the model's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from rolekit.convert.dequantize import check_stored
from rolekit.convert.job import CHUNK_BYTES, Produced, Progress, TensorRow
from rolekit.convert.layout import FileLayout
from rolekit.convert.output import Output
from rolekit.convert.plan import OutputTensor, Quantizer, read_raw_rows, read_rows
from rolekit.convert.source import Bytes, TensorSource
from rolekit.engine.threads import physical_cores

_BLOCK_BYTES = 4 << 20
"""The most of one block in float32: larger ones only wait for memory, and leave the processor's cache."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the pipeline carries out."""

    source: TensorSource
    types: Mapping[str, str]
    """Every tensor's type by its GGUF name."""
    quantizer: Quantizer
    key: str
    """A text that differs when the result would: what makes a half-written file worth going on with."""
    wanted: Mapping[str, str]
    """The types that the mix asked for, where a tensor could not have its own."""
    chunk_bytes: int = CHUNK_BYTES
    threads: int = 0


def write(files: Sequence[FileLayout], work: Work, progress: Progress | None = None) -> Produced:
    """Write every file at its .part, complete, or go on with what an earlier run of the same work left there.

    Raises RolekitError for a NaN among the weights, a source that cannot be read and a full disk; what is complete
    stays for the next run, as it does on Ctrl+C.
    """
    threads = work.threads or physical_cores()
    resumed = 0
    with ExitStack() as stack:
        outputs = [
            stack.enter_context(Output(file.part, file.header, file.regions, work.key)) for file in files
        ]
        resumed = sum(len(output.done) for output in outputs)
        # Merging multiplies small matrices in every thread of the pool: BLAS threads of its own would only be in the way.
        stack.enter_context(threadpool_limits(1, user_api="blas"))
        pool = ThreadPoolExecutor(threads, thread_name_prefix="convert")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        open_tensors = [
            (output, tensor)
            for output, file in zip(outputs, files, strict=True)
            for tensor in file.tensors
            if tensor.name not in output.done
        ]
        _stream(
            open_tensors,
            _Blocks(work, pool, threads, [tensor for _, tensor in open_tensors]),
            files,
            progress,
        )
        for output in outputs:
            output.seal()
    return Produced(
        parts=tuple(file.part for file in files),
        targets=tuple(file.target for file in files),
        rows=tuple(
            _row(tensor, work, region.size_bytes)
            for file in files
            for tensor, region in zip(file.tensors, file.regions, strict=True)
        ),
        resumed_tensors=resumed,
    )


def _stream(
    tensors: Sequence[tuple[Output, OutputTensor]],
    blocks: _Blocks,
    files: Sequence[FileLayout],
    progress: Progress | None,
) -> None:
    total = sum(tensor.elements for file in files for tensor in file.tensors) * 4
    done = total - sum(tensor.elements for _, tensor in tensors) * 4
    for output, tensor in tensors:
        if progress:
            progress(tensor.name, done, total)
        output.write(tensor.name, (block.data for block in blocks.of(tensor)))
        done += tensor.elements * 4
    if progress:
        progress("", done, total)


class _Blocks:
    """The blocks of all tensors, made ahead by the pool and taken in order."""

    def __init__(
        self, work: Work, pool: ThreadPoolExecutor, threads: int, tensors: Sequence[OutputTensor]
    ) -> None:
        self._work, self._pool = work, pool
        self._ahead = threads + 1
        self._block_bytes = min(max(work.chunk_bytes // self._ahead, 1), _BLOCK_BYTES)
        self._todo = ((tensor, start) for tensor in tensors for start in self._starts(tensor))
        self._pending = deque[Future[Bytes]]()

    def of(self, tensor: OutputTensor) -> Iterator[Bytes]:
        """The next tensor's blocks, from its first row to its last."""
        for _ in self._starts(tensor):
            self._fill()
            yield self._pending.popleft().result()

    def _fill(self) -> None:
        while len(self._pending) < self._ahead and (item := next(self._todo, None)):
            self._pending.append(self._pool.submit(self._block, *item))

    def _rows(self, tensor: OutputTensor) -> int:
        if len(tensor.shape) == 1:
            return tensor.rows
        return max(self._block_bytes // (tensor.columns * 4), 1)

    def _starts(self, tensor: OutputTensor) -> range:
        return range(0, tensor.rows, self._rows(tensor))

    def _block(self, tensor: OutputTensor, start: int) -> Bytes:
        stop = min(start + self._rows(tensor), tensor.rows)
        work, type_name = self._work, self._work.types[tensor.name]
        if all(work.source.dtype(part.source) == type_name for part in tensor.parts):
            raw = read_raw_rows(work.source, tensor, start, stop)
            if raw is not None:
                check_stored(tensor.name, type_name, raw)
                return raw
        rows = read_rows(work.source, tensor, start, stop)
        return work.quantizer.quantize(
            tensor.name, type_name, rows.reshape(1, -1) if rows.ndim == 1 else rows
        )


def _row(tensor: OutputTensor, work: Work, size_bytes: int) -> TensorRow:
    type_name = work.types[tensor.name]
    return TensorRow(
        name=tensor.name,
        shape=tuple(reversed(tensor.shape)),
        type_name=type_name,
        wanted=work.wanted.get(tensor.name, type_name),
        size_bytes=size_bytes,
    )
