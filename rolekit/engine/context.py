"""The KV cache of one or more token sequences, and the calls that extend it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp

from rolekit.engine import log
from rolekit.engine.interrupt import Interrupt
from rolekit.engine.model import Model
from rolekit.engine.threads import physical_cores
from rolekit.errors import RolekitError

CHUNK_TOKENS = 256
"""Prompt tokens evaluated at once: as fast as larger chunks, and progress shows earlier."""
_DONE, _NO_ROOM, _ABORTED = 0, 1, 2

Row = tuple[int, int, bool]
"""A token, the sequence it is appended to, and whether logits are wanted for what follows it."""


class Context:
    """One llama_context. `tokens[s]` are the ids whose keys and values sequence s holds right now.

    Every sequence has context_tokens cells of its own: then a sequence's logits are the same bits whether it is
    decoded alone or together with others (with one shared pool they are not).
    """

    def __init__(self, model: Model, *, context_tokens: int, sequences: int = 1, threads: int = 0) -> None:
        """Allocate the cache. threads=0 means the physical cores this process may use.

        Raises RolekitError when there is not enough memory.
        """
        self.model = model
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context_tokens * sequences
        params.n_batch = params.n_ubatch = min(max(CHUNK_TOKENS, sequences), context_tokens)
        params.n_seq_max = sequences
        params.n_outputs_max = sequences
        params.kv_unified = False
        params.n_threads = params.n_threads_batch = threads or physical_cores()
        params.swa_full = model.sliding_window > 0  # without it, an older part of the window is gone for good
        # On a CPU llama.cpp's flash attention reads a short new turn over a long history at two thirds of the speed.
        self._flash = bool(llama_cpp.llama_supports_gpu_offload())
        params.flash_attn_type = -1 if self._flash else 0
        params.no_perf = True
        log.last_errors()
        self.pointer: Any = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise RolekitError(
                f"There is not enough memory for a context of {context_tokens} tokens{_because()}.",
                "Choose a smaller one with --ctx, or a smaller model.",
            )
        self.size = context_tokens
        self.threads = threads
        self.tokens: list[list[int]] = [[] for _ in range(sequences)]
        self.chunk_tokens = int(params.n_batch)
        self._memory = llama_cpp.llama_get_memory(self.pointer)
        self._interrupt = Interrupt()
        self._interrupt.attach(self.pointer)
        self._next = (ctypes.c_int32 * 1)()
        self._next_batch = llama_cpp.llama_batch_get_one(self._next, 1)
        self._batch = llama_cpp.llama_batch_init(self.chunk_tokens, 0, 1)

    def reusable(self, ids: Sequence[int], sequence: int = 0) -> int:
        """How many of ids need not be evaluated again; the last one always is."""
        held = self.tokens[sequence]
        shared = min(shared_length(held, ids), len(ids) - 1)
        return shared if self.model.rolls_back or shared == len(held) else 0

    def begin(self, ids: Sequence[int], sequence: int = 0) -> int:
        """Forget what the sequence does not share with ids; how many of ids it still holds."""
        reused = self.reusable(ids, sequence)
        self.cut(reused, sequence)
        return reused

    def evaluate(
        self,
        ids: Sequence[int],
        cancel: threading.Event,
        on_progress: Callable[[int], None] | None = None,
        *,
        outputs: bool = True,
    ) -> bool:
        """Extend sequence 0, which holds a beginning of ids, to all of ids; False when cancelled on the way.

        With outputs there are logits for what follows, and the last token is evaluated alone: so the logits are
        the same bits whether the tokens before were just evaluated or are reused. on_progress hears the number
        of ids held after each chunk. After a cancel the sequence holds what was evaluated so far.
        """
        with self._interrupt.watching(cancel):
            held, whole_chunks = self.tokens[0], len(ids) - 1 if outputs else len(ids)
            while len(held) < len(ids):
                if cancel.is_set():
                    return False
                last = len(held) >= whole_chunks
                end = len(ids) if last else min(len(held) + self.chunk_tokens, whole_chunks)
                if not self.decode([(token, 0, last) for token in ids[len(held) : end]]):
                    return False
                if on_progress:
                    on_progress(len(held))
        return True

    def decode(self, rows: Sequence[Row]) -> bool:
        """Append each row's token to its sequence; False when interrupted."""
        batch, held = self._batch, self.tokens
        ends = [len(ids) for ids in held]
        for index, (token, sequence, output) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = ends[sequence]
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = output
            ends[sequence] += 1
        batch.n_tokens = len(rows)
        status = llama_cpp.llama_decode(self.pointer, batch)
        if status == _DONE:
            for token, sequence, _ in rows:
                held[sequence].append(token)
            return True
        self._resynchronize(rows)
        return self._interrupted(status)

    def append(self, token: int) -> bool:
        """Append one token to sequence 0, the only one, with logits; False when interrupted. The fast path."""
        self._next[0] = token
        status = llama_cpp.llama_decode(self.pointer, self._next_batch)
        if status == _DONE:
            self.tokens[0].append(token)
            return True
        self._resynchronize([(token, 0, True)])
        return self._interrupted(status)

    @property
    def kinds(self) -> dict[str, str]:
        """What the bytes of state() depend on besides the model, its adapters and the versions."""
        window = "full" if self.model.sliding_window else "none"
        flash = "auto" if self._flash else "off"
        return {
            "context": str(self.size),
            "kv": "f16 f16",
            "rope": "of the model",
            "window": window,
            "flash attention": flash,
        }

    def _interrupted(self, status: int) -> bool:
        """False for an abort; everything else that is not a success raises."""
        if status == _ABORTED:
            return False
        if status == _NO_ROOM:
            raise RolekitError(
                f"The context of {self.size} tokens is full.", "Use a larger one (--ctx) or a shorter prompt."
            )
        raise RolekitError(
            f"llama.cpp could not evaluate the prompt{_because() or f' (code {status})'}.",
            "Try a smaller context (--ctx); if it happens again, please report it.",
        )

    def _resynchronize(self, rows: Sequence[Row]) -> None:
        """After a failed decode: believe llama.cpp, which keeps the ubatches that were finished."""
        for sequence in {sequence for _, sequence, _ in rows}:
            held = self.tokens[sequence]
            kept = llama_cpp.llama_memory_seq_pos_max(self._memory, sequence) + 1
            added = [token for token, owner, _ in rows if owner == sequence]
            if len(held) <= kept <= len(held) + len(added):
                held.extend(added[: kept - len(held)])
            else:
                self.cut(0, sequence)

    def cut(self, length: int, sequence: int = 0) -> None:
        """Forget all but the first length tokens; a model that cannot take back forgets all of them."""
        held = self.tokens[sequence]
        if length >= len(held):
            return
        if length == 0 or not llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1):
            length = 0
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        del held[length:]

    def copy(self, source: int, target: int) -> None:
        """Let sequence target hold what source holds, instead of what it held."""
        self.cut(0, target)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self.tokens[target][:] = self.tokens[source]

    def clear(self) -> None:
        """Forget everything."""
        llama_cpp.llama_memory_clear(self._memory, False)
        for held in self.tokens:
            held.clear()

    def state(self) -> bytearray:
        """What sequence 0 holds, as bytes for restore()."""
        size = llama_cpp.llama_state_seq_get_size(self.pointer, 0)
        data = bytearray(size)
        view = (ctypes.c_uint8 * size).from_buffer(data)
        written = llama_cpp.llama_state_seq_get_data(self.pointer, view, size, 0)
        del view
        del data[written:]
        return data

    def restore(self, ids: Sequence[int], state: bytearray | memoryview) -> bool:
        """Make sequence 0 hold ids, whose state() this was; on False it holds nothing."""
        self.clear()
        size = len(state)
        view = (ctypes.c_uint8 * size).from_buffer(state)
        used = llama_cpp.llama_state_seq_set_data(self.pointer, view, size, 0)
        last = llama_cpp.llama_memory_seq_pos_max(self._memory, 0)
        if used != size or last != len(ids) - 1:
            self.clear()
            return False
        self.tokens[0] = list(ids)
        return True

    def set_adapters(self, adapters: Sequence[tuple[Any, float]]) -> None:
        """Evaluate with these loaded adapters (pointer, scale) from now on. The cache is the caller's care."""
        count = len(adapters)
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * count)(*(pointer for pointer, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        llama_cpp.llama_set_adapters_lora(self.pointer, pointers, count, scales)

    def close(self) -> None:
        """Free the cache; closing twice is fine."""
        if self.pointer:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self.pointer)
            self.pointer = None


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common prefix."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(first), len(second)))


def _because() -> str:
    errors = log.last_errors()
    return f" ({errors[-1]})" if errors else ""
