"""Replies that follow a GBNF grammar, by rejection: the grammar is asked about the chosen token first."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import llama_cpp

from rolekit.engine import log
from rolekit.errors import RolekitError

_ROOT = b"root"
_STDERR = 2


class Grammar:
    """One reply's place in a grammar."""

    def __init__(self, vocab: Any, text: str) -> None:
        """Start at the rule `root`. Raises RolekitError with the parser's reason when text is no GBNF."""
        log.last_errors()
        with _captured_stderr() as printed:
            self._pointer: Any = llama_cpp.llama_sampler_init_grammar(vocab, text.encode(), _ROOT)
            printed.seek(0)
            reason = _reason(printed.read().decode("utf-8", "replace"))
        if not self._pointer:
            raise RolekitError(
                f"The grammar cannot be used: {reason}.",
                "Correct it; the GBNF must define a rule named root.",
            )

    def sample(self, chain: Any, context_pointer: Any, row: int, vocabulary_size: int) -> int | None:
        """The chain's choice if the grammar allows it, else its choice among what the grammar allows.

        None when the grammar allows nothing at all here. Checking every token is slow, so that comes second.
        """
        candidates = _Candidates(context_pointer, row, vocabulary_size)
        llama_cpp.llama_sampler_apply(chain, candidates.reference)
        token = candidates.selected
        if token is None or not self._allows(token):
            candidates = _Candidates(context_pointer, row, vocabulary_size)
            llama_cpp.llama_sampler_apply(self._pointer, candidates.reference)
            candidates.drop_rejected()
            if not candidates.array.size:
                return None
            llama_cpp.llama_sampler_apply(chain, candidates.reference)
            token = candidates.selected
        if token is not None:
            llama_cpp.llama_sampler_accept(self._pointer, token)
            llama_cpp.llama_sampler_accept(chain, token)
        return token

    def _allows(self, token: int) -> bool:
        data = (llama_cpp.llama_token_data * 1)((token, 1.0, 0.0))
        array = llama_cpp.llama_token_data_array(data, 1, -1, False)
        llama_cpp.llama_sampler_apply(self._pointer, ctypes.byref(array))
        return bool(data[0].logit != float("-inf"))

    def close(self) -> None:
        """Free it; closing twice is fine."""
        if self._pointer:
            llama_cpp.llama_sampler_free(self._pointer)
            self._pointer = None


class _Candidates:
    """A llama_token_data_array of the whole vocabulary with the logits of one row."""

    def __init__(self, context_pointer: Any, row: int, size: int) -> None:
        import numpy

        logits = llama_cpp.llama_get_logits_ith(context_pointer, row)
        self._data = (llama_cpp.llama_token_data * size)()
        self._table = numpy.ctypeslib.as_array(self._data)
        self._table["id"] = numpy.arange(size, dtype=numpy.int32)
        self._table["logit"] = numpy.ctypeslib.as_array(logits, (size,))
        self.array = llama_cpp.llama_token_data_array(self._data, size, -1, False)
        self.reference = ctypes.byref(self.array)

    def drop_rejected(self) -> None:
        """Keep only what has a finite logit."""
        allowed = self._table[self._table["logit"] > float("-inf")].copy()
        self._table[: len(allowed)] = allowed
        self.array.size = len(allowed)

    @property
    def selected(self) -> int | None:
        """The token the chain has chosen."""
        if not 0 <= self.array.selected < self.array.size:
            return None
        token: int = self.array.data[self.array.selected].id
        return token


@contextmanager
def _captured_stderr() -> Iterator[BinaryIO]:
    """Within the block, what C code prints on stderr goes to the file: the parser reports no other way."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(_STDERR)
        try:
            os.dup2(file.fileno(), _STDERR)
            yield file
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)


def _reason(printed: str) -> str:
    found = re.search(r"error parsing grammar: (.*)", printed)
    if found:
        return found[1].strip().rstrip(".")
    errors = log.last_errors()
    return (errors[-1] if errors else printed.strip() or "it has no rule named root").rstrip(".")
