"""Lines to read and close again: the prompt, or why something was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from rolekit.text import sanitize


class LinesScreen(ModalScreen[None]):
    """A heading and lines, scrolled by keys and wheel."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1", "dismiss", "Close", show=False)]

    def __init__(self, heading: str, lines: Sequence[str]) -> None:
        """heading, lines: any text; it is cleaned here."""
        super().__init__()
        self._heading, self._lines = heading, lines

    def compose(self) -> ComposeResult:
        """The heading, the lines, and how to leave."""
        with Vertical(id="report"):
            yield Static(Content.styled(sanitize(self._heading), "bold $primary"), markup=False)
            with VerticalScroll(id="lines"):
                yield Static(Content(sanitize("\n".join(self._lines))), markup=False)
            yield Static(Content.styled("↑ ↓ scroll   Esc closes", "$quiet"), markup=False)

    def on_mount(self) -> None:
        """Let the keys scroll at once."""
        self.query_one("#lines").focus()
