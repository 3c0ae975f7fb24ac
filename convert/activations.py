"""Computes an importance matrix in this process: llama.cpp evaluates texts, its callback shows each matrix product.

The rules are llama-imatrix's (tools/imatrix/imatrix.cpp): products of a layer's weight with at least 16 rows of float32
count, and every position is evaluated to the last layer. What it does more cheaply: squares of an input that several
weights share (query, key and value) are summed once, and the output matrix, which nobody asked about, is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import llama_cpp
import numpy as np

from rolekit.convert.graph import check_layout, is_float32, matrix_of, node_at, operation
from rolekit.convert.imatrix import Importance, ImportanceMatrix
from rolekit.convert.runner import Runner
from rolekit.errors import RolekitError
from rolekit.text import one_line

LEAST_ROWS = 16
"""Smaller products are the tails of texts; llama-imatrix leaves them out, too."""
CHUNK_TOKENS = 512
_LORA = (".lora_a", ".lora_b")


class Collector:
    """An open model whose inputs are summed up while it reads texts; close it, or use it in a with block."""

    def __init__(self, path: Path, adapters: Sequence[tuple[Path, float]] = (), *, threads: int = 0) -> None:
        """Map path's weights; adapters are GGUF LoRA files with their scales.

        Raises RolekitError when llama.cpp cannot load one of them or there is not enough memory.
        """
        self._sums = _Sums()
        self._callback = llama_cpp.ggml_backend_sched_eval_callback(self._sums.see)
        self._runner = Runner(path, adapters, self._settings, batch_tokens=CHUNK_TOKENS, threads=threads)
        self.model = self._runner.model
        self.vocabulary = self.model.vocabulary
        self._sums.last_weight = self._last_weight()

    def _settings(self, params: Any) -> None:
        params.n_ctx = CHUNK_TOKENS
        params.cb_eval = self._callback

    def add(self, ids: Sequence[int]) -> int:
        """Read one text (token ids, from position 0), in chunks of CHUNK_TOKENS that know nothing of each other.

        A rest of fewer than LEAST_ROWS tokens is left out. Gives the number of tokens that counted. Raises RolekitError
        when llama.cpp fails; whatever an interrupt or a bug raises inside the callback comes out here.
        """
        counted = 0
        for start in range(0, len(ids), CHUNK_TOKENS):
            chunk = ids[start : start + CHUNK_TOKENS]
            if len(chunk) >= LEAST_ROWS:
                self._evaluate(chunk)
                counted += len(chunk)
        return counted

    def matrix(self, datasets: Sequence[str] = ()) -> ImportanceMatrix:
        """What has been summed up so far.

        Raises RolekitError when nothing has been read, or the activations are no finite numbers.
        """
        entries = self._sums.entries()
        if not entries:
            raise RolekitError(
                f"No text was long enough to calibrate with (at least {LEAST_ROWS} tokens).",
                "Give longer ones.",
            )
        most = max(int(entry.counts[0]) for entry in entries.values())
        return ImportanceMatrix(entries, tuple(datasets), most // CHUNK_TOKENS or 1, CHUNK_TOKENS)

    def close(self) -> None:
        """Free the model and everything that was made from it; closing twice is fine."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last_weight(self) -> str:
        """The last layer's last matrix; what llama.cpp computes after it is the output."""
        names = [
            tensor.name
            for tensor in self.model.header.tensors
            if tensor.name.startswith("blk.") and tensor.name.endswith(".ffn_down.weight")
        ]
        return max(names, key=lambda name: int(name.split(".")[1]), default="")

    def _evaluate(self, ids: Sequence[int]) -> None:
        self._runner.forget()
        self._sums.begin()
        # An output at every position: otherwise the last layer's feed-forward part sees only the last token.
        status = self._runner.decode(ids)
        llama_cpp.llama_synchronize(self._runner.context)
        self._sums.reraise()
        self._runner.check(status)


class _Sums:
    """The scheduler's callback: asked whether a node matters, then shown it when its inputs are there.

    llama.cpp calls through C, where an exception would be lost: it is kept, the graph is left, and reraise raises it.
    """

    def __init__(self) -> None:
        self.last_weight = ""
        """Behind it the graph is left."""
        self._sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._counts: dict[str, int] = {}
        self._error: BaseException | None = None
        self._proved = False
        self._input = 0
        self._squares: np.ndarray[Any, np.dtype[np.float64]] | None = None

    def begin(self) -> None:
        """A new graph: addresses mean other tensors now."""
        self._input, self._squares = 0, None

    def see(self, address: int, asking: bool, _user_data: object) -> bool:
        """Whether the node matters (asking), or whether to go on."""
        if self._error is not None:
            return asking  # asked again, so that the scheduler comes to the point where it may leave
        try:
            return self._wants(address) if asking else self._take(address)
        except BaseException as error:  # noqa: BLE001 - C cannot carry it; reraise does
            self._error = error
            return asking

    def reraise(self) -> None:
        """Raise what was raised inside the callback, if anything was."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def entries(self) -> dict[str, Importance]:
        """The sums so far."""
        found = {
            name: Importance(sums.astype(np.float32), np.array([self._counts[name]], np.float32))
            for name, sums in self._sums.items()
        }
        for name, entry in found.items():
            if not np.isfinite(entry.sums).all():
                raise RolekitError(
                    f"The inputs of {one_line(name)} are no finite numbers.",
                    "The model is damaged: convert it again.",
                )
        return found

    def _wants(self, address: int) -> bool:
        if not self._proved:
            check_layout(address)
            self._proved = True
        node = node_at(address)
        if operation(node.op) != "MUL_MAT":
            return False
        weight, source = node_at(node.src[0]), node_at(node.src[1])
        name = _weight_name(weight.name)
        return (
            name.startswith("blk.")
            and not name.endswith(_LORA)
            and weight.ne[2] * weight.ne[3] == 1
            and source.ne[1] >= LEAST_ROWS
            and is_float32(source)
        )

    def _take(self, address: int) -> bool:
        node = node_at(address)
        name = _weight_name(node_at(node.src[0]).name)
        if node.src[1] != self._input or self._squares is None:
            rows = matrix_of(node_at(node.src[1]))
            self._squares = np.einsum("ij,ij->j", rows, rows).astype(np.float64)
            self._input = node.src[1]
            self._rows = len(rows)
        if name in self._sums:
            self._sums[name] += self._squares
        else:
            self._sums[name] = self._squares.copy()
        self._counts[name] = self._counts.get(name, 0) + self._rows
        return name != self.last_weight


def _weight_name(raw: bytes) -> str:
    """blk.0.attn_k.weight of CUDA0#blk.0.attn_k.weight#0."""
    parts = raw.decode("utf-8", "replace").split("#")
    return parts[1] if len(parts) > 1 else parts[0]
