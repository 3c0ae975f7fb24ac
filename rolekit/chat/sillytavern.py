"""SillyTavern's chat files: a header line, then one JSON object a message, with its versions as swipes.

The form is that of SillyTavern's own saveChat (1.12): {name, is_user, is_system, send_date, mes, swipes, swipe_id,
swipe_info, extra}. What we do not know is kept beside each message and written back as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rolekit.chat import nodes
from rolekit.chat.extra import record_of
from rolekit.chat.nodes import Draft
from rolekit.chat.room import Room, with_room, with_speaker
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node, storable
from rolekit.errors import RolekitError
from rolekit.messages import Speaker
from rolekit.roles.names import fold
from rolekit.text import one_line

_OURS = ("mes", "is_user", "is_system", "swipes", "swipe_id", "swipe_info")
_OF_A_SWIPE = ("send_date", "gen_started", "gen_finished", "extra")
_MOST_LEVELS = 100
_MILLISECONDS_FROM = 1e11
_NO_NAME = ("", "unused")
_DATES = ("%B %d, %Y %I:%M%p", "%B %d, %Y %I:%M %p", "%Y-%m-%d @%Hh %Mm %Ss %fms", "%Y-%m-%d@%Hh%Mm%Ss")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no message. Its text is kept with the conversation."""

    number: int
    """From 1, as editors count."""
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came out of a file."""

    conversation_id: str
    character_name: str
    messages: int
    versions: int
    """All swipes of all messages."""
    bad_lines: tuple[BadLine, ...]
    strangers: tuple[str, ...] = ()
    """Who speaks in a group chat without being in the room."""


def to_sillytavern(store: Store, conversation_id: str) -> str:
    """The active branch as JSONL; the versions of each of its messages are swipes."""
    info = store.conversation(conversation_id)
    extra = record_of(store.row(conversation_id)["extra"])
    header = {
        "user_name": info.user,
        "character_name": info.role_name,
        "create_date": _iso(info.created_at),
        "chat_metadata": {},
        **extra.get("header", {}),
    }
    siblings: dict[int | None, list[Node]] = {}
    for node in store.all_nodes(conversation_id):
        if not node.deleted:
            siblings.setdefault(node.parent_id, []).append(node)
    lines = [header]
    lines += [_line(info, node, siblings[node.parent_id]) for node in store.path(conversation_id)]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def import_sillytavern(
    store: Store, path: Path, *, role_slug: str = "", role_name: str = "", room: Room | None = None
) -> ImportReport:
    """A new conversation from a chat file; lines that are no messages are set apart and counted.

    The role's slug and name are those given; the name is the file's where none is. room: the file is a group chat,
    whose lines belong to the members of the same names. Raises RolekitError, with nothing imported, when the file
    cannot be read or has no message at all.
    """
    bad: list[BadLine] = []
    quarantine: list[dict[str, Any]] = []
    header: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    for number, raw in _lines(path):
        line, reason = _parsed(raw)
        if line is not None and "mes" not in line and not messages and not header:
            header = line
        elif line is not None and not reason:
            messages.append(line)
        else:
            bad.append(BadLine(number, reason))
            quarantine.append({"line": number, "text": raw})
    if not messages:
        raise RolekitError(
            f"{path} has no message of a SillyTavern chat in it.", "Choose a chat's .jsonl file."
        )
    user = _name(header.get("user_name"), messages, of_user=True) or "You"
    character = _name(header.get("character_name"), messages, of_user=False) or "Character"
    kept = {"header": header} if header else {}
    company = _Company(room)
    with store.database.writing() as connection:
        info = store.create(
            role_slug=role_slug,
            role_name=role_name or character,
            user=user,
            title=_title(messages, path),
            created_at=_seconds(messages[0].get("send_date")),
            extra=company.kept(_dumped({**kept, "bad_lines": quarantine} if quarantine else kept)),
        )
        head: int | None = None
        versions = 0
        for message in messages:
            drafts, active = _drafts(message)
            drafts = [company.spoken(draft, message.get("name")) for draft in drafts]
            ids = [nodes.insert(connection, info.id, head, draft) for draft in drafts]
            head = ids[active]
            versions += len(ids)
        nodes.set_head(connection, info.id, head)
    return ImportReport(info.id, character, len(messages), versions, tuple(bad), tuple(company.strangers))


class _Company:
    """Whose lines the replies of a group chat are."""

    def __init__(self, room: Room | None) -> None:
        self._room = room
        self._members = {fold(member.name): member for member in room.members} if room else {}
        self.strangers: dict[str, None] = {}

    def kept(self, extra: str) -> str:
        """The conversation's `extra` with the room."""
        return with_room(extra, self._room) if self._room else extra

    def spoken(self, draft: Draft, name: object) -> Draft:
        """The draft as its speaker's line; a stranger's is kept as a note."""
        if self._room is None or draft.speaker != "assistant":
            return draft
        if member := self._members.get(fold(str(name))):
            return replace(draft, extra=with_speaker(draft.extra, member.slug, member.name))
        self.strangers.setdefault(str(name))
        return replace(draft, speaker="system", extra=with_speaker(draft.extra, "", str(name)))


