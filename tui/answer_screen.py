"""An answer to change, in a box of its own."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from rolekit.synthesis.audit import MOST_LETTERS
from rolekit.tui.safe import line, plain


class AnswerArea(TextArea):
    """The answer; what is pasted is cleaned."""

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert(plain(event.text[:MOST_LETTERS]))


class AnswerScreen(ModalScreen[str]):
    """Asks for another answer; ^S gives it, Esc gives nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "Keep it", show=False, priority=True),
        Binding("escape", "cancel", "Leave it", show=False, priority=True),
    ]

    def __init__(self, question: str, answer: str) -> None:
        """answer: what stands in the field to begin with, cleaned and cut."""
        super().__init__()
        self._question, self._answer = question, plain(answer)[:MOST_LETTERS]

    def compose(self) -> ComposeResult:
        """The question, the answer, the keys."""
        with Vertical(id="answer-box"):
            yield Static(line(self._question, "bold", 300), markup=False)
            yield AnswerArea(self._answer, soft_wrap=True, compact=True, show_line_numbers=False)
            yield Static(Content.styled("^S keep and accept · Esc leave it", "$quiet"), markup=False)

    def on_mount(self) -> None:
        """One goes on writing at the end."""
        area = self.query_one(AnswerArea)
        area.move_cursor(area.document.end)

    def action_keep(self) -> None:
        """Hand the answer over."""
        self.dismiss(self.query_one(AnswerArea).text.strip())

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.dismiss("")
