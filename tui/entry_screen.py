"""One lorebook entry to edit: keys one a line, and the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from rolekit.tui.help import HelpText
from rolekit.tui.safe import line, plain


@dataclass(frozen=True, slots=True)
class Wording:
    """What of an entry can be changed here."""

    keys: tuple[str, ...]
    secondary: tuple[str, ...]
    content: str


class EntryScreen(ModalScreen[Wording | None]):
    """Gives the new wording, or None where it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", show=False, priority=True),
        Binding("escape", "leave", "Leave it", show=False, priority=True),
        Binding("tab", "app.focus_next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", show=False, priority=True),
    ]
    help_text = HelpText(
        "A lorebook entry",
        "Each line of the keys is one key; /…/i is a regular expression. Lines of the text that begin with @@ are "
        "V3 decorators.",
        (("Tab", "to the next field"), ("Ctrl+S", "save"), ("Esc", "leave it as it was")),
    )

    def __init__(self, label: str, wording: Wording) -> None:
        """label: what the entry is called above the fields; wording: what they begin with."""
        super().__init__()
        self._label, self._wording = label, wording

    def compose(self) -> ComposeResult:
        """Keys, secondary keys, text."""
        wording = self._wording
        with Vertical(id="wording"):
            yield Static(line(self._label, "bold $primary", 70), markup=False)
            yield Static(Content.styled("keys, one a line", "$quiet"), markup=False)
            yield TextArea(_shown("\n".join(wording.keys)), id="keys", compact=True)
            yield Static(Content.styled("secondary keys", "$quiet"), markup=False)
            yield TextArea(_shown("\n".join(wording.secondary)), id="secondary", compact=True)
            yield Static(Content.styled("text", "$quiet"), markup=False)
            yield TextArea(_shown(wording.content), id="content", compact=True)
            yield Static(Content.styled("Tab next field · ^S save · Esc leave it", "$quiet"), markup=False)

    def on_mount(self) -> None:
        """Begin with the text."""
        self.query_one("#content").focus()

    def action_save(self) -> None:
        """Close with what stands there; a field that was not touched stays byte for byte."""
        before = self._wording
        keys, secondary, text = (
            self.query_one(f"#{name}", TextArea).text for name in ("keys", "secondary", "content")
        )
        self.dismiss(
            Wording(
                before.keys if keys == _shown("\n".join(before.keys)) else _lines(keys),
                before.secondary if secondary == _shown("\n".join(before.secondary)) else _lines(secondary),
                before.content if text == _shown(before.content) else text,
            )
        )

    def action_leave(self) -> None:
        """Close without a change."""
        self.dismiss(None)


def _shown(text: str) -> str:
    """The text as it may be drawn; editors of the terminal know no carriage returns."""
    return plain(text).replace("\r\n", "\n").replace("\r", "\n")


def _lines(text: str) -> tuple[str, ...]:
    return tuple(key for row in text.splitlines() if (key := row.strip()))
