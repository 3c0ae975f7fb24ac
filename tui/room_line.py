"""The line under the title in a room: who is here, who spoke last, and how turns are taken."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from rolekit.chat.session import Session
from rolekit.text import one_line
from rolekit.tui.safe import line

RULES = ("┃", "║", "╏", "▌", "|", "▎")
"""How the rule beside each role's messages looks, in the order of the room; see turn.tcss."""
_NAME = 24


class RoomLine(Widget):
    """Everybody in the room behind the rule of their messages; the one who spoke last is marked. Elsewhere hidden."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._last = -1
        self._turns = ""

    def show(self, session: Session) -> None:
        """Show how it stands in a conversation."""
        self.display = session.room is not None
        if session.room is None:
            return
        self._names = [one_line(seat.role.name, _NAME) for seat in session.seats]
        spoken = next((node.slug for node in reversed(session.path) if node.slug), "")
        slugs = [seat.slug for seat in session.seats]
        self._last = slugs.index(spoken) if spoken in slugs else -1
        self._turns = session.room.turns
        self.refresh()

    def render(self) -> Content:
        """As much as fits: names are shortened before anybody is left out."""
        hint = f"{self._turns} · ^N next"
        room = max(20, self.size.width - cell_len(hint) - 3)
        each = max(5, room // max(1, len(self._names)) - 5)
        parts: list[Content | str] = [" "]
        for number, name in enumerate(self._names):
            spoke = number == self._last
            parts += [
                f"{RULES[number]} ",
                line(name, "bold" if spoke else "", each),
                "◂  " if spoke else "   ",
            ]
        left = Content.assemble(*parts)
        gap = self.size.width - left.cell_length - cell_len(hint) - 1
        return left + Content(" " * max(1, gap)) + Content.styled(hint, "$quiet")
