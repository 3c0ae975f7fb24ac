"""F1: what the place that has the focus is for, and its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from rolekit.chat.slash import COMMANDS
from rolekit.tui.safe import cells, content


@dataclass(frozen=True, slots=True)
class HelpText:
    """What a widget says about itself; a widget offers it as `help_text`."""

    title: str
    text: str
    keys: tuple[tuple[str, str], ...]
    commands: bool = False
    """Whether the slash commands are listed too."""


EVERYWHERE: tuple[tuple[str, str], ...] = (
    ("F2 F3 F4 F5 F6", "roles, chat, bench, synthesis, train"),
    ("Ctrl+P", "command palette: everything by name"),
    ("Ctrl+B", "show or fold the conversations"),
    ("F1", "this help"),
    ("Ctrl+Q", "quit; everything is saved"),
)

_COMMAND_ROWS = tuple((f"/{one.name} {one.argument}".rstrip(), one.meaning) for one in COMMANDS)

NOWHERE = HelpText("rolekit", "Press Tab until something has the focus, then F1 explains it.", ())


def help_for(focused: Widget | None) -> HelpText:
    """The help of the focused widget, or of the nearest one around it that has some."""
    for node in focused.ancestors_with_self if focused else ():
        found = getattr(node, "help_text", None)
        if isinstance(found, HelpText):
            return found
    return NOWHERE


class HelpScreen(ModalScreen[None]):
    """One page of help over the screen; Esc or F1 closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q,enter", "dismiss", "Close", show=False)]

    def __init__(self, help_text: HelpText) -> None:
        super().__init__()
        self._help = help_text

    def compose(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(id="help"):
            yield Static(content(self._help.title, "bold $primary"), markup=False)
            yield Static(content(self._help.text, "$quiet"), classes="lead", markup=False)
            yield Rows(self._help.keys)
            if self._help.commands:
                yield Static(Content.styled("Commands", "bold"), classes="lead", markup=False)
                yield Rows(_COMMAND_ROWS)
            yield Static(Content.styled("Everywhere", "bold"), classes="lead", markup=False)
            yield Rows(EVERYWHERE)
            yield Static(Content.styled("Esc closes this page", "$quiet"), classes="lead", markup=False)


class Rows(Widget):
    """Two columns, the right one wrapped within itself."""

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        """rows: left and right text; the left column is as wide as its widest one."""
        super().__init__(classes="rows")
        self._rows = rows
        self._column = max((cell_len(left) for left, _ in rows), default=0) + 2

    def _lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for left, right in self._rows:
            first = Content.styled(cells(left, self._column), "bold")
            for part in Content(right).wrap(max(8, width - self._column)):
                lines.append(first + part)
                first = Content(" " * self._column)
        return lines

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the wrapped rows take."""
        return len(self._lines(width))

    def render(self) -> Content:
        """The rows at the present width."""
        return Content("\n").join(self._lines(self.size.width))
