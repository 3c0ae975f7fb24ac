"""All conversations of a user, in one SQLite file."""

from __future__ import annotations

import secrets
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rolekit.chat import nodes
from rolekit.chat.database import Database
from rolekit.chat.memory import FoldPoint
from rolekit.chat.room import Room, room_of
from rolekit.chat.search import Hit, like_escaped, search
from rolekit.chat.tree import ConversationInfo, Node, storable
from rolekit.errors import RolekitError
from rolekit.paths import chats_file

_INFO = """SELECT conversation.*, (SELECT count(*) FROM node
    WHERE node.conversation_id = conversation.id AND NOT node.deleted) AS messages FROM conversation"""


class Store:
    """The conversations in chats.db. A context manager; every method raises RolekitError when the disk fails.

    Nothing is ever removed from the file: what is deleted is marked, and can be brought back.
    """

    def __init__(self, path: Path | None = None) -> None:
        """path: another file than the user's own chats.db. Raises RolekitError where it cannot be opened."""
        self.database = Database(path or chats_file())

    @property
    def notice(self) -> str:
        """What the user should know about opening: a damaged file was set aside. Empty if all is well."""
        return self.database.notice

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def conversations(
        self, role_slug: str | None = None, search: str = "", limit: int = 1000
    ) -> list[ConversationInfo]:
        """Conversations, newest first: of one role, or whose title, name, role or messages have the words."""
        conditions = ["hidden_at IS NULL"]
        arguments: list[object] = []
        if role_slug is not None:
            conditions.append("role_slug = ?")
            arguments.append(role_slug)
        if search.strip():
            found = {hit.conversation_id for hit in self.search(search, limit=1000)}
            names = "title LIKE ? ESCAPE '\\' OR name LIKE ? ESCAPE '\\' OR role_name LIKE ? ESCAPE '\\'"
            conditions.append(f"({names} OR id IN ({','.join('?' * len(found))}))")
            arguments += [f"%{like_escaped(storable(search.strip()))}%"] * 3 + sorted(found)
        query = f"{_INFO} WHERE {' AND '.join(conditions)} ORDER BY updated_at DESC, rowid DESC LIMIT ?"
        return [_info(row) for row in self.database.read(query, [*arguments, limit])]

    def conversation(self, conversation_id: str) -> ConversationInfo:
        """One conversation. Raises RolekitError when there is none with this id."""
        rows = self.database.read(f"{_INFO} WHERE id = ?", (conversation_id,))
        if not rows:
            raise RolekitError(
                f"There is no conversation {conversation_id!r}.", "It may be in another chats.db."
            )
        return _info(rows[0])

    def room(self, conversation_id: str) -> Room | None:
        """The roles of a conversation with several; None where there is one."""
        return room_of(self.row(conversation_id)["extra"])

    def find(self, name: str, role_slug: str | None = None) -> ConversationInfo | None:
        """The newest conversation with this name (or this id), or None."""
        rows = self.database.read(
            f"""{_INFO} WHERE (name = :name OR id = :name) AND hidden_at IS NULL
                AND (:slug IS NULL OR role_slug = :slug) ORDER BY updated_at DESC, rowid DESC LIMIT 1""",
            {"name": storable(name), "slug": role_slug},
        )
        return _info(rows[0]) if rows else None

    def create(
        self,
        *,
        role_slug: str,
        role_name: str,
        user: str,
        model_label: str = "",
        seed: int = 0,
        name: str = "",
        title: str = "",
        created_at: float = 0.0,
        extra: str = "",
    ) -> ConversationInfo:
        """A new, empty conversation."""
        conversation_id = secrets.token_hex(8)
        now = created_at or time.time()
        values = (
            conversation_id,
            name,
            title,
            role_slug,
            role_name,
            user,
            model_label,
            seed,
            now,
            now,
            extra,
        )
        with self.database.writing() as connection:
            connection.execute(
                """INSERT INTO conversation(id, name, title, role_slug, role_name, user, model_label, seed,
                       created_at, updated_at, extra) VALUES (?,?,?,?,?,?,?,?,?,?,?)""",
                [storable(value) if isinstance(value, str) else value for value in values],
            )
        return self.conversation(conversation_id)

    def rename(self, conversation_id: str, title: str) -> None:
        """Give a conversation another title."""
        self._set(conversation_id, "title", storable(title))

    def set_name(self, conversation_id: str, name: str) -> None:
        """Give a conversation the name by which `--session` finds it."""
        self._set(conversation_id, "name", storable(name))

    def set_user(self, conversation_id: str, user: str) -> None:
        """Change the name that the role knows the user by."""
        self._set(conversation_id, "user", storable(user))

    def set_model(self, conversation_id: str, label: str) -> None:
        """Note which model answers now."""
        self._set(conversation_id, "model_label", storable(label))

    def set_seed(self, conversation_id: str, seed: int) -> None:
        """Change what the seeds of the next replies are drawn from."""
        self._set(conversation_id, "seed", seed)

    def set_extra(self, conversation_id: str, extra: str) -> None:
        """Keep what belongs to the conversation beside its messages (JSON)."""
        self._set(conversation_id, "extra", storable(extra))

    def set_fold(self, conversation_id: str, fold: FoldPoint) -> None:
        """Keep up to where the conversation is folded."""
        values = (fold.node_id, fold.context_tokens, fold.examples, conversation_id)
        with self.database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET fold_node=?, fold_context=?, fold_examples=? WHERE id=?", values
            )

    def delete_conversation(self, conversation_id: str) -> None:
        """Take a conversation out of the lists; restore_conversation brings it back."""
        self._set(conversation_id, "hidden_at", time.time())

    def restore_conversation(self, conversation_id: str = "") -> ConversationInfo | None:
        """Bring back a deleted conversation, the one deleted last by default; None when there is none."""
        rows = self.database.read(
            """SELECT id FROM conversation WHERE hidden_at IS NOT NULL AND (:id = '' OR id = :id)
               ORDER BY hidden_at DESC, rowid DESC LIMIT 1""",
            {"id": conversation_id},
        )
        if not rows:
            return None
        self._set(rows[0]["id"], "hidden_at", None)
        return self.conversation(rows[0]["id"])

    def search(self, text: str, *, conversation_id: str = "", limit: int = 50) -> list[Hit]:
        """Messages with all the words of text, newest first, on any branch."""
        return search(self.database, text, conversation_id=conversation_id, limit=limit)

    def path(self, conversation_id: str) -> list[Node]:
        """The messages of the active branch, first to last."""
        rows = self.database.read("SELECT head FROM conversation WHERE id = ?", (conversation_id,))
        return nodes.load_path(self.database, rows[0]["head"]) if rows else []

    def all_nodes(self, conversation_id: str) -> list[Node]:
        """Every version of every message, deleted ones too, parents before their children."""
        return nodes.load_all(self.database, conversation_id)

    def row(self, conversation_id: str) -> sqlite3.Row:
        """The conversation's row as it is on disk: head, seed, fold point, extra."""
        return self.database.read("SELECT * FROM conversation WHERE id = ?", (conversation_id,))[0]

    def _set(self, conversation_id: str, column: str, value: object) -> None:
        with self.database.writing() as connection:
            connection.execute(f"UPDATE conversation SET {column} = ? WHERE id = ?", (value, conversation_id))


def _info(row: sqlite3.Row) -> ConversationInfo:
    names = ConversationInfo.__slots__
    return ConversationInfo(**{name: row[name] for name in names})
