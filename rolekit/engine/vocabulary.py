"""A model's vocabulary: text to token ids and back, and which ids steer the model instead of being text."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp

from rolekit.engine.gguf_header import read_header
from rolekit.engine.log import last_errors, quiet
from rolekit.engine.prompt_vocabulary import in_the_middle
from rolekit.errors import RolekitError

_UNKNOWN, _CONTROL, _USER_DEFINED = 1 << 0, 1 << 3, 1 << 4
_NO_TOKEN = -1


class Vocabulary:
    """llama.cpp's vocabulary of one loaded model; valid as long as the model is.

    Not for several threads at once: the buffers are shared between calls.
    """

    def __init__(self, model_pointer: Any) -> None:
        """model_pointer: a llama_model. Raises RolekitError where the model has no vocabulary."""
        self._pointer = llama_cpp.llama_model_get_vocab(model_pointer)
        if not self._pointer or not llama_cpp.llama_vocab_n_tokens(self._pointer):
            raise RolekitError("This model has no vocabulary.", "Choose a chat model with --model.")
        self.size: int = llama_cpp.llama_vocab_n_tokens(self._pointer)
        self.bos: int | None = self._named(llama_cpp.llama_vocab_bos)
        self.eos: int | None = self._named(llama_cpp.llama_vocab_eos)
        self.adds_bos = self.bos is not None and bool(llama_cpp.llama_vocab_get_add_bos(self._pointer))
        self._tokens = (ctypes.c_int32 * 1024)()
        self._piece = ctypes.create_string_buffer(256)
        self._pieces: dict[int, bytes] = {}

    def _named(self, getter: Any) -> int | None:
        token: int = getter(self._pointer)
        return None if token == _NO_TOKEN else token

    def tokenize(self, text: str, *, special: bool, first: bool = False) -> list[int]:
        """The ids of text; no BOS or EOS is added.

        special: the texts of control tokens become these tokens. first: the text stands at the very beginning
        or behind a control token, where some SentencePiece vocabularies put a space in front.
        """
        if not text:
            return []
        if first or not self._prefixes_a_space:
            return self._tokenize(text, special)
        return in_the_middle(lambda part: self._tokenize(part, special), text)

    def _tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        arguments = (self._pointer, data, len(data))
        got = llama_cpp.llama_tokenize(*arguments, self._tokens, len(self._tokens), False, special)
        if got < 0:
            self._tokens = (ctypes.c_int32 * -got)()
            got = llama_cpp.llama_tokenize(*arguments, self._tokens, len(self._tokens), False, special)
        return list(self._tokens[:got])

    @cached_property
    def _prefixes_a_space(self) -> bool:
        ids = self._tokenize("a", special=False)
        return bool(ids) and self.piece(ids[0]).startswith(b" ")

    def piece(self, token: int) -> bytes:
        """The bytes token stands for, a control token's own text included; empty for an id out of range."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token) if 0 <= token < self.size else b""
        return piece

    def _read_piece(self, token: int) -> bytes:
        got = llama_cpp.llama_token_to_piece(self._pointer, token, self._piece, len(self._piece), 0, True)
        if got < 0:
            self._piece = ctypes.create_string_buffer(-got)
            got = llama_cpp.llama_token_to_piece(self._pointer, token, self._piece, len(self._piece), 0, True)
        return self._piece.raw[: max(got, 0)]

    def text(self, token: int | None) -> str:
        """The vocabulary's own entry for token, as it is written in a template; empty for None."""
        if token is None or not 0 <= token < self.size:
            return ""
        entry: bytes = llama_cpp.llama_vocab_get_text(self._pointer, token) or b""
        return entry.decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether token ends a generation (llama.cpp's EOG set: EOS, EOT and their kind)."""
        return bool(llama_cpp.llama_vocab_is_eog(self._pointer, token))

    @cached_property
    def _attributes(self) -> list[int]:
        read, pointer = llama_cpp.llama_vocab_get_attr, self._pointer
        return [read(pointer, token) for token in range(self.size)]

    def _with(self, attribute: int) -> dict[str, int]:
        found = (token for token, bits in enumerate(self._attributes) if bits & attribute)
        return {text: token for token in found if (text := self.text(token))}

    @cached_property
    def control_tokens(self) -> dict[str, int]:
        """Text to id of every token that steers the model: control tokens, and all that end a generation."""
        ends = (token for token in self.user_defined_tokens.values() if self.is_end(token))
        return self._with(_CONTROL) | {self.text(token): token for token in ends}

    @cached_property
    def unknown_tokens(self) -> dict[str, int]:
        """Text to id of the tokens that mean `no such text`."""
        return self._with(_UNKNOWN)

    @cached_property
    def user_defined_tokens(self) -> dict[str, int]:
        """Text to id of added tokens that llama.cpp finds in any text, also where control tokens are not parsed."""
        return self._with(_USER_DEFINED)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Every id that is cut out of a text before the rest is tokenized."""
        return frozenset(
            [
                *self.control_tokens.values(),
                *self.unknown_tokens.values(),
                *self.user_defined_tokens.values(),
            ]
        )

    @cached_property
    def key(self) -> str:
        """A fingerprint of all tokens and their kinds: ids are exchangeable between models with the same key."""
        digest = hashlib.sha256()
        read, pointer = llama_cpp.llama_vocab_get_text, self._pointer
        digest.update(b"\0".join(read(pointer, token) or b"" for token in range(self.size)))
        digest.update(bytes(bits & 0xFF for bits in self._attributes))
        return digest.hexdigest()[:32]


@contextmanager
def open_vocabulary(path: Path) -> Iterator[Vocabulary]:
    """The vocabulary of a GGUF file alone; its weights are not loaded.

    Raises RolekitError when the file is no sound GGUF or has no vocabulary that llama.cpp knows.
    """
    read_header(path)
    quiet()
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    last_errors()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        reason = (last_errors() or ["no reason given"])[-1]
        raise RolekitError(
            f"llama.cpp cannot read the vocabulary of {path.name} ({reason}).",
            "Choose another model with --model.",
        )
    try:
        yield Vocabulary(model)
    finally:
        llama_cpp.llama_model_free(model)
