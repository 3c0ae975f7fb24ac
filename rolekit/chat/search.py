"""Finding messages by their words, in any language."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from rolekit.chat.database import Database
from rolekit.chat.room import speaker_of
from rolekit.chat.tree import storable
from rolekit.messages import Speaker
from rolekit.text import one_line

_AROUND = 32
_TRIGRAM = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that has all the words."""

    conversation_id: str
    node_id: int
    title: str
    role_name: str
    """In a room, of the role whose line it is, if it is one's."""
    speaker: Speaker
    snippet: str
    """One line around the first word, safe to print."""
    created_at: float
    deleted: bool
    """Marked as deleted; undo or the session's show() bring it back."""


def search(database: Database, text: str, *, conversation_id: str = "", limit: int = 50) -> list[Hit]:
    """Messages that contain every word of text, newest first, on any branch, deleted ones too.

    Words of three characters or more use the trigram index; shorter ones (孙, AI) are looked for one by one.
    """
    words = storable(text).replace("\0", " ").split()
    if not words:
        return []
    conditions = ["conversation.hidden_at IS NULL"]
    arguments: list[object] = []
    indexed = [word for word in words if len(word) >= _TRIGRAM]
    if indexed:
        conditions.append("node.id IN (SELECT rowid FROM node_text WHERE node_text MATCH ?)")
        arguments.append(" ".join('"' + word.replace('"', '""') + '"' for word in indexed))
    for word in words:
        if len(word) < _TRIGRAM:
            conditions.append("node.text LIKE ? ESCAPE '\\'")
            arguments.append(f"%{like_escaped(word)}%")
    if conversation_id:
        conditions.append("node.conversation_id = ?")
        arguments.append(conversation_id)
    rows = database.read(
        f"""SELECT node.id, node.conversation_id, node.speaker, node.text, node.created_at, node.deleted,
                conversation.title, conversation.role_name, node.extra
            FROM node JOIN conversation ON conversation.id = node.conversation_id
            WHERE {" AND ".join(conditions)} ORDER BY node.created_at DESC, node.id DESC LIMIT ?""",
        [*arguments, limit],
    )
    return [_hit(row, words[0]) for row in rows]


def like_escaped(text: str) -> str:
    """Text in which LIKE's own signs stand for themselves, with a backslash as the escape."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _hit(row: sqlite3.Row, word: str) -> Hit:
    text = row["text"]
    at = max(0, text.casefold().find(word.casefold()))
    start = max(0, at - _AROUND)
    end = at + len(word) + _AROUND
    snippet = ("…" if start else "") + one_line(text[start:end], 200) + ("…" if end < len(text) else "")
    return Hit(
        row["conversation_id"],
        row["id"],
        row["title"],
        (row["speaker"] == "assistant" and speaker_of(row["extra"])[1]) or row["role_name"],
        row["speaker"],
        snippet,
        row["created_at"],
        bool(row["deleted"]),
    )
