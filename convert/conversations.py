"""Role conversations to verify and to calibrate with: the bundled roles' own examples, or the user's data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.messages import Message, Speaker
from rolekit.roles.block import role_block
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Role
from rolekit.text import one_line

_SPEAKERS: Mapping[str, Speaker] = {"system": "system", "user": "user", "assistant": "assistant"}
_DEFAULT_USER = "You"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that end with the role's reply; the reply is what a model is measured on."""

    messages: tuple[Message, ...]
    origin: str = ""
    """Where it comes from, for people: a role's name, or `data.jsonl:17`."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the reply."""
        return self.messages[:-1]

    @property
    def reply(self) -> str:
        """The reply's text."""
        return self.messages[-1].text


def bundled_conversations(limit: int, role: str = "") -> list[Conversation]:
    """Up to limit one-question conversations with roles of the library, as many different roles as possible.

    role (a name, a slug) comes first where the library knows it: half of the conversations are then its own.
    """
    library = RoleLibrary()
    roles = [entry.role for entry in library.all() if entry.role and entry.role.examples]
    own: list[Role] = []
    if role:
        try:
            own = [library.find(role).loaded()]
        except RolekitError:
            own = []  # a role of other data: the library's roles have to do
    first = [talk for one in own for talk in _examples(one)][: (limit + 1) // 2]
    rest = [talk for one in _spread(roles) if one not in own for talk in _examples(one)[:1]]
    return [*first, *rest][:limit]


def read_conversations(path: Path, limit: int = 0, role: str = "") -> tuple[list[Conversation], int]:
    """The conversations of a JSON Lines file, evenly spread over it where there are more than limit; and how many
    lines held none (no reply, an unknown form).

    A line is a chat ({"messages": [{"role", "content"}, …]}) or a RoleBench record ({"role", "question",
    "generated"}), whose role block comes from the library where it knows the role. role: for records that name none.
    Raises RolekitError when the file cannot be read or has no conversation at all.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RolekitError(f"The data {path} could not be read ({reason}).", "Name a .jsonl file.") from error
    blocks = _Blocks()
    found, skipped = [], 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        messages = _messages(line, blocks, role)
        if messages:
            found.append(Conversation(tuple(messages), f"{path.name}:{number}"))
        else:
            skipped += 1
    if not found:
        raise RolekitError(
            f"{one_line(path.name)} has no conversation in it.",
            'Each line is {"messages": […]} ending with a reply, or a RoleBench record.',
        )
    if 0 < limit < len(found):
        found = [found[index * len(found) // limit] for index in range(limit)]
    return found, skipped


def as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages in the form that Hugging Face's chat templates take."""
    return [{"role": message.speaker, "content": message.text} for message in messages]


def _spread(roles: Sequence[Role]) -> Iterator[Role]:
    """The roles, one of each language in turn."""
    by_language: dict[str, list[Role]] = {}
    for role in roles:
        by_language.setdefault(role.language, []).append(role)
    queues = [list(queue) for _, queue in sorted(by_language.items(), key=lambda item: -len(item[1]))]
    while any(queues):
        for queue in queues:
            if queue:
                yield queue.pop(0)


def _examples(role: Role) -> list[Conversation]:
    block = Message("system", role_block(role, _DEFAULT_USER), "role")
    return [
        Conversation((block, Message("user", turn.user), Message("assistant", turn.reply)), role.name)
        for turn in role.examples
    ]


class _Blocks:
    """Role blocks by the name that a record gives; empty where the library does not know it."""

    def __init__(self) -> None:
        self._library = RoleLibrary()
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        if name not in self._known:
            try:
                self._known[name] = role_block(self._library.find(name).loaded(), _DEFAULT_USER)
            except RolekitError:
                self._known[name] = f"You are {one_line(name, 200)}." if name.strip() else ""
        return self._known[name]


def _messages(line: str, blocks: _Blocks, role: str) -> list[Message]:
    """The conversation of one line; empty where there is none that ends in a reply."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return []
    if not isinstance(row, dict):
        return []
    messages = _chat(row["messages"]) if isinstance(row.get("messages"), list) else _record(row, blocks, role)
    whole = len(messages) > 1 and messages[-1].speaker == "assistant" and messages[-1].text.strip()
    return messages if whole else []


def _chat(turns: list[Any]) -> list[Message]:
    messages = []
    for turn in turns:
        speaker = _SPEAKERS.get(str(turn.get("role"))) if isinstance(turn, dict) else None
        if speaker is None or not isinstance(turn.get("content"), str):
            return []
        messages.append(Message(speaker, turn["content"]))
    return messages


def _record(row: dict[str, Any], blocks: _Blocks, role: str) -> list[Message]:
    replies = row.get("generated", row.get("answer"))
    reply = replies[0] if isinstance(replies, list) and replies else replies
    question = row.get("question")
    if not isinstance(question, str) or not isinstance(reply, str):
        return []
    block = blocks.of(str(row.get("role") or role))
    system = [Message("system", block, "role")] if block else []
    return [*system, Message("user", question.strip()), Message("assistant", reply.strip())]
