"""A GGUF model open in llama.cpp, adapters on top of it, that decodes tokens with an output at every position."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from rolekit.engine import log
from rolekit.engine.adapters import Adapters
from rolekit.engine.model import Model
from rolekit.engine.threads import physical_cores
from rolekit.errors import RolekitError
from rolekit.text import one_line


class Runner:
    """Model, context, batch and adapters, with what is needed to read texts; freed together by close()."""

    def __init__(
        self,
        path: Path,
        adapters: Sequence[tuple[Path, float]],
        settings: Callable[[Any], None],
        *,
        batch_tokens: int,
        threads: int = 0,
    ) -> None:
        """Map path's weights; adapters are GGUF LoRA files with their scales.

        settings: changes llama.cpp's context parameters, which hold batch_tokens and threads already.
        Raises RolekitError when llama.cpp cannot load one of the files or there is not enough memory.
        """
        self.model = Model(path)
        self._adapters = Adapters(self.model)
        self.context: Any = None
        """llama.cpp's handle; None once it is closed."""
        try:
            self.context = self._open(settings, batch_tokens, threads or physical_cores())
            self._batch = llama_cpp.llama_batch_init(batch_tokens, 0, 1)
            self.adapters = tuple((self._adapters.load(file).pointer, scale) for file, scale in adapters)
            """The adapters as llama.cpp's handles, with their scales."""
            self.use(self.adapters)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: Callable[[Any], None], batch_tokens: int, threads: int) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_batch = params.n_ubatch = params.n_outputs_max = batch_tokens
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        settings(params)
        log.last_errors()
        context = llama_cpp.llama_init_from_model(self.model.pointer, params)
        if not context:
            raise RolekitError(
                f"There is not enough memory to run {self.model.path.name}.",
                "Close other programs, or use a smaller model.",
            )
        return context

    def use(self, adapters: Sequence[tuple[Any, float]]) -> None:
        """Run with these loaded adapters (handle, scale) from now on; none means the bare model."""
        count = len(adapters)
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * count)(*(pointer for pointer, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        llama_cpp.llama_set_adapters_lora(self.context, pointers, count, scales)

    def decode(self, ids: Sequence[int], start: int = 0) -> int:
        """Evaluate ids, batch_tokens at most, as positions start and on, with an output at each of them.

        Gives llama.cpp's status for `check`: 0 where all went well.
        """
        batch = self._batch
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = True
        batch.n_tokens = len(ids)
        return int(llama_cpp.llama_decode(self.context, batch))

    def check(self, status: int) -> None:
        """Raises RolekitError for a status other than 0, with llama.cpp's reason."""
        if status:
            reason = (log.last_errors() or [f"code {status}"])[-1]
            raise RolekitError(
                f"llama.cpp could not evaluate the text ({one_line(reason)}).",
                "If it happens again, please report it.",
            )

    def forget(self, length: int = 0) -> None:
        """Forget all but the first length tokens."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self.context), 0, length, -1)

    def close(self) -> None:
        """Free the model and everything that was made from it; closing twice is fine."""
        if self.context:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self.context)
            self.context = None
        self._adapters.close()
        self.model.close()
