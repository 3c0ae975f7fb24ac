"""What stands in a conversation that has not begun: three ways to begin it."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from rolekit.roles.role import Role
from rolekit.text import one_line
from rolekit.tui.facts import OpenerChosen
from rolekit.tui.safe import line

OPENERS = 3
_ANYONE = ("Who are you?", "Tell me about your day.", "What do you fear most?")
_ANYONE_ZH = ("你是谁？", "说说你的生平吧。", "你最怕什么？")


def openers(role: Role) -> tuple[str, ...]:
    """Three things to begin with: the role's own first, then questions that fit anybody."""
    general = _ANYONE_ZH if role.language.startswith("zh") else _ANYONE
    own = [one_line(text, 300) for text in role.openers if text.strip()]
    return tuple([*own, *general][:OPENERS])


class Opening(Horizontal):
    """One of the three; a click begins with it."""

    def __init__(self, number: int, text: str) -> None:
        """number: from 0; shown from 1, as the digit that picks it."""
        super().__init__()
        self._number = number
        self._text = text

    def compose(self) -> ComposeResult:
        """The key at the left, the words beside it."""
        yield Static(line(f"{self._number + 1}"), classes="key", markup=False)
        yield Static(line(self._text, limit=200), markup=False)

    def on_click(self, event: events.Click) -> None:
        """Say it."""
        event.stop()
        self.post_message(OpenerChosen(self._number))


class Welcome(Vertical):
    """Teaches how to begin; it goes away with the first message."""

    def __init__(self, texts: Sequence[str]) -> None:
        """texts: the openings of the role, in the order of their digits."""
        super().__init__()
        self._texts = texts

    def compose(self) -> ComposeResult:
        """A line of advice and the openings."""
        yield Static("Write below, or press a number to begin with:", classes="advice", markup=False)
        for number, text in enumerate(self._texts):
            yield Opening(number, text)
