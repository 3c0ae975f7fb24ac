"""A single question with one line for the answer."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from rolekit.text import one_line
from rolekit.tui.safe import content


class AskScreen(ModalScreen[str]):
    """Asks for one line of text; Enter gives it, Esc gives nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Leave it", show=False)]

    def __init__(self, question: str, value: str = "", *, limit: int = 200) -> None:
        """value: what stands in the line to begin with; limit: characters it takes."""
        super().__init__()
        self._question = question
        self._limit = limit
        self._value = one_line(value, limit)

    def compose(self) -> ComposeResult:
        """The question, the line, the keys."""
        with Vertical(id="ask"):
            yield Static(content(self._question, "bold"), markup=False)
            yield Input(self._value, compact=True, max_length=self._limit)
            yield Static(Content.styled("Enter ok · Esc leave it", "$quiet"), markup=False)

    @on(Input.Submitted)
    def _answered(self, event: Input.Submitted) -> None:
        self.dismiss(one_line(event.value, self._limit))

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.dismiss("")
