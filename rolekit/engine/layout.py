"""What a chat template can say, found out by asking it, and a conversation put so that it can say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from rolekit.engine.templates import CannotRender, ChatTemplate
from rolekit.messages import Message, Speaker

OPENER = "[Start a new chat]"
GO_ON = "[Continue]"
ROLE_BLOCKS = frozenset({"role", "example", "greeting"})

_OPEN, _CLOSE = "\ue000", "\ue001"
_SENTINEL = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
# Most templates know no tools when tools is None; a few old ones iterate over them without asking.
_VARIABLES: tuple[Mapping[str, Any], ...] = (
    {},
    {"tools": [], "documents": [], "functions": "[]", "datetime": ""},
)


@dataclass(frozen=True, slots=True)
class Part:
    """Text of one message inside a turn; ids replace it where the model itself wrote it."""

    text: str
    message: int
    role: bool
    """Belongs to the unchanging beginning: role block, examples, greeting."""
    ids: tuple[int, ...] = ()


@dataclass(slots=True)
class Turn:
    """What the template sees as one message."""

    speaker: Speaker
    parts: list[Part] = field(default_factory=list)

    def add(self, parts: Sequence[Part]) -> None:
        """Append parts, a blank line between; the line belongs to the role if what stands before does."""
        if self.parts and parts:
            self.parts.append(Part("\n\n", parts[0].message, self.parts[-1].role))
        self.parts.extend(parts)


class Layout:
    """One template's abilities, and the text it puts around every turn."""

    def __init__(self, template: ChatTemplate, variables: Mapping[str, Any]) -> None:
        """variables: what it reads besides turns. Raises RolekitError where it renders no conversation."""
        self._template = template
        self._variables = dict(variables)
        self._rendered = lru_cache(maxsize=64)(self._render)
        reason = ""
        for extra in _VARIABLES:
            self._variables = {**variables, **extra}
            self._rendered.cache_clear()
            if self._stable("user", "assistant", "user", "assistant", "user"):
                return
            reason = reason or self._reason("user", "assistant", "user")
        raise template.no_way(reason)

    def _reason(self, *speakers: Speaker) -> str:
        try:
            self._text(speakers)
        except CannotRender as error:
            return str(error)
        return "it does not keep every message once and in order"

    def _text(self, speakers: Sequence[Speaker]) -> str:
        messages = [
            {"role": speaker, "content": f"{_OPEN}{number}{_CLOSE}"}
            for number, speaker in enumerate(speakers)
        ]
        return self._template.render(messages, {**self._variables, "add_generation_prompt": True})

    def _render(self, speakers: tuple[Speaker, ...]) -> tuple[str, ...] | None:
        """The scaffolding before each turn and behind the last; None if the template cannot put it so."""
        try:
            pieces = _SENTINEL.split(self._text(speakers))
        except CannotRender:
            return None
        if pieces[1::2] != [str(number) for number in range(len(speakers))]:
            return None
        return tuple(pieces[0::2])

    def _stable(self, *speakers: Speaker) -> bool:
        """Whether the template puts these turns, and what it wrote up to a user's turn never changes later."""
        whole = self._rendered(speakers)
        if whole is None:
            return False
        for count in range(1, len(speakers)):
            if speakers[count - 1] != "user":
                continue
            part = self._rendered(speakers[:count])
            if part is None or part[-1] != whole[-1]:
                return False
            if any(part[i] != whole[i] for i in range(count) if speakers[i] != "assistant"):
                return False
        return True

    @cached_property
    def _knows_system(self) -> bool:
        return self._stable("system", "user", "assistant", "user", "assistant", "user")

    @lru_cache(maxsize=2)  # noqa: B019
    def _greets(self, with_system: bool) -> bool:
        turns: tuple[Speaker, ...] = ("assistant", "user", "assistant", "user")
        return self._stable("system", *turns) if with_system else self._stable(*turns)

    @cached_property
    def _repeats(self) -> bool:
        return self._stable("user", "user", "assistant", "assistant", "user")

    @cached_property
    def _late_system(self) -> bool:
        head: tuple[Speaker, ...] = ("system",) if self._knows_system else ()
        return self._stable(*head, "user", "assistant", "system", "user", "assistant", "user")

    @cached_property
    def reply_header(self) -> str:
        """What stands between a user's text and the reply when it is generated."""
        rendered = self._rendered(("user",))
        return rendered[-1] if rendered else ""

    @cached_property
    def before_reply(self) -> str:
        """What stands between a user's text and a reply in history."""
        rendered = self._rendered(("user", "assistant", "user"))
        return rendered[1] if rendered else ""

    @cached_property
    def after_reply(self) -> str:
        """What stands between a reply and the user's next text."""
        rendered = self._rendered(("user", "assistant", "user"))
        return rendered[2] if rendered else ""

    def scaffolding(self, speakers: tuple[Speaker, ...]) -> tuple[str, ...]:
        """The text before each turn, and behind the last one, which has to be a user's.

        Raises RolekitError when the template cannot put these turns after all.
        """
        rendered = self._rendered(speakers)
        if rendered is None:
            raise self._template.no_way(self._reason(*speakers))
        return rendered

    def turns(self, messages: Sequence[Message], *, continued: bool) -> list[Turn]:
        """The messages as turns this template accepts; the last one is a user's, or the continued reply."""
        turns: list[Turn] = []
        held: list[Part] = []  # system text on its way into the next user's turn
        role_messages = role_length(messages)
        for index, message in enumerate(messages):
            last = continued and index == len(messages) - 1
            part = _part(message, index, index < role_messages, last)
            speaker = message.speaker
            if speaker == "system":
                if not part.text:
                    continue
                if self._takes_system(turns, held):
                    _join(turns, "system", [part])
                elif turns and turns[-1].speaker == "user":
                    turns[-1].add([part])
                else:
                    held = _glued(held, [part])
            elif speaker == "user":
                self._add(turns, "user", _glued(held, [part]))
                held = []
            else:
                if held or self._needs_opener(turns, message):
                    opener = Part(OPENER, index, part.role)
                    self._add(turns, "user", _glued(held, [opener]))
                    held = []
                self._add(turns, "assistant", [part])
        self._finish(turns, held, len(messages), continued)
        return turns

    def _takes_system(self, turns: list[Turn], held: list[Part]) -> bool:
        if held:
            return False
        if not turns or turns[-1].speaker == "system":
            return self._knows_system
        return turns[-1].speaker == "assistant" and self._late_system and len(turns) > 1

    def _needs_opener(self, turns: list[Turn], message: Message) -> bool:
        """Whether a reply cannot follow directly: nobody has asked, or the last reply was another one."""
        if not turns:
            return not self._greets(False)
        if turns[-1].speaker == "system":
            return len(turns) > 1 or not self._greets(True)
        return turns[-1].speaker == "assistant" and message.block == "greeting" and not self._repeats

    def _add(self, turns: list[Turn], speaker: Speaker, parts: list[Part]) -> None:
        if turns and turns[-1].speaker == speaker and not self._repeats:
            turns[-1].add(parts)
        else:
            turns.append(Turn(speaker, parts))

    def _finish(self, turns: list[Turn], held: list[Part], messages: int, continued: bool) -> None:
        """Make sure that somebody asks: a prompt ends with a user's turn."""
        index = max(messages - 1, 0)
        if held:
            self._add(turns, "user", held)
            if all(part.role for part in held):
                turns[-1].add([Part(OPENER, index, role=False)])
        elif not turns or turns[-1].speaker == "system":
            turns.append(Turn("user", [Part(OPENER, index, role=False)]))
        elif turns[-1].speaker == "assistant" and not continued:
            turns.append(Turn("user", [Part(GO_ON, index, role=False)]))


def role_length(messages: Sequence[Message]) -> int:
    """How many messages at the beginning are the role's own: its block, its examples, its greeting."""
    blocks = (index for index, message in enumerate(messages) if message.block not in ROLE_BLOCKS)
    return next(blocks, len(messages))


def _part(message: Message, index: int, role: bool, continued: bool) -> Part:
    text = message.text.lstrip() if continued else message.text.strip()
    return Part(text, index, role, message.token_ids if message.speaker == "assistant" else ())


def _join(turns: list[Turn], speaker: Speaker, parts: list[Part]) -> None:
    if turns and turns[-1].speaker == speaker:
        turns[-1].add(parts)
    else:
        turns.append(Turn(speaker, parts))


def _glued(first: list[Part], second: list[Part]) -> list[Part]:
    turn = Turn("user", list(first))
    turn.add(second)
    return turn.parts