def character_of(path: Path) -> str:
    """The character's name that a chat file gives, to find the role for it; empty if it gives none."""
    found = (line for _, raw in _lines(path) if (line := _parsed(raw)[0]) is not None)
    for line in found:
        name = line.get("character_name", "" if line.get("is_user") else line.get("name"))
        if isinstance(name, str) and name not in _NO_NAME:
            return name
    return ""


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank; only a line feed ends one, since texts may have other separators."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").strip(" \t\r\n\0")
                if text:
                    yield number, text
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}).", "Check the path."
        ) from error


def _parsed(raw: str) -> tuple[dict[str, Any] | None, str]:
    """The line's object (None if it is none), and why it is no message ("" if it is one)."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return None, f"not JSON: {one_line(str(error), 100)}"
    if not isinstance(line, dict):
        return None, "not an object"
    if _nests_deeply(line):
        return None, "nested too deeply"
    if not isinstance(line.get("mes"), str):
        return line, "no text under mes"
    return line, ""


def _nests_deeply(value: object) -> bool:
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _drafts(message: dict[str, Any]) -> tuple[list[Draft], int]:
    """The versions of a message, and which of them is the active one."""
    text = message["mes"]
    swipes = message.get("swipes")
    rest = {key: value for key, value in message.items() if key not in _OURS}
    speaker: Speaker = "user" if message.get("is_user") else "assistant"
    if message.get("is_system"):
        speaker = "system"
        rest["is_user"] = message.get("is_user", False)
    if not isinstance(swipes, list) or not swipes or not all(isinstance(swipe, str) for swipe in swipes):
        return [_draft(speaker, text, {"message": rest}, rest)], 0
    texts = list(swipes)
    active = message.get("swipe_id")
    if not isinstance(active, int) or not 0 <= active < len(texts) or texts[active] != text:
        active = texts.index(text) if text in texts else len(texts)
        texts += [text] if active == len(texts) else []  # edited without its swipe: both texts are kept
    infos = message.get("swipe_info")
    infos = infos if isinstance(infos, list) else []
    drafts = []
    for index, swipe in enumerate(texts):
        info = infos[index] if index < len(infos) and isinstance(infos[index], dict) else {}
        own = {key: value for key, value in rest.items() if key not in _OF_A_SWIPE} | {
            key: value for key, value in info.items() if key in _OF_A_SWIPE
        }
        own = rest if index == active else own
        drafts.append(_draft(speaker, swipe, {"message": own, "info": info}, own))
    return drafts, active


def _draft(speaker: Speaker, text: str, extra: dict[str, Any], message: dict[str, Any]) -> Draft:
    return Draft(speaker, text, created_at=_seconds(message.get("send_date")), extra=_dumped(extra))


def _line(info: ConversationInfo, node: Node, versions: list[Node]) -> dict[str, Any]:
    extra = record_of(node.extra)
    line: dict[str, Any] = {
        "name": node.name or {"user": info.user, "assistant": info.role_name, "system": "Note"}[node.speaker],
        "is_user": node.speaker == "user",
        "is_system": node.speaker == "system",
        "send_date": _iso(node.created_at),
        "mes": node.text,
        "extra": {},
    }
    line |= extra.get("message", {})
    if len(versions) > 1 or "info" in extra or (node.speaker == "assistant" and "message" not in extra):
        line["swipes"] = [version.text for version in versions]
        line["swipe_id"] = next(index for index, version in enumerate(versions) if version.id == node.id)
        line["swipe_info"] = [_swipe_info(version) for version in versions]
    return line


def _swipe_info(node: Node) -> dict[str, Any]:
    info = record_of(node.extra).get("info")
    return info if isinstance(info, dict) else {"send_date": _iso(node.created_at), "extra": {}}


def _name(given: object, messages: list[dict[str, Any]], *, of_user: bool) -> str:
    """The header's name, or the first that a message of that side gives."""
    if isinstance(given, str) and given.strip() not in _NO_NAME:
        return given
    names = (message.get("name") for message in messages if bool(message.get("is_user")) == of_user)
    return next((name for name in names if isinstance(name, str) and name.strip()), "")


def _title(messages: list[dict[str, Any]], path: Path) -> str:
    first = (message["mes"] for message in messages if message.get("is_user") and message["mes"].strip())
    return one_line(next(first, path.stem), 40)


def _seconds(date: object) -> float:
    """Unix seconds of a date in one of the forms that SillyTavern has used; now for any other."""
    text = str(date).strip()
    if text.isdecimal():
        number = float(text)
        seconds = number / 1000 if number > _MILLISECONDS_FROM else number
    else:
        seconds = _written(text)
    return seconds if 0 < seconds < _MILLISECONDS_FROM else time.time()


def _written(date: str) -> float:
    """Unix seconds of a date in words; 0 for one that is not understood."""
    try:
        return datetime.fromisoformat(date).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    for form in _DATES:
        try:
            return datetime.strptime(date, form).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    return 0.0


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dumped(value: dict[str, Any]) -> str:
    return storable(json.dumps(value, ensure_ascii=False)) if value else ""
