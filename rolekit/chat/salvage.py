"""A damaged chats.db: set aside, never overwritten, and what can still be read is copied into a new one."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_TABLES = ("conversation", "node", "operation")


_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100


def header_fault(path: Path) -> str:
    """What is wrong with the file's first bytes; "" if nothing is, or the file is new.

    To be asked before SQLite opens it: SQLite takes an emptied or foreign file for a new one, and drops its log.
    """
    if not path.exists():
        return ""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    wal = path.with_name(path.name + "-wal")
    if not start:
        return "it is empty" if wal.exists() and wal.stat().st_size else ""
    return "" if start == _MAGIC else "it does not begin like a database"


def set_aside(path: Path) -> Path:
    """The new place of the file (NAME.damaged-TIME), with its -wal and -shm beside it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    return aside


def copy_rows(damaged: Path, target: sqlite3.Connection) -> int:
    """How many messages were rescued into target. The damaged file itself is only read, through a copy."""
    with tempfile.TemporaryDirectory(dir=damaged.parent, prefix="salvage-") as folder:
        copy = Path(folder) / "copy.db"
        shutil.copyfile(damaged, copy)
        wal = damaged.with_name(damaged.name + "-wal")
        if wal.exists():
            shutil.copyfile(wal, copy.with_name("copy.db-wal"))
        if header_fault(copy):
            _borrow_header(copy, target)
        with closing(sqlite3.connect(copy, isolation_level=None)) as source:
            source.row_factory = sqlite3.Row
            source.text_factory = lambda raw: raw.decode("utf-8", "replace")
            target.execute("BEGIN IMMEDIATE")
            try:
                rescued = {table: _copy_table(source, target, table) for table in _TABLES}
                _mend(target)
                target.execute("COMMIT")
            finally:
                if target.in_transaction:
                    target.execute("ROLLBACK")
    return rescued["node"]


def _borrow_header(copy: Path, target: sqlite3.Connection) -> None:
    """Give the copy a sound file header (SQLite's file format, §1.3); its pages may be whole behind a broken one."""
    header = bytearray(target.serialize()[:_HEADER_BYTES])
    header[24:28] = (
        b"\1\1\1\1"  # a change counter unlike the one at 92: the page count is taken from the file's size
    )
    header[32:40] = bytes(8)  # no free pages
    with copy.open("r+b") as file:
        file.write(header)


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    known = {row["name"] for row in target.execute(f"PRAGMA table_info({table})")}
    copied = 0
    for order in ("ASC", "DESC"):  # from both ends, up to the damaged page in the middle
        for row in _readable(source, f"SELECT rowid AS rowid_, * FROM {table} ORDER BY rowid {order}"):
            columns = [name for name in row.keys() if name in known]  # noqa: SIM118 (a Row iterates its values)
            marks = ",".join("?" * len(columns))
            values = [row[name] for name in columns]
            insert = f"INSERT OR IGNORE INTO {table}({','.join(columns)}) VALUES ({marks})"
            copied += target.execute(insert, values).rowcount
    return copied


def _readable(source: sqlite3.Connection, query: str) -> Iterator[sqlite3.Row]:
    """Rows until the first that cannot be read."""
    try:
        yield from source.execute(query)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return


def _mend(target: sqlite3.Connection) -> None:
    """Give messages without a conversation one, and conversations without their newest message another."""
    target.execute(
        """INSERT INTO conversation(id, title, role_slug, role_name, user, created_at, updated_at, head)
           SELECT conversation_id, 'rescued', '', 'Role', 'You', min(created_at), max(created_at), max(id)
           FROM node WHERE conversation_id NOT IN (SELECT id FROM conversation) GROUP BY conversation_id"""
    )
    target.execute(
        """UPDATE conversation
           SET head = (SELECT max(id) FROM node WHERE conversation_id = conversation.id AND NOT deleted)
           WHERE head IS NOT NULL AND head NOT IN (SELECT id FROM node)"""
    )
