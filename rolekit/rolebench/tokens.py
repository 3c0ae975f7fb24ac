"""Texts as tokens: the words that rouge-score reads, and every other script beside them.

A token becomes one character of a string, because rapidfuzz compares strings fastest: equal tokens, equal characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

import regex  # type: ignore[import-untyped, unused-ignore]

_ALPHABET = 0x110000
_FIRST = ord("0")
_WORD_BYTES = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() and code < 128 else ord(" ") for code in range(256)
)
"""ASCII letters in lower case and digits; any other byte parts words."""

_BEYOND_ASCII = regex.compile(r"(?V1)[[\p{L}\p{M}\p{N}]--[\x00-\x7f]]")
_NO_BLANKS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_MARKS = r"[[\p{Mn}\p{Mc}]--[\ufe00-\ufe0f\U000e0100-\U000e01ef]]"
_UNICODE_TOKEN = regex.compile(
    rf"(?V1)[[{_NO_BLANKS}]&&[\p{{L}}\p{{N}}]]{_MARKS}*|[[\p{{L}}\p{{N}}]--[{_NO_BLANKS}]]"
    rf"(?:[[\p{{L}}\p{{N}}]--[{_NO_BLANKS}]]|{_MARKS})*"
)


def words(text: str) -> list[bytes]:
    """The text's tokens for ROUGE, as UTF-8.

    Where all letters and digits are ASCII these are exactly rouge-score's (lower case, anything else parts them).
    Beyond ASCII: accents are kept, and scripts that put no blanks between words (Chinese, Japanese, Korean, Thai …)
    give one token a character.
    """
    if text.isascii():
        return text.encode().translate(_WORD_BYTES).split()
    if not _BEYOND_ASCII.search(text):
        return text.lower().encode("utf-8", "replace").translate(_WORD_BYTES).split()
    folded = unicodedata.normalize("NFC", text).lower()
    return [token.encode("utf-8", "replace") for token in _UNICODE_TOKEN.findall(folded)]


def porter_stem() -> Callable[[bytes], bytes]:
    """rouge-score's stemming of one token: Porter, for ASCII words of more than three letters."""
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped, unused-ignore]

    stem = PorterStemmer().stem

    def stemmed(token: bytes) -> bytes:
        return stem(token.decode()).encode() if len(token) > 3 and token.isascii() else token

    return stemmed


class Interner(dict[bytes, str]):
    """Gives every token its own character, the same one each time."""

    def __init__(self, normal_form: Callable[[bytes], bytes] | None = None) -> None:
        """normal_form: tokens that it makes equal share a character; None takes tokens as they are."""
        super().__init__()
        self._normal_form = normal_form
        self._letters: dict[bytes, str] = {}

    def __missing__(self, token: bytes) -> str:
        """The token's character, a new one where its normal form has none yet."""
        normal = self._normal_form(token) if self._normal_form else token
        letter = self._letters.setdefault(normal, chr(_FIRST + len(self._letters)))
        self[token] = letter
        return letter

    def encode(self, texts: Iterable[list[bytes]]) -> list[str]:
        """One string a text, comparable with each other (with earlier ones only until the alphabet runs out)."""
        given = list(texts)
        if len(self._letters) + sum(map(len, given)) + _FIRST >= _ALPHABET:
            self.clear()
            self._letters.clear()
        letter_of = self.__getitem__
        return ["".join(map(letter_of, tokens)) for tokens in given]


def dot_sentences(text: str, by_character: bool) -> list[list[str]]:
    """The text as the `rouge` package reads it: sentences between ASCII dots, tokens between blanks, case kept.

    by_character puts a blank between all characters first, as the paper evidently did for Chinese. A sentence of
    blanks only holds one empty token there, and so it does here. Empty where the text is nothing but dots.
    """
    if by_character:
        text = " ".join(text)
    return [sentence.split() or [""] for sentence in text.split(".") if sentence]
