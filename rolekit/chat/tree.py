"""What a conversation is made of: nodes that know their parent, and the line that names the whole."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rolekit.chat.room import speaker_of
from rolekit.messages import Speaker, Stats, StopReason

State = Literal["complete", "streaming", "stopped"]

_ID_TYPE = "I"
_SPEAKERS = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Node:
    """One version of one message. Versions of a message are siblings: they share a parent."""

    id: int
    conversation_id: str
    parent_id: int | None
    """None for the first message of a conversation, usually the greeting."""
    speaker: Speaker
    """A `system` node is a note for the reader (an imported chat may have some); models never see it."""
    text: str
    token_ids: tuple[int, ...]
    """What a model generated for text, in the vocabulary named beside it; empty after an edit."""
    vocabulary: str
    state: State
    """`streaming` only in the session that writes it: read from disk it means the writer died, so `stopped`."""
    stop_reason: StopReason | Literal[""]
    stats: Stats | None
    created_at: float
    """Unix seconds."""
    pinned: bool
    """Never folded out of the context."""
    edited: bool
    version: int
    """Place among the versions that are not deleted, from 1."""
    versions: int
    deleted: bool = False
    extra: str = ""
    """JSON object with what a foreign file knew beyond these fields; empty if nothing."""
    slug: str = ""
    """Which role of a room speaks; empty in a conversation with one role, and for the user."""
    name: str = ""
    """Its name."""


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """A conversation as a list shows it."""

    id: str
    name: str
    """What the user calls it to find it again (`--session NAME`); may be empty."""
    title: str
    """The first words of the user, until renamed."""
    role_slug: str
    role_name: str
    user: str
    model_label: str
    created_at: float
    updated_at: float
    messages: int
    """All versions count, deleted ones do not."""


STORED = (
    "id", "conversation_id", "parent_id", "speaker", "text", "token_ids", "vocabulary", "state", "stop_reason",
    "stats", "created_at", "pinned", "edited", "deleted", "extra",
)  # fmt: skip
"""The columns that make a node, in the order that node_from_row expects."""


def node_from_row(row: sqlite3.Row, versions: Sequence[int]) -> Node:
    """The node in a row of the STORED columns. versions: ids of all siblings that are not deleted, in order."""
    node_id, conversation, parent, speaker, text, ids, vocabulary, state, reason, stats, at, *marks, extra = (
        row
    )
    pinned, edited, deleted = map(bool, marks)
    return Node(
        node_id,
        conversation,
        parent,
        speaker if speaker in _SPEAKERS else "system",
        str(text),
        unpack_ids(ids),
        vocabulary,
        "complete" if state == "complete" else "stopped",
        reason,
        unpack_stats(stats),
        at,
        pinned,
        edited,
        sum(sibling <= node_id for sibling in versions) or 1,
        len(versions) or 1,
        deleted,
        extra,
        *speaker_of(extra),
    )


def pack_ids(token_ids: Sequence[int]) -> bytes:
    """Token ids as the bytes the database keeps (4 bytes each)."""
    return array(_ID_TYPE, token_ids).tobytes()


def unpack_ids(blob: bytes) -> tuple[int, ...]:
    """The reverse of pack_ids."""
    if not isinstance(blob, bytes):  # a damaged file may hold anything
        return ()
    ids = array(_ID_TYPE)
    ids.frombytes(blob[: len(blob) // ids.itemsize * ids.itemsize])
    return tuple(ids)


def pack_stats(stats: Stats | None) -> str:
    """Stats as the JSON text the database keeps; empty for None."""
    return json.dumps(asdict(stats)) if stats else ""


def unpack_stats(text: str) -> Stats | None:
    """The reverse of pack_stats; None also for a damaged text."""
    try:
        return Stats(**json.loads(text)) if text else None
    except (ValueError, TypeError):
        return None


def storable(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes U+FFFD, everything else stays."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text
