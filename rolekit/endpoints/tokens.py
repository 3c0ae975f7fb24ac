"""How many tokens a text may be, without the model's vocabulary: one guess, and one bound that always holds."""

from __future__ import annotations

from collections.abc import Sequence

from rolekit.messages import Message

_PER_MESSAGE = 4
"""What role and separators of one message cost."""


def estimated_tokens(text: str) -> int:
    """About as many tokens as present models make of text: four ASCII characters, or one other, a token."""
    ascii_characters = sum(character.isascii() for character in text)
    return -(-ascii_characters // 4) + len(text) - ascii_characters


def estimated_message_tokens(messages: Sequence[Message]) -> list[int]:
    """The same for each message, scaffolding included."""
    return [estimated_tokens(message.text) + _PER_MESSAGE for message in messages]


def most_tokens(messages: Sequence[Message]) -> int:
    """No prompt of these messages has more: a token is at least a byte."""
    return sum(len(message.text.encode("utf-8", "replace")) + 4 * _PER_MESSAGE for message in messages) + 16
