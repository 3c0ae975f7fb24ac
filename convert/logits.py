"""Logits of a GGUF model at every position of a text, as llama.cpp computes them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import llama_cpp

from rolekit.engine import log
from rolekit.engine.adapters import Adapters
from rolekit.engine.model import Model
from rolekit.engine.threads import physical_cores
from rolekit.errors import RolekitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_TOKENS = 64
"""Evaluated at once; the logits of so many positions are in memory."""
_F32 = 0


class Evaluator:
    """An open GGUF model, with adapters on top or without, that gives logits at all positions.

    The KV cache is in fp32 and flash attention is off, so that what is measured is the file and not the cache.
    """

    def __init__(
        self,
        path: Path,
        adapters: Sequence[tuple[Path, float]] = (),
        *,
        context_tokens: int = 1024,
        threads: int = 0,
    ) -> None:
        """Map path's weights; adapters are GGUF LoRA files with their scales.

        Raises RolekitError when llama.cpp cannot load one of them or there is not enough memory.
        """
        self.model = Model(path)
        self.vocabulary = self.model.vocabulary
        self.context_tokens = context_tokens
        self._adapters = Adapters(self.model)
        self._pointer: Any = None
        self._held = 0
        try:
            self._pointer = self._context(threads or physical_cores())
            self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
            self.adapters = tuple((self._adapters.load(file).pointer, scale) for file, scale in adapters)
            """The adapters that the model is evaluated with, as llama.cpp's handles."""
            self.use(self.adapters)
        except BaseException:
            self.close()
            raise

    def _context(self, threads: int) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.context_tokens
        params.n_batch = params.n_ubatch = params.n_outputs_max = BATCH_TOKENS
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = _F32
        params.flash_attn_type = 0
        params.swa_full = True
        params.no_perf = True
        log.last_errors()
        pointer = llama_cpp.llama_init_from_model(self.model.pointer, params)
        if not pointer:
            raise RolekitError(
                f"There is not enough memory to run {self.model.path.name}.",
                "Close other programs, or use a smaller model.",
            )
        return pointer

    def use(self, adapters: Sequence[tuple[Any, float]]) -> None:
        """Evaluate with these loaded adapters (pointer, scale) from now on; none means the bare model."""
        count = len(adapters)
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * count)(*(pointer for pointer, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        llama_cpp.llama_set_adapters_lora(self._pointer, pointers, count, scales)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """The model without its adapters, for the block; what the context held is forgotten on both ends."""
        self.cut(0)
        self.use(())
        try:
            yield
        finally:
            self.cut(0)
            self.use(self.adapters)

    def logits(self, ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """What follows each of ids, as rows of (positions, vocabulary), in order, BATCH_TOKENS positions at a time.

        A block is valid until the next one is asked for. Raises RolekitError when ids do not fit the context.
        """
        self.cut(0)
        return self.extend(ids)

    def extend(self, ids: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """The same for ids behind those that the context holds."""
        import numpy as np

        if self._held + len(ids) > self.context_tokens:
            raise RolekitError(
                f"{self._held + len(ids)} tokens do not fit a context of {self.context_tokens}.",
                "Use shorter texts.",
            )
        for start in range(0, len(ids), BATCH_TOKENS):
            block = ids[start : start + BATCH_TOKENS]
            self._decode(block)
            data = llama_cpp.llama_get_logits(self._pointer)
            yield np.ctypeslib.as_array(data, shape=(len(block), self.vocabulary.size))

    def cut(self, length: int) -> None:
        """Forget all but the first length tokens."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._pointer), 0, length, -1)
        self._held = min(self._held, length)

    def _decode(self, block: Sequence[int]) -> None:
        batch = self._batch
        for index, token in enumerate(block):
            batch.token[index] = token
            batch.pos[index] = self._held + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = True
        batch.n_tokens = len(block)
        if status := llama_cpp.llama_decode(self._pointer, batch):
            reason = (log.last_errors() or [f"code {status}"])[-1]
            raise RolekitError(
                f"llama.cpp could not evaluate the text ({reason}).", "If it happens again, please report it."
            )
        self._held += len(block)

    def close(self) -> None:
        """Free the model and everything that was made from it; closing twice is fine."""
        if self._pointer:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._pointer)
            self._pointer = None
        self._adapters.close()
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
