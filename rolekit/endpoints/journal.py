"""The journal of paid requests: each is written down before it is sent, and its answer before it is used."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rolekit.endpoints.calls import Answer, Call
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir

_VERSION = 1
_SCHEMA = """
CREATE TABLE request (
    key            TEXT PRIMARY KEY,
    model          TEXT NOT NULL,
    base_url       TEXT NOT NULL,
    prompt_version TEXT NOT NULL,
    messages       TEXT NOT NULL,
    first_sent     REAL,
    sent           INTEGER NOT NULL DEFAULT 0,
    reserved_usd   REAL NOT NULL DEFAULT 0,
    answered       REAL,
    answer         TEXT,
    usd            REAL NOT NULL DEFAULT 0,
    lost_usd       REAL NOT NULL DEFAULT 0,
    failure        TEXT NOT NULL DEFAULT ''
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a journal has cost so far."""

    requests: int
    """Different requests that were sent."""
    sent: int
    """HTTP requests sent for them, repetitions included."""
    answered: int
    usd: float
    """Paid for answers that are in the journal."""
    lost_usd: float
    """At most this was paid for requests whose answers never arrived: killed or cut off in between."""
    prompt_tokens: int
    completion_tokens: int


def spending_in(path: Path) -> Spending | None:
    """What the journal at path has cost so far, for those who watch another process; None where it cannot be read."""
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=1)) as db:
            db.execute("PRAGMA query_only=1")
            return _spending(db)
    except sqlite3.Error:
        return None


def _spending(db: sqlite3.Connection) -> Spending:
    row = db.execute(
        "SELECT count(*), total(sent), count(answer), total(usd), total(lost_usd),"
        " total(json_extract(answer, '$.usage.prompt_tokens')),"
        " total(json_extract(answer, '$.usage.completion_tokens')) FROM request"
    ).fetchone()
    return Spending(row[0], int(row[1]), row[2], row[3], row[4], int(row[5]), int(row[6]))


class Journal:
    """An SQLite file (WAL) of requests, keyed by Call.key. Survives kill -9: what was answered stays answered.

    Never holds a key; every write is a transaction of its own. Use it in one process, and
    in one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        """Open or begin it. Raises RolekitError when the file is no journal or cannot be written."""
        ensure_dir(path.parent)
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
        except sqlite3.Error as error:
            raise RolekitError(
                f"The journal {path} cannot be used ({error}).", "Move it away; a new one is begun then."
            ) from error
        if version not in (0, _VERSION):
            self._db.close()
            raise RolekitError(
                f"The journal {path} was written by another version of rolekit (format {version}).",
                "Use that version, or begin a new run folder.",
            )
        self._settle_orphans()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, whatever happened in the block: every write was committed by itself."""
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._db.close()

    def answer(self, key: str) -> Answer | None:
        """The answer that has already arrived for this key."""
        row = self._db.execute(
            "SELECT answer FROM request WHERE key=? AND answer IS NOT NULL", (key,)
        ).fetchone()
        return Answer.from_json(row[0]) if row else None

    def sending(self, call: Call, reserved_usd: float) -> None:
        """Write down that an HTTP request is about to be sent, and what it may cost at most."""
        messages = json.dumps([[m.speaker, m.text] for m in call.messages], ensure_ascii=False)
        messages = messages.encode("utf-8", "replace").decode("utf-8")
        endpoint, now = call.endpoint, time.time()
        self._write(
            "INSERT INTO request(key, model, base_url, prompt_version, messages, first_sent, sent, reserved_usd)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, ?)"
            " ON CONFLICT(key) DO UPDATE SET sent = sent + 1, reserved_usd = excluded.reserved_usd, failure = ''",
            (call.key, endpoint.model, endpoint.base_url, call.prompt_version, messages, now, reserved_usd),
        )

    def arrived(self, key: str, answer: Answer, usd: float) -> None:
        """Keep an answer and what it cost; only then may it be used."""
        self._write(
            "UPDATE request SET answer=?, answered=?, usd=?, reserved_usd=0, failure='' WHERE key=?",
            (answer.to_json(), time.time(), usd, key),
        )

    def failed(self, key: str, reason: str, lost_usd: float = 0.0) -> None:
        """Write down that a request got no answer, and what may have been paid for it all the same."""
        self._write(
            "UPDATE request SET failure=?, lost_usd = lost_usd + ?, reserved_usd=0 WHERE key=?",
            (reason, lost_usd, key),
        )

    def spending(self) -> Spending:
        """What it has cost so far."""
        return _spending(self._db)

    def failures(self) -> dict[str, int]:
        """The reasons why requests have no answer, each with how many."""
        rows = self._db.execute(
            "SELECT failure, count(*) FROM request WHERE answer IS NULL AND failure != '' GROUP BY failure"
        )
        return dict(rows.fetchall())

    def _settle_orphans(self) -> None:
        """Requests that were under way when the last process died may have been paid for."""
        self._write(
            "UPDATE request SET lost_usd = lost_usd + reserved_usd, reserved_usd = 0, failure = 'interrupted'"
            " WHERE answer IS NULL AND failure = '' AND sent > 0",
            (),
        )

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise RolekitError(
                f"The journal {self.path} cannot be written ({error}).",
                "Free some disk space, then run the same command again; what was answered is kept.",
            ) from error
