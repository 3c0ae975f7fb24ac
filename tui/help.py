"""F1: what the place that has the focus is for, and its keys."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from rolekit.chat.slash import help_lines
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
    ("F2 F3", "roles, chat"),
    ("Ctrl+P", "command palette: everything by name"),
    ("Ctrl+B", "show or fold the conversations"),
    ("F1", "this help"),
    ("Ctrl+Q", "quit; everything is saved"),
)

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

    BINDINGS = [Binding("escape,f1,q,enter", "dismiss", "Close", show=False)]

    def __init__(self, help_text: HelpText) -> None:
        super().__init__()
        self._help = help_text

    def compose(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(id="help"):
            yield Static(content(self._help.title, "bold $primary"), markup=False)
            yield Static(content(self._help.text, "$quiet"), classes="lead", markup=False)
            yield Static(_rows(self._help.keys), classes="rows", markup=False)
            if self._help.commands:
                yield Static(Content.styled("Commands", "bold"), classes="lead", markup=False)
                yield Static(Content("\n".join(help_lines())), classes="rows", markup=False)
            yield Static(Content.styled("Everywhere", "bold"), classes="lead", markup=False)
            yield Static(_rows(EVERYWHERE), classes="rows", markup=False)
            yield Static(Content.styled("Esc closes this page", "$quiet"), classes="lead", markup=False)


def _rows(rows: tuple[tuple[str, str], ...]) -> Content:
    width = max((len(keys) for keys, _ in rows), default=0) + 2
    return Content("\n").join(
        Content.assemble((cells(keys, width), "bold"), meaning) for keys, meaning in rows
    )
