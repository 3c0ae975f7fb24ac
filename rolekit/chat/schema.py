"""The tables of chats.db, and how an older file becomes a current one."""

from __future__ import annotations

import sqlite3

from rolekit.errors import RolekitError

VERSION = 1

_TABLES = (
    """CREATE TABLE conversation(
        id TEXT PRIMARY KEY NOT NULL,
        name TEXT NOT NULL DEFAULT '',
        title TEXT NOT NULL DEFAULT '',
        role_slug TEXT NOT NULL,
        role_name TEXT NOT NULL,
        user TEXT NOT NULL,
        model_label TEXT NOT NULL DEFAULT '',
        seed INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        hidden_at REAL,
        head INTEGER,
        clock INTEGER NOT NULL DEFAULT 0,
        fold_node INTEGER,
        fold_context INTEGER NOT NULL DEFAULT 0,
        fold_examples INTEGER NOT NULL DEFAULT 0,
        extra TEXT NOT NULL DEFAULT '')""",
    "CREATE INDEX conversation_by_time ON conversation(updated_at)",
    """CREATE TABLE node(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id TEXT NOT NULL,
        parent_id INTEGER,
        speaker TEXT NOT NULL,
        text TEXT NOT NULL,
        token_ids BLOB NOT NULL DEFAULT x'',
        vocabulary TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL DEFAULT 'complete',
        stop_reason TEXT NOT NULL DEFAULT '',
        stats TEXT NOT NULL DEFAULT '',
        created_at REAL NOT NULL,
        pinned INTEGER NOT NULL DEFAULT 0,
        edited INTEGER NOT NULL DEFAULT 0,
        deleted INTEGER NOT NULL DEFAULT 0,
        active_at INTEGER NOT NULL DEFAULT 0,
        extra TEXT NOT NULL DEFAULT '')""",
    "CREATE INDEX node_by_parent ON node(conversation_id, parent_id, deleted)",
    """CREATE TABLE operation(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'done',
        node_id INTEGER,
        mark TEXT NOT NULL DEFAULT '',
        value INTEGER NOT NULL DEFAULT 0,
        head_before INTEGER,
        head_after INTEGER,
        at REAL NOT NULL)""",
    "CREATE INDEX operation_by_conversation ON operation(conversation_id, state)",
    # Trigrams find any three characters in a row, so words need no spaces between them: Chinese works.
    "CREATE VIRTUAL TABLE node_text USING fts5(text, content='node', content_rowid='id', tokenize='trigram')",
    """CREATE TRIGGER node_added AFTER INSERT ON node BEGIN
        INSERT INTO node_text(rowid, text) VALUES (new.id, new.text);
    END""",
    """CREATE TRIGGER node_changed AFTER UPDATE OF text ON node BEGIN
        INSERT INTO node_text(node_text, rowid, text) VALUES ('delete', old.id, old.text);
        INSERT INTO node_text(rowid, text) VALUES (new.id, new.text);
    END""",
)


def user_version(connection: sqlite3.Connection) -> int:
    """Which version of the tables the file has; 0 for a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def fault(connection: sqlite3.Connection) -> str:
    """What is wrong with the tables themselves; "" if nothing is, or a newer rolekit made them."""
    connection.execute("BEGIN")  # another process may be making them just now: see all of it or nothing
    try:
        made = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master")}
        version = user_version(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if version == 0 and made:
        return "it belongs to another program"
    if version == VERSION and not made.issuperset(_TABLES):
        return "its tables are not as they should be"
    return ""


def rebuild_index(connection: sqlite3.Connection) -> None:
    """Make the search index anew from the messages."""
    connection.execute("INSERT INTO node_text(node_text) VALUES ('rebuild')")


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables in a new file, in one transaction; leave a current one alone.

    Raises RolekitError for a file that a newer rolekit wrote.
    """
    version = user_version(connection)
    if version > VERSION:
        raise RolekitError(
            f"The chats were written by a newer rolekit (format {version}, this one knows {VERSION}).",
            "Upgrade rolekit; the file has not been touched.",
        )
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if user_version(connection) == 0:
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
