"""A conversation as a file: Markdown to read, JSON to keep, SillyTavern's JSONL to take elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rolekit.chat.archive import to_json
from rolekit.chat.sillytavern import to_sillytavern
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.errors import RolekitError
from rolekit.paths import write_text
from rolekit.text import one_line, sanitize


def to_markdown(store: Store, conversation_id: str) -> str:
    """The active branch as Markdown, safe to print."""
    info = store.conversation(conversation_id)
    day = time.strftime("%Y-%m-%d", time.localtime(info.created_at))
    head = f"# {one_line(info.title or info.role_name, 200)}\n\n*{one_line(info.role_name, 200)}, {day}*\n"
    return "\n".join([head, *(_markdown(info, node) for node in store.path(conversation_id))])


def write_export(store: Store, conversation_id: str, path: Path) -> None:
    """Write the conversation to path; its ending chooses the format: .md, .json or .jsonl (SillyTavern).

    Raises RolekitError for another ending, for a file that is there already, and when the place cannot be written.
    """
    formats = {".md": to_markdown, ".json": to_json, ".jsonl": to_sillytavern}
    form = formats.get(path.suffix.lower())
    if form is None:
        raise RolekitError(
            f"The ending of {path.name} names no format.", "Use .md, .json or .jsonl (SillyTavern's)."
        )
    if os.path.lexists(path):
        raise RolekitError(f"{one_line(str(path), 300)} is there already.", "Choose another name.")
    write_text(path, form(store, conversation_id))


def _markdown(info: ConversationInfo, node: Node) -> str:
    name = node.name or {"user": info.user, "assistant": info.role_name, "system": "Note"}[node.speaker]
    mark = " *(stopped)*" if node.state == "stopped" else ""
    return f"**{one_line(name, 200)}:**{mark} {sanitize(node.text).strip()}\n"
