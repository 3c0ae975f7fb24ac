"""A conversation as one JSON object that loses nothing: every version, every mark, every undone step."""

from __future__ import annotations

import json
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from rolekit.chat.state import renumbered
from rolekit.chat.store import Store
from rolekit.chat.tree import pack_ids, storable, unpack_ids
from rolekit.errors import RolekitError

_FORMAT = "rolekit-conversation"
_VERSION = 1
_TIMES = ("created_at", "updated_at", "hidden_at", "at")
_LATEST = 1e11
"""Seconds; what calendars can show ends there or later."""
_FAULTS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What a file of another kind, or one that somebody has edited, may raise."""
_OTHER_NODES = {
    "conversation": ("head", "fold_node"),
    "node": ("parent_id",),
    "operation": ("node_id", "head_before", "head_after"),
}


def to_json(store: Store, conversation_id: str) -> str:
    """The whole tree. Token ids are lists of numbers, times are Unix seconds."""
    store.conversation(conversation_id)
    read = store.database.read
    nodes = [
        dict(row)
        for row in read("SELECT * FROM node WHERE conversation_id=? ORDER BY id", (conversation_id,))
    ]
    for node in nodes:
        node["token_ids"] = list(unpack_ids(node["token_ids"]))
    steps = read("SELECT * FROM operation WHERE conversation_id=? ORDER BY id", (conversation_id,))
    whole = {
        "format": _FORMAT,
        "version": _VERSION,
        "conversation": dict(store.row(conversation_id)),
        "nodes": nodes,
        "operations": [dict(step) for step in steps],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def import_json(store: Store, path: Path) -> str:
    """The id of the new conversation, the same in all but its numbers as the one that to_json wrote.

    Raises RolekitError, with nothing imported, when the file is not one of those.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"))
        if whole["format"] != _FORMAT or whole["version"] > _VERSION:
            raise ValueError(f"its format is {whole['format']} {whole['version']}")
        conversation, nodes, steps = whole["conversation"], whole["nodes"], whole["operations"]
        conversation_id = secrets.token_hex(8)
        with store.database.writing():
            numbers: dict[int | None, int | None] = {None: None}
            for node in nodes:
                ids = pack_ids(node["token_ids"])
                numbers[node["id"]] = _insert(
                    store, "node", {**node, "token_ids": ids}, conversation_id, numbers
                )
            for step in steps:
                _insert(store, "operation", step, conversation_id, numbers)
            conversation["extra"] = renumbered(str(conversation.get("extra", "")), numbers)
            _insert(store, "conversation", conversation, conversation_id, numbers)
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}).", "Check the path."
        ) from error
    except _FAULTS as error:
        raise RolekitError(
            f"{path} is not a conversation that rolekit exported ({type(error).__name__}: {error}).",
            "Export it again with /export NAME.json.",
        ) from error
    return conversation_id


def _insert(
    store: Store, table: str, row: dict[str, Any], conversation_id: str, numbers: dict[int | None, int | None]
) -> int:
    """The number of the new row: row with the conversation's new id, and its links to nodes renumbered."""
    known = {column["name"] for column in store.database.read(f"PRAGMA table_info({table})")}
    own = "id" if table == "conversation" else "conversation_id"
    values = {name: value for name, value in row.items() if name in known and name != "id"}
    values[own] = conversation_id
    for name in _TIMES:
        if values.get(name) is not None and not 0 <= values[name] < _LATEST:
            raise ValueError(f"{name} is no time")
    values |= {name: numbers[values[name]] for name in _OTHER_NODES[table] if name in values}
    clean = [storable(value) if isinstance(value, str) else value for value in values.values()]
    marks = ",".join("?" * len(clean))
    with store.database.writing() as connection:
        cursor = connection.execute(f"INSERT INTO {table}({','.join(values)}) VALUES ({marks})", clean)
    return int(cursor.lastrowid or 0)
