"""Logits of a GGUF model at every position of a text, as llama.cpp computes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import llama_cpp

from rolekit.convert.runner import Runner
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
        self.context_tokens = context_tokens
        self._runner = Runner(path, adapters, self._settings, batch_tokens=BATCH_TOKENS, threads=threads)
        self.model = self._runner.model
        self.vocabulary = self.model.vocabulary
        self.adapters = self._runner.adapters
        """The adapters that the model is evaluated with, as llama.cpp's handles."""
        self._held = 0

    def _settings(self, params: Any) -> None:
        params.n_ctx = self.context_tokens
        params.type_k = params.type_v = _F32
        params.flash_attn_type = 0
        params.swa_full = True

    @contextmanager
    def bare(self) -> Iterator[None]:
        """The model without its adapters, for the block; what the context held is forgotten on both ends."""
        self.cut(0)
        self._runner.use(())
        try:
            yield
        finally:
            self.cut(0)
            self._runner.use(self.adapters)

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
            self._runner.check(self._runner.decode(block, self._held))
            self._held += len(block)
            data = llama_cpp.llama_get_logits(self._runner.context)
            yield np.ctypeslib.as_array(data, shape=(len(block), self.vocabulary.size))

    def cut(self, length: int) -> None:
        """Forget all but the first length tokens."""
        self._runner.forget(length)
        self._held = min(self._held, length)

    def close(self) -> None:
        """Free the model and everything that was made from it; closing twice is fine."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Free the model and everything that was made from it."""
        self.close()
