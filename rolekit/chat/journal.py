"""What was done to a conversation, step by step, so that it can be undone and redone, also after a restart.

A step moves the head, and may set or clear one mark of one node. Undoing restores both; nothing is removed.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Literal

from rolekit.chat import nodes
from rolekit.chat.database import Database

Kind = Literal["say", "regenerate", "continue", "edit", "delete", "swipe", "pin", "show"]
Mark = Literal["", "deleted", "pinned"]

_LABELS: dict[str, str] = {
    "say": "your message",
    "regenerate": "the new version",
    "continue": "the continuation",
    "edit": "the edit",
    "delete": "the deletion",
    "swipe": "the change of version",
    "pin": "the pin",
    "show": "the jump to another branch",
}


def record(
    connection: sqlite3.Connection,
    conversation_id: str,
    kind: Kind,
    head_before: int | None,
    head_after: int | None,
    *,
    node_id: int | None = None,
    mark: Mark = "",
    value: bool = False,
) -> int:
    """The id of the new step, which has been carried out: head moved, mark set. What was undone cannot be redone."""
    connection.execute(
        "UPDATE operation SET state='dropped' WHERE conversation_id=? AND state='undone'", (conversation_id,)
    )
    cursor = connection.execute(
        """INSERT INTO operation(conversation_id, kind, node_id, mark, value, head_before, head_after, at)
           VALUES (?,?,?,?,?,?,?,?)""",
        (conversation_id, kind, node_id, mark, value, head_before, head_after, time.time()),
    )
    _set_mark(connection, mark, node_id, value)
    nodes.set_head(connection, conversation_id, head_after)
    return int(cursor.lastrowid or 0)


def extend(connection: sqlite3.Connection, conversation_id: str, step_id: int, head: int) -> None:
    """Let a step end one message further on: the reply that belongs to it has begun."""
    connection.execute("UPDATE operation SET head_after=? WHERE id=?", (head, step_id))
    nodes.set_head(connection, conversation_id, head)


def take_back(database: Database, conversation_id: str, step_id: int | None = None) -> str:
    """Undo the latest step, or the one named; a sentence that says so, or "" when there is none."""
    query = """SELECT * FROM operation WHERE conversation_id=:conversation AND state='done'
        AND (:step IS NULL OR id=:step) ORDER BY id DESC LIMIT 1"""
    return _move(database, query, {"conversation": conversation_id, "step": step_id}, again=False)


def do_again(database: Database, conversation_id: str) -> str:
    """Redo the step that was undone last; a sentence that says so, or "" when there is none."""
    query = (
        "SELECT * FROM operation WHERE conversation_id=:conversation AND state='undone' ORDER BY id LIMIT 1"
    )
    return _move(database, query, {"conversation": conversation_id}, again=True)


def _move(database: Database, query: str, arguments: dict[str, object], *, again: bool) -> str:
    with database.writing() as connection:
        step = connection.execute(query, arguments).fetchone()
        if step is None:
            return ""
        connection.execute(
            "UPDATE operation SET state=? WHERE id=?", ("done" if again else "undone", step["id"])
        )
        _set_mark(connection, step["mark"], step["node_id"], bool(step["value"]) == again)
        nodes.set_head(connection, step["conversation_id"], step["head_after" if again else "head_before"])
    return f"{'Brought' if again else 'Took'} back {_LABELS[step['kind']]}."


def _set_mark(connection: sqlite3.Connection, mark: str, node_id: int | None, value: bool) -> None:
    if mark == "deleted":
        connection.execute("UPDATE node SET deleted=? WHERE id=?", (value, node_id))
    elif mark == "pinned":
        connection.execute("UPDATE node SET pinned=? WHERE id=?", (value, node_id))
