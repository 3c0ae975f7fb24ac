"""A vocabulary as llama.cpp reads it, before it is proved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from rolekit.convert.metadata import MetaValue
from rolekit.errors import RolekitError
from rolekit.text import one_line

_PHI_3 = re.compile("phi-?3", re.IGNORECASE)
_MODERN_BERT = re.compile("modern-bert", re.IGNORECASE)
"""Names that change how llama.cpp tokenizes, or keep it from loading another model's vocabulary."""


def is_tokenizing_name(name: str) -> bool:
    """Whether llama.cpp treats a vocabulary otherwise because its model has this name."""
    return bool(_PHI_3.search(name) or _MODERN_BERT.search(name))


class TokenType(IntEnum):
    """llama.h: enum llama_token_type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Token:
    """One entry: its text as the vocabulary spells it, its kind and, in SentencePiece vocabularies, its score."""

    text: str
    type: TokenType = TokenType.NORMAL
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Draft:
    """One way to write the vocabulary; whether it is the right one, the proof decides."""

    model: str
    """tokenizer.ggml.model: gpt2 (byte-level BPE) or llama (SentencePiece)."""
    pre: str
    """tokenizer.ggml.pre: the rule that splits text into words, by llama.cpp's name."""
    tokens: tuple[Token, ...]
    merges: tuple[str, ...] = ()
    space_prefix: bool | None = None
    """Whether llama.cpp puts a space before text (SentencePiece only)."""
    behind_control_only: bool = False
    """Whether it can only be right for text behind a control token, as in every chat."""
    no_leading_blank: bool = False
    """Whether it can only be right for text that does not begin with a space."""
    strips_blanks: bool = False
    """Whether blanks behind control tokens are dropped, which llama.cpp does for models whose name says `phi-3`."""
    notes: tuple[str, ...] = field(default=())

    def name(self, name: str) -> str:
        """The model's name, changed where llama.cpp would read something else into it, or has to."""
        if self.strips_blanks:
            return name if _PHI_3.search(name) else f"{name} phi-3"
        return _PHI_3.sub("Phi 3", _MODERN_BERT.sub("Modern BERT", name))

    def metadata(self) -> dict[str, MetaValue]:
        """The tokenizer.ggml keys."""
        keys: dict[str, MetaValue] = {
            "tokenizer.ggml.model": self.model,
            "tokenizer.ggml.pre": self.pre,
            "tokenizer.ggml.tokens": tuple(token.text for token in self.tokens),
            "tokenizer.ggml.token_type": np.asarray(
                [int(token.type) for token in self.tokens], dtype=np.int32
            ),
        }
        if self.model == "llama":
            keys["tokenizer.ggml.scores"] = np.asarray(
                [token.score for token in self.tokens], dtype=np.float32
            )
        if self.merges:
            keys["tokenizer.ggml.merges"] = self.merges
        if self.space_prefix is not None:
            keys["tokenizer.ggml.add_space_prefix"] = self.space_prefix
        return keys


def fitted(tokens: Mapping[int, Token], rows: int) -> tuple[tuple[Token, ...], list[str]]:
    """Exactly one token for each row of the embedding, and what had to be done for it.

    Rows without a token get an unused one. Tokens without a row are left out when they were added to the tokenizer;
    no text is ever lost by that. llama.cpp ends the process when two tokens have the same text, so none may.
    Raises RolekitError when the embedding is too small for the vocabulary itself.
    """
    beyond = sorted(number for number in tokens if number >= rows)
    kept = [number for number in beyond if tokens[number].type in (TokenType.NORMAL, TokenType.BYTE)]
    if kept:
        raise RolekitError(
            f"The tokenizer has {max(tokens) + 1} tokens, and the embedding only {rows} rows.",
            "The tokenizer belongs to another model: put the right one into the folder.",
        )
    notes = []
    if beyond:
        names = one_line(", ".join(tokens[number].text for number in beyond), 120)
        notes.append(f"The embedding has no row for {len(beyond)} added tokens, which are left out: {names}.")
    taken: dict[str, int] = {}
    entries = []
    for number in range(rows):
        token = tokens.get(number, Token(f"[PAD{number}]", TokenType.UNUSED, -10_000.0))
        if not token.text or token.text in taken:
            token = Token(f"[PAD{number}]", TokenType.UNUSED, -10_000.0)
        taken[token.text] = number
        entries.append(token)
    missing = sum(number not in tokens for number in range(rows))
    if missing:
        notes.append(f"{missing} rows of the embedding belong to no token; they are named [PAD…].")
    return tuple(entries), notes


def looks_special(text: str) -> bool:
    """Whether an added token is meant to steer the model although its tokenizer does not say so."""
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )
