"""One SQLite file: opened with care, written in whole transactions, its faults told in one sentence."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rolekit.chat import salvage, schema
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir

Arguments = Sequence[object] | Mapping[str, object]

_BUSY_SECONDS = 10.0
_ALWAYS_CHECKED_BYTES = 256 * 2**20
"""A larger file is checked when damage was met in it before; the check reads all of it."""


class Database:
    """An open chats.db. Reads see what is committed; writes happen in `writing()` blocks, all or nothing.

    May be used from several threads; each write block runs alone. `notice` says what was done about a damaged
    file, and is empty otherwise. Raises RolekitError when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        """path: the file, made with its folder where there is none, for the user's eyes only (0600)."""
        self.path = path
        self._lock = threading.RLock()
        ensure_dir(path.parent)
        try:
            path.touch(0o600)  # what is said to a role is nobody else's business
            with _explained(path):
                self._connection, self.notice = _open(path)
        except OSError as error:
            raise RolekitError(
                f"The chats in {path} cannot be opened ({error.strerror or error}).",
                "Make the file readable and writable, or set ROLEKIT_HOME to another folder.",
            ) from error

    def read(self, sql: str, arguments: Arguments = ()) -> list[sqlite3.Row]:
        """The rows that a query gives."""
        with self._lock, _explained(self.path):
            return self._connection.execute(sql, arguments).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed when the block ends well, undone when it does not. Blocks may nest."""
        with self._lock, _explained(self.path):
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock, _explained(self.path):
            self._connection.close()


def _open(path: Path) -> tuple[sqlite3.Connection, str]:
    """A connection to a sound, current file, and the notice about the damaged one it replaces, if any."""
    seen = path.stat().st_ino if path.exists() else 0
    connection, fault = _try(path)
    if connection is not None:
        return connection, ""
    # Where another process was quicker, the damaged file is gone and the one in its place is sound.
    aside = salvage.set_aside(path) if path.exists() and path.stat().st_ino == seen else None
    connection, second_fault = _try(path)
    if connection is None:
        raise RolekitError(f"{path} cannot be used: {second_fault}.", "Move it elsewhere and start again.")
    if aside is None:
        return connection, ""
    try:
        rescued = salvage.copy_rows(aside, connection)
    except (OSError, sqlite3.DatabaseError):
        rescued = 0  # no room for a copy, or past help; the notice says so, and the file is still there
    what = f"{rescued} messages were rescued from it" if rescued else "nothing could be rescued from it"
    return connection, f"The chats were damaged ({fault}); the file was set aside as {aside} and {what}."


def _try(path: Path) -> tuple[sqlite3.Connection | None, str]:
    """A ready connection, or None and what is wrong with the file."""
    if fault := salvage.header_fault(path):
        return None, fault
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    with ExitStack() as on_failure:
        on_failure.callback(connection.close)
        try:
            connection.row_factory = sqlite3.Row
            connection.text_factory = _text
            fault = _fault(connection, path)
            if not fault:
                _use_wal(connection)
                connection.execute("PRAGMA synchronous=FULL")
                schema.prepare(connection)
                on_failure.pop_all()
                return connection, ""
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            fault = str(error)
        except UnicodeDecodeError:
            fault = "its names are not text"
    return None, fault


def _fault(connection: sqlite3.Connection, path: Path) -> str:
    """What is wrong with the file, or "". A search index that met damage is made anew on the way."""
    if fault := schema.fault(connection):
        return fault
    suspected = _suspicion(path)
    if path.stat().st_size > _ALWAYS_CHECKED_BYTES and not suspected.exists():
        return ""
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found == "ok" and suspected.exists() and schema.user_version(connection) == schema.VERSION:
        schema.rebuild_index(connection)
    suspected.unlink(missing_ok=True)
    return "" if found == "ok" else " ".join(found.split())


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; where two processes try at once, the busy timeout does not help."""
    give_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != "SQLITE_BUSY" or time.monotonic() > give_up:
                raise
        time.sleep(0.02)


def _text(raw: bytes) -> str:
    """Text as it stands on disk; a damaged byte in it must not hide the rest."""
    return raw.decode("utf-8", "replace")


def _suspicion(path: Path) -> Path:
    """The empty file that asks for a check of the database when it is opened next."""
    return path.with_name(f"{path.name}.check")


def _code(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _is_damage(error: sqlite3.Error) -> bool:
    if _code(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return True
    return any(words in str(error) for words in ("malformed", "unsupported file format"))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the disk or another process did to us into a sentence; bugs stay as they are."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = _code(error)
        if code.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            advice = "Free some disk space and try again; everything saved before is still there."
            raise RolekitError(f"The chat could not be saved in {path} ({error}).", advice) from error
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            advice = "Wait a moment and try again."
            raise RolekitError(f"Another program keeps {path} locked.", advice) from error
        if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            advice = "Make it writable, or set ROLEKIT_HOME to a folder that is."
            raise RolekitError(f"rolekit cannot write to {path} ({error}).", advice) from error
        if _is_damage(error):
            with suppress(OSError):
                _suspicion(path).touch()
            advice = "Start rolekit again: it mends the file, or sets it aside and rescues what can be read."
            raise RolekitError(f"The chats in {path} are damaged ({error}).", advice) from error
        if "fts5" in str(error) or "trigram" in str(error):
            version = sqlite3.sqlite_version
            advice = "Use a Python built with SQLite 3.34 or newer with FTS5."
            raise RolekitError(f"This Python's SQLite ({version}) cannot search text.", advice) from error
        raise
