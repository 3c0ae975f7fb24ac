"""Messages to token ids: a model's own template around them, its own earlier replies spliced in as they were."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rolekit.engine.layout import Layout, Part, Turn
from rolekit.engine.literals import MOST_CHUNKS, LiteralTokenizer, Span
from rolekit.engine.prompt_vocabulary import PromptVocabulary
from rolekit.engine.stopping import THINK_TAGS
from rolekit.engine.templates import ChatTemplate
from rolekit.messages import Message

_OPENS_THINKING = re.compile(f"({'|'.join(re.escape(opening) for opening in THINK_TAGS)})\\s*\\Z")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, and how far they will stay."""

    ids: tuple[int, ...]
    role_tokens: int
    """How many at the beginning depend on the role alone: its block, its examples, its greeting."""
    history_tokens: int = 0
    """How many will stand in front of the reply in later prompts too: all, but for a thinking tag."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the prompt that is tokenized with its neighbours, or already ids."""

    text: str
    message: int
    content: bool
    ids: tuple[int, ...] = ()


@dataclass(slots=True)
class _Chunk:
    """Pieces tokenized together, on their own."""

    pieces: list[_Piece]
    role: bool
    passing: bool = False
    """In front of the next reply only."""


class Prompter:
    """Builds the prompts of one model: one template, one vocabulary. Not for several threads at once.

    A prompt that a reply's ids are appended to is an exact prefix of the next turn's prompt, so that nothing the
    model has read is read again. The one exception: a template that opens a thinking block (opens_thinking) gets
    its tag only in front of the reply being generated, because thoughts are no part of history.
    """

    def __init__(self, template: ChatTemplate, vocabulary: PromptVocabulary) -> None:
        """Tries the template once. Raises RolekitError where it cannot render a plain conversation."""
        self._vocabulary = vocabulary
        self._bos_text = vocabulary.text(vocabulary.bos)
        variables = {"bos_token": self._bos_text, "eos_token": vocabulary.text(vocabulary.eos)}
        self._layout = Layout(template, variables)
        self._tokenizer = LiteralTokenizer(vocabulary)
        self._costs = lru_cache(maxsize=MOST_CHUNKS)(self._chunk_costs)
        header = self._layout.reply_header
        opening = _OPENS_THINKING.search(header)
        self._reply_header = header[: opening.start()] if opening else header
        self._thinking_header = opening.group() if opening else ""
        self.opens_thinking = opening is not None

    def build(
        self, messages: Sequence[Message], *, continue_last: bool = False, think: bool = True
    ) -> Prompt:
        """The prompt that asks for the next reply, or for more of the last one (continue_last).

        think=False closes a thinking block before it begins, for a retry after thoughts without an answer.
        Raises RolekitError when the template cannot put these messages in any way.
        """
        chunks, writes_bos = self._chunks(messages, continue_last, think)
        ids, role_tokens = self._bos(writes_bos), 0
        if any(chunk.role for chunk in chunks):
            role_tokens = len(ids)
        history_tokens = len(ids)
        for chunk in chunks:
            added = self._ids(chunk, ids)
            ids += added
            role_tokens += len(added) if chunk.role else 0
            history_tokens += 0 if chunk.passing else len(added)
        return Prompt(tuple(ids), role_tokens, history_tokens)

    def count(self, messages: Sequence[Message]) -> list[int]:
        """What each message adds to the prompt, in tokens; the sum is the length of build(messages).ids.

        The header of a turn counts to its message, the end of a turn to the message after it.
        """
        if not messages:
            return []
        chunks, writes_bos = self._chunks(messages, continued=False, think=True)
        ids = self._bos(writes_bos)
        costs = [0] * len(messages)
        costs[0] = len(ids)
        for chunk in chunks:
            added = self._ids(chunk, ids)
            if chunk.pieces[0].ids:
                costs[chunk.pieces[0].message] += len(added)
            else:
                spans = tuple(
                    (piece.message, len(piece.text.encode("utf-8", "replace"))) for piece in chunk.pieces
                )
                for message, tokens in self._costs(added, spans):
                    costs[message] += tokens
            ids += added
        return costs

    def reply_ids(self, text: str, prompt: Prompt) -> tuple[int, ...]:
        """What a model has to generate behind prompt to say text, without the token that ends it.

        A space that the template puts between its header and a reply in history is part of it.
        """
        before, header = self._layout.before_reply, self._reply_header
        lead = before.removeprefix(header) if before.startswith(header) else ""
        first = not prompt.ids or prompt.ids[-1] in self._vocabulary.special_ids
        spans = (Span(lead, content=False), Span(text.strip(), content=True))
        return self._tokenizer.encode(tuple(span for span in spans if span.text), first)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """What the template writes behind a reply up to the token that ends it; empty where there is no such token."""
        after = self._layout.after_reply
        ids = self._tokenizer.encode((Span(after, content=False),), False) if after else ()
        end = next((place for place, token in enumerate(ids) if self._vocabulary.is_end(token)), None)
        if end is None or b"".join(map(self._vocabulary.piece, ids[:end])).strip():
            return ()
        return ids[: end + 1]

    @cached_property
    def stop_texts(self) -> tuple[str, ...]:
        """What the template writes behind a reply: a model that writes it itself has ended its turn."""
        after, found = self._layout.after_reply, list[str]()
        for line in after.split("\n"):
            heading = line.strip()
            while marker := re.match(r"<[^<>]{2,}>|\[[^\[\]]{2,}\]", heading):
                found.append(marker.group())
                heading = heading[marker.end() :].strip()
            if re.match(r"[^\w\s]{2}|[\[\]]", heading):
                found.append(heading)
            elif heading.endswith((":", "：")):
                found.append("\n" + heading)
        # The first one ends a turn. Of the others, what stands before replies only in history may begin a reply
        # (<|START_TEXT|>); what the header of a generated reply has in it too begins another turn.
        written, header = self._layout.before_reply, self._layout.reply_header
        may_begin = {text for text in found[1:] if text.strip() in written and text.strip() not in header}
        return tuple(text for text in found if text not in may_begin)

    def _bos(self, writes_bos: bool) -> list[int]:
        bos = self._vocabulary.bos
        return [bos] if bos is not None and (writes_bos or self._vocabulary.adds_bos) else []

    def _ids(self, chunk: _Chunk, before: list[int]) -> tuple[int, ...]:
        if chunk.pieces[0].ids:
            return chunk.pieces[0].ids
        first = not before or before[-1] in self._vocabulary.special_ids
        return self._tokenizer.encode(tuple(Span(piece.text, piece.content) for piece in chunk.pieces), first)

    def _chunk_costs(self, ids: tuple[int, ...], spans: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """Tokens per span: a token belongs to the span that its first byte lies in."""
        costs = [0] * len(spans)
        span, end, position = 0, spans[0][1], 0
        for token in ids:
            while position >= end and span < len(spans) - 1:
                span += 1
                end += spans[span][1]
            costs[span] += 1
            position += len(self._vocabulary.piece(token))
        return [(message, tokens) for (message, _), tokens in zip(spans, costs, strict=True)]

    def _chunks(self, messages: Sequence[Message], continued: bool, think: bool) -> tuple[list[_Chunk], bool]:
        """The prompt in chunks, and whether the template itself begins it with BOS."""
        continued = continued and bool(messages) and messages[-1].speaker == "assistant"
        turns = self._layout.turns(messages, continued=continued)
        speakers = tuple(turn.speaker for turn in turns)
        scaffolding = list(self._layout.scaffolding((*speakers, "user") if continued else speakers))
        writes_bos = bool(self._bos_text) and scaffolding[0].startswith(self._bos_text)
        if writes_bos:
            scaffolding[0] = scaffolding[0].removeprefix(self._bos_text)
        builder = _Builder(self._vocabulary)
        for number, turn in enumerate(turns):
            text = scaffolding[number]
            generated = bool(turn.parts[0].ids) or (continued and number == len(turns) - 1)
            if generated and number and turns[number - 1].speaker == "user":
                text = self._reply_header
            builder.turn(text, turn)
        if not continued:
            self._header(builder, max(len(messages) - 1, 0), think)
        return builder.chunks(), writes_bos

    def _header(self, builder: _Builder, message: int, think: bool) -> None:
        builder.scaffold(self._reply_header, message)
        opening = self._thinking_header
        if not think:
            tag = opening.strip() or "<think>"
            opening = f"{tag}\n\n{THINK_TAGS[tag]}\n\n"
        if opening:
            # Apart from the header, which keeps its ids when the reply stands in history without the tag.
            builder.cut(passing=True)
            builder.scaffold(opening, message)


class _Builder:
    """Collects pieces and decides where chunks end: around replies with ids, and behind the role."""

    def __init__(self, vocabulary: PromptVocabulary) -> None:
        self._vocabulary = vocabulary
        self._chunks: list[_Chunk] = [_Chunk([], role=True)]
        self._in_role = True

    def chunks(self) -> list[_Chunk]:
        return [chunk for chunk in self._chunks if chunk.pieces]

    def cut(self, *, passing: bool = False) -> None:
        self._chunks.append(_Chunk([], self._in_role, passing))

    def scaffold(self, text: str, message: int) -> None:
        if text:
            self._chunks[-1].pieces.append(_Piece(text, message, content=False))

    def turn(self, text: str, turn: Turn) -> None:
        first = turn.parts[0]
        if self._in_role and not first.role:
            place = self._role_end(text) if self._chunks[0].pieces else 0
            self.scaffold(text[:place], first.message)
            self._leave_role()
            text = text[place:]
        self.scaffold(text, first.message)
        for part in turn.parts:
            if self._in_role and not part.role:
                self._leave_role()
            self._part(part)

    def _part(self, part: Part) -> None:
        if part.ids and all(0 <= token < self._vocabulary.size for token in part.ids):
            self.cut()
            self._chunks[-1].pieces.append(_Piece("", part.message, content=True, ids=part.ids))
            self.cut()
        elif part.text:
            self._chunks[-1].pieces.append(_Piece(part.text, part.message, content=True))

    def _leave_role(self) -> None:
        self._in_role = False
        self.cut()

    def _role_end(self, text: str) -> int:
        """Where the scaffolding in front of the first real turn may be cut without changing its ids."""
        if text.endswith("\n"):
            return len(text)
        ends = [
            text.rfind(literal) + len(literal)
            for literal in self._vocabulary.control_tokens
            if literal in text
        ]
        return max(ends, default=0)
