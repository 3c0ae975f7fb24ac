"""Vocabularies of tokenizer.json as drafts: byte-level BPE, and BPE that falls back to bytes (SentencePiece's kind)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rolekit.convert.vocabulary import pre_tokenizers
from rolekit.convert.vocabulary.tokenizer_json import AddedToken, TokenizerJson
from rolekit.convert.vocabulary.tokens import Draft, Token, TokenType, fitted, looks_special

_SPACE = "\u2581"
ADDED_SCORE = -1000.0
_ONE_MORE_BLANK = (
    "llama.cpp puts a space before every text, also before one that begins with a space, as SentencePiece does; this "
    "model's tokenizer.json adds none there."
)
_NO_FIRST_BLANK = (
    "The model's tokenizer puts a space before a text that no control token precedes; llama.cpp will not. Chats are not "
    "affected: they begin with a control token."
)


def byte_level_drafts(data: TokenizerJson, arch: str, rows: int) -> Iterator[Draft]:
    """GPT-2's kind of vocabulary under each of llama.cpp's rules."""
    tokens = {number: Token(text) for text, number in data.vocab.items()}
    tokens |= {token.id: added_token(token, spelled_with_spaces=False) for token in data.added}
    entries, notes = fitted(tokens, rows)
    merges = tuple(f"{left} {right}" for left, right in data.merges)
    for name in pre_tokenizers.names(data, arch):
        yield Draft("gpt2", name, entries, merges, notes=tuple(notes))


def byte_fallback_drafts(data: TokenizerJson, rows: int) -> Iterator[Draft]:
    """SentencePiece's kind of vocabulary: by scores that follow the merges' order, else by the merges themselves."""
    scores: dict[str, float] = {}
    for rank, (left, right) in enumerate(data.merges):
        scores.setdefault(left + right, -float(rank))
    lowest = -float(len(data.merges))
    plain = {number: _piece(text, scores.get(text, lowest), data) for text, number in data.vocab.items()}
    yield from space_drafts(plain, data.added, rows, prefix_rule(data))
    if all(" " not in left + right for left, right in data.merges):
        entries, notes = fitted({**plain, **{token.id: added_token(token) for token in data.added}}, rows)
        merges = tuple(f"{left} {right}" for left, right in data.merges)
        yield Draft("gpt2", "sarvam-moe", entries, merges, notes=tuple(notes))


def space_drafts(
    plain: dict[int, Token], added: tuple[AddedToken, ...], rows: int, prefix: str
) -> Iterator[Draft]:
    """A SentencePiece vocabulary with or without the space that goes before text, as `prefix` says it.

    prefix: always, or never; unless_blank, transformers 5's always, which adds none to a space that is there (llama.cpp
    and SentencePiece do); first, before the first text only (llama.cpp knows behind every control token, or nowhere).
    """
    tokens = {**plain, **{token.id: added_token(token) for token in added}}
    entries, notes = fitted(tokens, rows)
    strips = any(token.rstrip for token in added)
    base = Draft("llama", "default", entries, strips_blanks=strips, notes=tuple(notes))
    yield replace(base, space_prefix=prefix != "never")
    if prefix == "unless_blank":
        yield replace(base, space_prefix=True, no_leading_blank=True, notes=(*notes, _ONE_MORE_BLANK))
    if prefix == "first":
        yield replace(base, space_prefix=False, behind_control_only=True, notes=(*notes, _NO_FIRST_BLANK))


def prefix_rule(data: TokenizerJson) -> str:
    """When text gets a space before it, in the words of `space_drafts`."""
    if any(step.get("type") == "Prepend" for step in data.normalizers):
        return "always"
    for step in data.pre_tokenizers:
        if step.get("type") == "Metaspace":
            scheme = step.get("prepend_scheme") or (
                "always" if step.get("add_prefix_space", True) else "never"
            )
            return "unless_blank" if scheme == "always" else str(scheme)
    return "never"


def added_token(token: AddedToken, *, spelled_with_spaces: bool = True) -> Token:
    """An added token; SentencePiece's are looked for before spaces are replaced, so they are spelled with spaces."""
    if token.special or looks_special(token.text):
        return Token(token.text, TokenType.CONTROL, ADDED_SCORE)
    text = token.text.replace(_SPACE, " ") if spelled_with_spaces else token.text
    return Token(text, TokenType.USER_DEFINED, ADDED_SCORE)


def _piece(text: str, score: float, data: TokenizerJson) -> Token:
    if text == data.unknown:
        return Token(text, TokenType.UNKNOWN, score)
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        return Token(text, TokenType.BYTE, score)
    return Token(text, TokenType.NORMAL, score)
