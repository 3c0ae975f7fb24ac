"""Reading and writing the messages of a conversation's tree."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rolekit.chat.database import Database
from rolekit.chat.tree import STORED, Node, State, node_from_row, pack_ids, pack_stats, storable
from rolekit.errors import RolekitError
from rolekit.messages import Speaker, Stats, StopReason

_COLUMNS = ", ".join(f"node.{name}" for name in STORED)

# A parent is always older than its child, so that even a damaged file cannot send this in circles.
_ANCESTORS = """WITH RECURSIVE up(id, parent_id, height) AS (
    SELECT id, parent_id, 0 FROM node WHERE id = :head
    UNION ALL SELECT node.id, node.parent_id, up.height + 1
        FROM up JOIN node ON node.id = up.parent_id AND node.id < up.id)"""

_DESCENDANTS = """WITH RECURSIVE down(id) AS (
    SELECT :top UNION ALL
    SELECT node.id FROM down JOIN node
        ON node.conversation_id = :conversation AND node.parent_id = down.id AND node.id > down.id)"""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before the database has numbered it."""

    speaker: Speaker
    text: str
    token_ids: Sequence[int] = ()
    vocabulary: str = ""
    state: State = "complete"
    stop_reason: StopReason | Literal[""] = ""
    stats: Stats | None = None
    created_at: float = 0.0
    """0 means now."""
    pinned: bool = False
    edited: bool = False
    deleted: bool = False
    extra: str = ""


def insert(connection: sqlite3.Connection, conversation_id: str, parent_id: int | None, draft: Draft) -> int:
    """The id of the new node, a child of parent_id."""
    cursor = connection.execute(
        """INSERT INTO node(conversation_id, parent_id, speaker, text, token_ids, vocabulary, state, stop_reason,
               stats, created_at, pinned, edited, deleted, extra) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)""",
        (
            conversation_id,
            parent_id,
            draft.speaker,
            storable(draft.text),
            pack_ids(draft.token_ids),
            draft.vocabulary,
            draft.state,
            draft.stop_reason,
            pack_stats(draft.stats),
            draft.created_at or time.time(),
            draft.pinned,
            draft.edited,
            draft.deleted,
            draft.extra,
        ),
    )
    return int(cursor.lastrowid or 0)


def replace(connection: sqlite3.Connection, node_id: int, draft: Draft) -> None:
    """Put the text a stream has reached into its node, and how the reply ended."""
    connection.execute(
        "UPDATE node SET text=?, token_ids=?, vocabulary=?, state=?, stop_reason=?, stats=?, extra=? WHERE id=?",
        (
            storable(draft.text),
            pack_ids(draft.token_ids),
            draft.vocabulary,
            draft.state,
            draft.stop_reason,
            pack_stats(draft.stats),
            draft.extra,
            node_id,
        ),
    )


def set_head(connection: sqlite3.Connection, conversation_id: str, head: int | None) -> None:
    """Make head the last message of the active branch."""
    connection.execute(
        "UPDATE conversation SET head=?, clock=clock+1, updated_at=max(updated_at, ?) WHERE id=?",
        (head, time.time(), conversation_id),
    )
    connection.execute(
        "UPDATE node SET active_at=(SELECT clock FROM conversation WHERE id=?) WHERE id=?",
        (conversation_id, head),
    )


def load(database: Database, node_id: int) -> Node:
    """One node. Raises RolekitError when there is none with this id."""
    found = _nodes(database, database.read(f"SELECT {_COLUMNS} FROM node WHERE id=?", (node_id,)))
    if not found:
        raise RolekitError(f"There is no message {node_id}.", "It may belong to another chats.db.")
    return found[0]


def load_path(database: Database, head: int | None) -> list[Node]:
    """The messages from the first to head, without the deleted ones."""
    query = (
        f"{_ANCESTORS} SELECT {_COLUMNS} FROM up JOIN node USING (id) WHERE NOT deleted ORDER BY height DESC"
    )
    return _nodes(database, database.read(query, {"head": head}))


def load_all(database: Database, conversation_id: str) -> list[Node]:
    """Every node of the tree, deleted ones too, parents before their children."""
    query = f"SELECT {_COLUMNS} FROM node WHERE conversation_id=? ORDER BY id"
    return _nodes(database, database.read(query, (conversation_id,)))


def load_versions(database: Database, node: Node) -> list[Node]:
    """The versions of node that are not deleted, oldest first."""
    query = f"""SELECT {_COLUMNS} FROM node
        WHERE conversation_id=? AND parent_id IS ? AND NOT deleted ORDER BY id"""
    return _nodes(database, database.read(query, (node.conversation_id, node.parent_id)))


def _nodes(database: Database, rows: list[sqlite3.Row]) -> list[Node]:
    """The nodes in rows of one conversation, numbered among their versions."""
    if not rows:
        return []
    query = """SELECT parent_id, group_concat(id) FROM node WHERE conversation_id=? AND NOT deleted
        GROUP BY parent_id HAVING count(*) > 1"""
    forks = {parent: sorted(map(int, ids.split(","))) for parent, ids in database.read(query, (rows[0][1],))}
    return [node_from_row(row, forks.get(row[2], ())) for row in rows]


def count_versions(database: Database, conversation_id: str, parent_id: int | None) -> int:
    """How many children parent_id ever had, deleted ones too."""
    query = "SELECT count(*) FROM node WHERE conversation_id=? AND parent_id IS ?"
    return int(database.read(query, (conversation_id, parent_id))[0][0])


def latest_leaf(database: Database, node: Node) -> int:
    """Where the branch through node was left: the most recently active of node and its descendants."""
    query = f"""{_DESCENDANTS} SELECT node.id FROM down JOIN node USING (id)
        WHERE NOT node.deleted ORDER BY node.active_at DESC, node.id DESC LIMIT 1"""
    rows = database.read(query, {"top": node.id, "conversation": node.conversation_id})
    return int(rows[0][0]) if rows else node.id


def live_ancestor(database: Database, node_id: int | None) -> int | None:
    """node_id, or its nearest ancestor that is not deleted; None when the branch is empty."""
    query = f"{_ANCESTORS} SELECT id FROM up JOIN node USING (id) WHERE NOT deleted ORDER BY height LIMIT 1"
    rows = database.read(query, {"head": node_id})
    return int(rows[0][0]) if rows else None
