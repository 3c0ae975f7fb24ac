"""What of a generated stream the reader sees, and where the reply ends; text and bytes only, no model."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import regex  # type: ignore[import-untyped, unused-ignore]

from rolekit.messages import StopReason

THINK_TAGS: Mapping[str, str] = MappingProxyType(
    {
        "<think>": "</think>",
        "<thinking>": "</thinking>",
        "<thought>": "</thought>",
        "<reasoning>": "</reasoning>",
        "<seed:think>": "</seed:think>",
        "<think:opensource>": "</think:opensource>",
        "[THINK]": "[/THINK]",
        "<|START_THINKING|>": "<|END_THINKING|>",
    }
)
_CLOSING = frozenset(THINK_TAGS.values())

# A speaker's mark: **Name:**, *Name*:, [Name]:, ## Name:, Name：
_BEFORE = r"[ \t]{0,8}(?:\#{1,6}[ \t]{0,4}|>[ \t]{0,4})?(?P<open>[*_\[(<\"'“「`]{0,4})"
_MOST_BLANKS = 64
"""A line that begins with more of them begins no turn; waiting longer would cost the square of their number."""
_AFTER = r"[*_\])>\"'”」`]{0,4}[ \t]{0,4}"


class ReplyFilter:
    """Turns the bytes of a generated reply into the text to show, a character at a time.

    Leading and trailing white space, thinking blocks, stop texts and what follows them never come out, and never a
    part of a character or of a stop text. How the bytes are cut into feeds makes no difference.
    """

    def __init__(
        self,
        stop_names: Sequence[str] = (),
        stop_texts: Sequence[str] = (),
        opens_thinking: bool = False,
        role_names: Sequence[str] = (),
        after: str = "",
    ) -> None:
        """stop_names end the reply where a line begins to speak as one of them.

        stop_texts end it anywhere; one that begins with a line break only at the start of a line. role_names are
        taken off the beginning of the reply (`Sherlock: …`). opens_thinking: the prompt ended in an open tag.
        after: the text that this stream goes on with; white space at the stream's beginning is then part of it.
        """
        self.stopped: StopReason | None = None
        self._stop_texts = tuple(text for text in stop_texts if not text.startswith("\n") and text)
        self._stop_lines = tuple(
            text.strip() for text in stop_texts if text.startswith("\n") and text.strip()
        )
        self._users = _speaker_pattern(stop_names, alone=True)
        self._roles = _speaker_pattern(role_names, alone=False)
        literals = (*self._stop_texts, *THINK_TAGS, *_CLOSING)
        self._first_characters = frozenset(text[0] for text in literals)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0
        self._pending = ""
        self._ends: list[int] = []  # raw offset behind each pending character
        self._last_end = 0  # and behind the last one taken
        self._reply_start = not after
        self._line_start = not after or after.rstrip(" \t").endswith("\n")
        self._goes_on = bool(after)
        self._mark_open = ""  # the `**` of `**Sherlock:**`, to be taken off behind the colon too
        self._closing: tuple[str, ...] = tuple(_CLOSING) if opens_thinking else ()
        self._thinking: list[str] = []
        self._shown: list[str] = []
        self._held = ""  # white space that comes out only if something follows it
        self._ranges: list[tuple[int, int]] = []
        self._range_start: int | None = None if opens_thinking else 0

    @property
    def text(self) -> str:
        """The whole visible reply so far; after a late `</think>` shorter than what came out piece by piece."""
        return "".join(self._shown)

    @property
    def thinking(self) -> str:
        """What the model thought aloud so far."""
        return "".join(self._thinking).strip()

    @property
    def kept(self) -> tuple[tuple[int, int], ...]:
        """The ranges of raw bytes that the visible reply is made of: one, or more around later thoughts.

        White space or a role's name that the reply began with is inside, so that tokens there may be kept.
        """
        return tuple(self._ranges)

    def feed(self, data: bytes) -> str:
        """The text that may be shown now: whole characters that are no beginning of anything hidden."""
        out: list[str] = []
        for position in range(len(data)):
            characters = self._decoder.decode(data[position : position + 1])
            self._offset += 1
            for number, character in enumerate(characters, start=1):
                if self.stopped:
                    return "".join(out)
                self._pending += character
                self._ends.append(self._offset if number == len(characters) else self._offset - 1)
                self._settle(out, final=False)
        return "".join(out)

    def finish(self) -> str:
        """The last text to show, when the stream has ended; an unfinished character or stop text is dropped."""
        out: list[str] = []
        if not self.stopped:
            self._settle(out, final=True)
        return "".join(out)

    def _settle(self, out: list[str], final: bool) -> None:
        """Decide about as many pending characters as can be decided."""
        while self._pending and not self.stopped:
            decided = self._think(final) if self._closing else None if self._plain() else self._special(final)
            if decided is None:
                self._show(out)
            elif not decided:
                return

    def _plain(self) -> bool:
        return not (self._line_start or self._reply_start) and self._pending[0] not in self._first_characters

    def _take(self, count: int) -> str:
        taken, self._pending = self._pending[:count], self._pending[count:]
        self._last_end = self._ends[count - 1]
        del self._ends[:count]
        return taken

    def _think(self, final: bool) -> bool:
        """Move pending text to the thoughts, up to the closing tag; whether anything was decided."""
        for tag in self._closing:
            if self._pending.startswith(tag):
                self._take(len(tag))
                self._closing = ()
                self._begin_again()
                return True
        for stop in self._stop_texts:
            if stop[0] == "<" and self._pending.startswith(stop):
                self.stopped = "end"
                return True
        waiting = (*self._closing, *(stop for stop in self._stop_texts if stop[0] == "<"))
        if not final and any(text.startswith(self._pending) for text in waiting):
            return False
        self._thinking.append(self._take(1))
        return True

    def _begin_again(self) -> None:
        self._line_start = self._reply_start = True
        self._goes_on = False
        self._held = "" if not self._shown else self._held
        self._range_start = None

    def _special(self, final: bool) -> bool | None:
        """True: something hidden was taken; False: more text is needed; None: the next character is plain."""
        pending = self._pending
        if self._mark_open and self._reply_start:
            if pending.startswith(self._mark_open):
                self._take(len(self._mark_open))
                self._mark_open = ""
                return True
            if not final and self._mark_open.startswith(pending):
                return False
            self._mark_open = ""
        if any(pending.startswith(text) for text in self._stop_texts):
            self.stopped = "end"
            return True
        for opening, closing in THINK_TAGS.items():
            if pending.startswith(opening):
                self._take(len(opening))
                self._closing = (closing,)
                return True
            if pending.startswith(closing):
                self._take(len(closing))
                self._forget()
                return True
        by_line = self._speaker(final)
        if by_line is not None:
            return by_line
        literals = (*self._stop_texts, *THINK_TAGS, *_CLOSING)
        partial = any(text.startswith(pending) for text in literals)
        if partial and not final:
            return False
        if partial and len(pending) > 1 and not pending[0].isalnum():
            self._take(len(pending))
            return True
        return None

    def _speaker(self, final: bool) -> bool | None:
        """What a line's beginning says about who speaks; as _special."""
        if not (self._line_start or self._reply_start):
            return None
        waits = False
        if self._reply_start and self._roles and (match := self._roles.match(self._pending, partial=True)):
            if not match.partial:
                before = match["open"].strip("\"'“「`([<")
                marked = self._pending[match.end("open") :].rstrip(" :：")
                self._mark_open = "" if before and marked.endswith(before) else before
                self._take(match.end())
                return True
            waits = True
        if self._users and (match := self._users.match(self._pending, partial=True)):
            if not match.partial:
                self.stopped = "speaks_for_user"
                return True
            waits = True
        text = self._pending.lstrip(" \t")
        if len(self._pending) - len(text) > _MOST_BLANKS:
            return None
        if any(text.startswith(line) for line in self._stop_lines):
            self.stopped = "end"
            return True
        waits = waits or any(line.startswith(text) for line in self._stop_lines)
        return False if waits and not final else None

    def _forget(self) -> None:
        """A closing tag without an opening one: all that came before it was thought, not said."""
        self._thinking += [*self._shown, self._held]
        self._shown, self._held, self._ranges = [], "", []
        self._begin_again()

    def _show(self, out: list[str]) -> None:
        begin = self._ends[0]
        character = self._take(1)
        if character.isspace():
            self._line_start = character == "\n" or (self._line_start and character == "\r")
            if self._shown or self._goes_on:
                self._held += character
            return
        self._line_start = self._reply_start = False
        piece, self._held = self._held + character, ""
        self._shown.append(piece)
        out.append(piece)
        if self._range_start is None:
            start = begin - len(character.encode("utf-8"))
            self._ranges.append((start, self._last_end))
            self._range_start = start
        elif self._ranges:
            self._ranges[-1] = (self._ranges[-1][0], self._last_end)
        else:
            self._ranges.append((self._range_start, self._last_end))


def _speaker_pattern(names: Sequence[str], *, alone: bool) -> regex.Pattern[str] | None:
    """Matches a line's beginning that says who speaks; alone: a line that is nothing but the name, too."""
    wanted = sorted({name.strip() for name in names if name.strip()}, key=len, reverse=True)
    if not wanted:
        return None
    either = "|".join(regex.escape(name) for name in wanted)
    marked = rf"{_BEFORE}(?i:{either}){_AFTER}[:：]"
    # In lower case a lone word on its line is rather a verse than a speaker.
    lone = rf"{_BEFORE.replace('?P<open>', '')}(?:{either}){_AFTER}\r?\n"
    return regex.compile(f"{marked}|{lone}" if alone else marked)
