"""Where one writes: Enter sends, everything else is a text area that minds its reader."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.widgets import TextArea

from rolekit.text import sanitize
from rolekit.tui.facts import (
    EditAsked,
    OpenerChosen,
    PasteRefused,
    Scrolled,
    Submitted,
    Swiped,
)
from rolekit.tui.help import HelpText

LONGEST_MESSAGE = 50_000
"""Characters. A message that long fills the context of most models; a text area stays quick with it."""

_NEWLINE_KEYS = {"shift+enter", "ctrl+j", "alt+enter", "ctrl+enter"}
_SCROLL_KEYS = {"pageup": "page_up", "pagedown": "page_down", "ctrl+home": "home", "ctrl+end": "end"}


class Composer(TextArea):
    """The message that is being written."""

    help_text = HelpText(
        "Writing",
        "Type and press Enter. What is not sent yet is kept, also when you quit.",
        (
            ("Enter", "send"),
            ("Ctrl+J", "new line (also Alt+Enter, and Shift+Enter where the terminal knows it)"),
            ("Esc", "stop the reply; what came is kept"),
            ("Ctrl+R", "answer again; the old answer stays as a version"),
            (
                "← →",
                "other versions of the answer, while nothing is typed; → past the last asks for one more",
            ),
            ("↑", "edit your last message, while nothing is typed"),
            ("Ctrl+N", "in a room: let whoever is next speak"),
            ("PgUp PgDn", "scroll the conversation; Ctrl+End follows it again"),
            ("Tab", "go to the conversation, to edit, pin or delete any message"),
            ("/", "a command, see below; // begins a message with a slash"),
        ),
        commands=True,
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, highlight_cursor_line=False, placeholder="")
        self.openers = 0
        """How many openings can be picked with a digit while nothing is typed."""

    def invite(self, text: str) -> None:
        """Show text in grey while nothing is typed."""
        self.placeholder = Content(sanitize(text))

    def put(self, text: str) -> None:
        """Replace what is written; the cursor goes to its end."""
        self.load_text(sanitize(text)[:LONGEST_MESSAGE])
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        if self._handled(event):
            event.stop()
            event.prevent_default()
        else:
            await super()._on_key(event)

    def _handled(self, event: events.Key) -> bool:
        key = event.key
        if key == "enter":
            if self.text.strip():
                self.post_message(Submitted(self.text))
        elif key in _NEWLINE_KEYS:
            self.insert("\n")
        elif key in _SCROLL_KEYS:
            self.post_message(Scrolled(_SCROLL_KEYS[key]))
        elif not self.text:
            return self._handled_when_empty(event)
        else:
            return False
        return True

    def _handled_when_empty(self, event: events.Key) -> bool:
        key = event.key
        if key in ("left", "right"):
            self.post_message(Swiped(-1 if key == "left" else 1))
        elif key == "up":
            self.post_message(EditAsked())
        elif key in ("home", "end"):
            self.post_message(Scrolled(key))
        elif key.isdigit() and 0 < int(key) <= self.openers:
            self.post_message(OpenerChosen(int(key) - 1))
        else:
            return False
        return True

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        if len(event.text) + len(self.text) > LONGEST_MESSAGE:
            self.post_message(PasteRefused(len(event.text)))
            return
        result = self.replace(sanitize(event.text.replace("\r\n", "\n").replace("\r", "\n")), *self.selection)
        self.move_cursor(result.end_location)
