"""Beside the conversation: which lore fired, what was remembered, and how much is summed up."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from rolekit.chat.insets import Inset
from rolekit.chat.session import Session
from rolekit.text import count, one_line
from rolekit.tui.safe import cells

_CELLS = 31
_MOST = 4
"""Lines of one kind; /memory shows all."""
_TITLES = (("lore", "Lore fired"), ("recall", "Remembered"))


class MemoryPanel(Static):
    """What stands beside the user's newest message, in a few lines; nothing where nothing does."""

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def show(self, session: Session) -> None:
        """Show how it is now."""
        rows = _panel(session)
        self.display = bool(rows)
        self.update(Content("\n").join(rows))


def _panel(session: Session) -> list[Content]:
    woven = session.why()
    rows: list[Content] = []
    for kind, title in _TITLES:
        found = [inset for inset in woven.insets if inset.kind == kind] if woven else []
        if not found:
            continue
        rows.append(Content.styled(title, "$quiet"))
        rows += [Content(cells(f"• {_said(inset)}", _CELLS).rstrip()) for inset in found[:_MOST]]
        if len(found) > _MOST:
            rows.append(Content.styled(f"  {len(found) - _MOST} more: /memory", "$quiet"))
    if summaries := session.state.summaries:
        rows.append(Content.styled("Summed up", "$quiet"))
        noun = "stretch" if len(summaries) == 1 else "stretches"
        shown = len(session.state.shown)
        told = "all in the prompt" if shown == len(summaries) else f"{shown} in the prompt"
        rows.append(Content(f"• {count(len(summaries))} {noun}, {told}"))
    return rows


def _said(inset: Inset) -> str:
    if inset.kind == "lore":
        return one_line(f"{inset.label}  ({inset.why})", 80)
    return one_line(inset.label or inset.text, 80)
