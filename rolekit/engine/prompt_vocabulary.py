"""What building a prompt asks of a vocabulary, whoever tokenizes: llama.cpp, or a Hugging Face tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class PromptVocabulary(Protocol):
    """Text to token ids and back, and which ids steer the model. engine.vocabulary has llama.cpp's."""

    @property
    def size(self) -> int:
        """How many tokens there are; ids run from 0."""
        ...

    @property
    def bos(self) -> int | None:
        """The token that begins a text, where the vocabulary names one."""
        ...

    @property
    def eos(self) -> int | None:
        """The token that ends a text, where the vocabulary names one."""
        ...

    @property
    def adds_bos(self) -> bool:
        """Whether every text begins with bos, also where its template does not write it."""
        ...

    @property
    def control_tokens(self) -> dict[str, int]:
        """Text to id of every token that steers the model."""
        ...

    @property
    def unknown_tokens(self) -> dict[str, int]:
        """Text to id of the tokens that mean `no such text`."""
        ...

    @property
    def user_defined_tokens(self) -> dict[str, int]:
        """Text to id of added tokens that are found in any text, also where control tokens are not parsed."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Every id that is cut out of a text before the rest is tokenized."""
        ...

    def tokenize(self, text: str, *, special: bool, first: bool = False) -> list[int]:
        """The ids of text; no BOS or EOS is added.

        special: the texts of control tokens become these tokens. first: the text stands at the very beginning
        or behind a control token, where some SentencePiece vocabularies put a space in front.
        """
        ...

    def piece(self, token: int) -> bytes:
        """The bytes token stands for, a control token's own text included; empty for an id out of range."""
        ...

    def text(self, token: int | None) -> str:
        """The vocabulary's own entry for token, as it is written in a template; empty for None."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether token ends a generation."""
        ...


def in_the_middle(encode: Callable[[str], list[int]], text: str) -> list[int]:
    """The ids of text where other text stands before it, from an encode that takes any text for a beginning.

    Such a vocabulary puts a space in front of what it is given; behind a character that merges with nothing it
    does not.
    """
    for guard in ("\x01", "\n"):
        head = encode(guard)
        ids = encode(guard + text)
        if ids[: len(head)] == head:
            return ids[len(head) :]
    return encode(text)
