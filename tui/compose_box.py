"""The bottom of a chat: the composer, its draft, and the keys that matter."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Static, TextArea

from rolekit.chat.tree import Node
from rolekit.errors import RolekitError
from rolekit.tui.composer import Composer
from rolekit.tui.drafts import Drafts
from rolekit.tui.status import Hints

Keys = tuple[tuple[str, str], ...]
"""Keys and what they do."""

_KEYS: Keys = (
    ("Enter", "send"), ("Esc", "stop"), ("^R", "again"), ("←→", "versions"), ("/", "commands"), ("F1", "help"),
    ("↑", "edit"), ("^J", "newline"), ("F2", "roles"), ("^B", "chats"),
)  # fmt: skip
_EDIT_KEYS: Keys = (("Enter", "keep as a new version"), ("Esc", "leave it as it was"), ("^J", "newline"))
READING_KEYS: Keys = (
    ("↑↓", "choose"), ("←→", "versions"), ("e", "edit"), ("r", "again"), ("p", "pin"), ("d", "delete"), ("Esc", "back"),
    ("y", "copy"), ("F1", "help"),
)  # fmt: skip
LIST_KEYS: Keys = (
    ("Enter", "open"), ("n", "new chat"), ("r", "rename"), ("/", "search"), ("Esc", "back"), ("F1", "help"),
)  # fmt: skip
SEARCH_KEYS: Keys = (
    ("type", "search"),
    ("↓", "list"),
    ("Enter", "open the first"),
    ("Esc", "back"),
    ("F1", "help"),
)
_DRAFT_SECONDS = 0.5


class ComposeBox(Vertical):
    """Where a message is written or reworded. What is typed is soon on disk."""

    def __init__(self, drafts: Drafts, report: Callable[[RolekitError], None]) -> None:
        """report: hears what goes wrong when drafts are kept."""
        super().__init__()
        self.editing: Node | None = None
        """The message that is being reworded; None while a new one is written."""
        self._drafts = drafts
        self._report = report
        self._key = ""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """The prompt sign, the composer, the keys."""
        with Horizontal():
            yield Static("›", id="prompt", markup=False)
            yield Composer(id="composer")
        yield Hints()

    def on_mount(self) -> None:
        """Show the keys."""
        self.show_keys()

    @property
    def composer(self) -> Composer:
        """The text area."""
        return self.query_one(Composer)

    def open(self, conversation: str, invitation: str) -> None:
        """Turn to another conversation and its draft."""
        self.keep()
        self._key, self.editing = conversation, None
        self.composer.put(self._drafts.get(conversation))
        self.composer.invite(invitation)
        self.show_keys()

    def keep(self) -> None:
        """Put what is typed on disk."""
        if self._timer is not None:
            self._timer.stop()
        if self._key and self.editing is None:
            try:
                self._drafts.put(self._key, self.composer.text)
            except RolekitError as error:
                self._report(error)

    def sent(self, text: str) -> None:
        """The text is safe elsewhere; it goes, unless something else was typed meanwhile."""
        if self.composer.text == text:
            self.composer.put("")
            self.keep()

    def give_back(self, text: str) -> None:
        """Nothing came of the text: here it is again, unless something else was typed meanwhile."""
        if text and not self.composer.text:
            self.composer.put(text)

    def edit(self, node: Node) -> None:
        """Reword a message."""
        self.keep()
        self.editing = node
        self.composer.put(node.text)
        self.composer.focus()
        self.show_keys()

    def end_edit(self) -> None:
        """Go back to the message that was being written before."""
        self.editing = None
        self.composer.put(self._drafts.get(self._key))
        self.show_keys()

    def show_keys(self, keys: Keys | None = None) -> None:
        """Show the keys of what has the focus; without any, those of writing or rewording."""
        self.query_one(Hints).keys = keys or (_EDIT_KEYS if self.editing is not None else _KEYS)

    @on(TextArea.Changed)
    def _typed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_DRAFT_SECONDS, self.keep)
