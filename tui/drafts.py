"""What was typed and not yet sent, kept for every conversation."""

from __future__ import annotations

import json
from pathlib import Path

from rolekit.paths import home, write_text


class Drafts:
    """Unsent text by conversation; survives errors, quitting and a crash."""

    def __init__(self, path: Path | None = None) -> None:
        """path: in place of drafts.json in the user's folder; read at once."""
        self.path = path or home() / "drafts.json"
        self._texts = self._read()

    def get(self, conversation: str) -> str:
        """The unsent text of a conversation, empty if there is none."""
        return self._texts.get(conversation, "")

    def put(self, conversation: str, text: str) -> None:
        """Keep text on disk. Raises RolekitError where the disk refuses; the text stays in memory."""
        if self.get(conversation) == text:
            return
        if text.strip():
            self._texts[conversation] = text
        else:
            self._texts.pop(conversation, None)
        write_text(self.path, json.dumps(self._texts, ensure_ascii=False))

    def _read(self) -> dict[str, str]:
        try:
            texts = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(key): str(text) for key, text in texts.items()} if isinstance(texts, dict) else {}
