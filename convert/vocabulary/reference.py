"""How the model's own tokenizer splits text: Hugging Face's tokenizers, or SentencePiece where there is no other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rolekit.convert.vocabulary.tokenizer_json import AddedToken, TokenizerJson
from rolekit.errors import RolekitError
from rolekit.text import one_line


class Reference(Protocol):
    """A tokenizer to be equal to."""

    def encode(self, text: str) -> list[int]:
        """The ids of text, special tokens in it found, none added."""

    def surroundings(self) -> tuple[list[int], list[int]]:
        """The ids that it puts before and behind a text by itself."""


class FastReference:
    """tokenizer.json, as transformers loads it."""

    def __init__(self, data: TokenizerJson) -> None:
        """Raises RolekitError when the tokenizers package cannot read the file."""
        from tokenizers import AddedToken as Added
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(data.path))
        except Exception as error:  # the package raises nothing narrower
            raise RolekitError(
                f"{data.path.name} cannot be read by the tokenizers package ({one_line(str(error))}).",
                "Fetch the model's files again.",
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        for token in data.added:
            if self._tokenizer.token_to_id(token.text) is None:
                fresh = Added(token.text, special=token.special, rstrip=token.rstrip, normalized=False)
                self._tokenizer.add_tokens([fresh])

    def encode(self, text: str) -> list[int]:
        """The ids of text."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def surroundings(self) -> tuple[list[int], list[int]]:
        """What the post-processor adds."""
        bare = self.encode("a")
        whole: list[int] = self._tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
        return [], []


class SentencePieceReference:
    """tokenizer.model with added tokens cut out first, each stretch of text beginning anew (the `legacy` way)."""

    def __init__(self, path: Path, added: Sequence[AddedToken], before: list[int]) -> None:
        """before: the ids that the tokenizer puts before a text. Raises RolekitError when the file is unreadable."""
        from sentencepiece import SentencePieceProcessor

        try:
            self._model: Any = SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise RolekitError(
                f"{path.name} is no SentencePiece model ({one_line(str(error))}).",
                "Fetch the model's files again.",
            ) from error
        self._ids = {token.text: token.id for token in added if token.text}
        texts = sorted(self._ids, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, texts)) + ")") if texts else None
        self._before = before

    def encode(self, text: str) -> list[int]:
        """The ids of text."""
        ids: list[int] = []
        for piece in self._split.split(text) if self._split else [text]:
            if piece in self._ids:
                ids.append(self._ids[piece])
            elif piece:
                ids += self._model.encode(piece)
        return ids

    def surroundings(self) -> tuple[list[int], list[int]]:
        """BOS by the tokenizer's configuration."""
        return self._before, []
