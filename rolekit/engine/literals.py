"""Tokenizing a prompt so that no text in it can become a control token, and harmless text is cut nowhere."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rolekit.engine.prompt_vocabulary import PromptVocabulary

# Added tokens that are no control tokens by name but steer chat models: <|tool_call>, <start_of_turn>, [INST], <think>.
# HTML tags, which some vocabularies also add, are none.
_MARKER = re.compile(
    r"<[|｜].*|.*[|｜]>|</?\w*[_:]\w*>|\[/?[A-Z_]{2,}\]|</?(?:think|thinking|reasoning|thought|tool\w*)>"
)


MOST_CHUNKS = 4096
"""Chunks whose ids are remembered: each turn asks for all of the conversation's, so that fewer would be none."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the prompt: the template's own scaffolding, or content that somebody wrote."""

    text: str
    content: bool


class LiteralTokenizer:
    """Tokenizes spans as one text; where content spells a control token, the text is cut inside of it."""

    def __init__(self, vocabulary: PromptVocabulary) -> None:
        """vocabulary: read once, for the texts that must not be taken for its control tokens."""
        self._vocabulary = vocabulary
        self._control_ids = frozenset(vocabulary.control_tokens.values())
        markers = [text for text in vocabulary.user_defined_tokens if _MARKER.fullmatch(text)]
        by_first: defaultdict[str, list[str]] = defaultdict(list)
        for text in {*vocabulary.control_tokens, *vocabulary.unknown_tokens, *markers}:
            by_first[text[0]].append(text)
        self._literals = {first: tuple(texts) for first, texts in by_first.items()}
        self._longest = max((len(text) for texts in by_first.values() for text in texts), default=0)
        self._start = re.compile("[" + re.escape("".join(by_first)) + "]") if by_first else re.compile("(?!)")
        self.encode = lru_cache(maxsize=MOST_CHUNKS)(self._encode)
        self._scaffold_controls = lru_cache(maxsize=4096)(self._count_scaffold_controls)

    def _encode(self, spans: tuple[Span, ...], first: bool) -> tuple[int, ...]:
        """The ids of the spans' joined text; first: nothing or a control token stands in front of it."""
        text = "".join(span.text for span in spans)
        ids = self._pieces(text, self._cuts(text, spans), first)
        if self._controls(ids) == sum(
            self._scaffold_controls(span.text) for span in spans if not span.content
        ):
            return tuple(ids)
        return tuple(self._span_by_span(spans, first))

    def _controls(self, ids: list[int]) -> int:
        return sum(token in self._control_ids for token in ids)

    def _count_scaffold_controls(self, text: str) -> int:
        return self._controls(self._vocabulary.tokenize(text, special=True))

    def _follows_special(self, ids: list[int], first: bool) -> bool:
        return ids[-1] in self._vocabulary.special_ids if ids else first

    def _pieces(self, text: str, cuts: list[int], first: bool) -> list[int]:
        ids: list[int] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            piece = text[start:end]
            whole_control = len(piece) == 1 and piece in self._literals.get(piece, ())
            ids += self._vocabulary.tokenize(
                piece, special=not whole_control, first=self._follows_special(ids, first)
            )
        return ids

    def _cuts(self, text: str, spans: tuple[Span, ...]) -> list[int]:
        """Where to cut: at the border where a literal straddles one, else behind its first character."""
        cuts: list[int] = []
        borders: list[int] = []
        start = 0
        for span in spans:
            if span.content and span.text:
                borders += [start, start + len(span.text)]
            start += len(span.text)
        for begin, end in zip(borders[::2], borders[1::2], strict=True):
            for found, length in self._found(text, max(0, begin - self._longest + 1), end):
                stop = found + length
                if stop <= begin or bisect_left(cuts, stop) > bisect_right(cuts, found):
                    continue  # outside the content, or cut already
                if length == 1:
                    new = [found, stop]
                else:
                    new = [border for border in (begin, end) if found < border < stop][:1] or [found + 1]
                for cut in new:
                    insort(cuts, cut)
        return sorted({cut for cut in cuts if 0 < cut < len(text)})

    def _found(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Every literal that begins between start and end: its place and length, overlapping ones too."""
        for match in self._start.finditer(text, start, end):
            literals = self._literals[match.group()]
            if text.startswith(literals, match.start()):
                for literal in literals:
                    if text.startswith(literal, match.start()):
                        yield match.start(), len(literal)

    def _span_by_span(self, spans: tuple[Span, ...], first: bool) -> list[int]:
        """The slow way, for vocabularies whose merges can spell a control token: content never yields one."""
        ids: list[int] = []
        for span in spans:
            after = self._follows_special(ids, first)
            if span.content:
                ids += self._plain(span.text, after)
            else:
                ids += self._vocabulary.tokenize(span.text, special=True, first=after)
        return ids

    def _plain(self, text: str, first: bool) -> list[int]:
        cuts = self._cuts(text, (Span(text, content=True),))
        ids: list[int] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            after = self._follows_special(ids, first)
            piece = self._vocabulary.tokenize(text[start:end], special=False, first=after)
            if self._controls(piece):
                single = (self._vocabulary.tokenize(char, special=False) for char in text[start:end])
                piece = [token for tokens in single for token in tokens if token not in self._control_ids]
            ids += piece
        return ids
