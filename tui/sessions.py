"""The conversations at the side: found by typing, grouped by day."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from rolekit.chat.tree import ConversationInfo
from rolekit.text import one_line
from rolekit.tui.facts import ConversationChosen, Left, RoleChosen
from rolekit.tui.help import HelpText
from rolekit.tui.memory_panel import MemoryPanel
from rolekit.tui.safe import cells

SHOWN = 200
"""As many conversations are listed; older ones are found by searching."""
_WIDTH = 32
_EMPTY = "empty"


def day_name(moment: float, today: date) -> str:
    """Today, Yesterday, or the date, in local time."""
    day = date.fromtimestamp(moment)
    if day >= today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    return day.strftime("%d %B %Y").lstrip("0")


class SearchInput(Input):
    """One line to search with; what is pasted is cleaned and cut."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "list", "To the list", show=False),
        Binding("escape", "leave", "Back", show=False),
    ]

    def __init__(self, placeholder: str, *, id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, id=id, compact=True, max_length=200, select_on_focus=False)

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_text_at_cursor(one_line(event.text[:400], 200))

    def action_list(self) -> None:
        """Go down to what was found."""
        self.screen.focus_next()

    def action_leave(self) -> None:
        """Clear the search, or go back when it is clear."""
        if self.value:
            self.value = ""
        else:
            self.post_message(Left())


class Sessions(Vertical):
    """The list of conversations with its search line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New chat", show=False),
        Binding("r", "rename", "Rename", show=False),
        Binding("escape", "leave", "Back", show=False),
        Binding("slash", "search", "Search", show=False),
    ]
    help_text = HelpText(
        "Conversations",
        "Every chat is kept. Type in the line above the list to search titles, names and what was said.",
        (
            ("↑ ↓", "choose"),
            ("Enter", "go on with it"),
            ("n", "new chat with this role"),
            ("r", "rename"),
            ("/", "search"),
            ("Esc", "back to the composer"),
        ),
    )

    @dataclass
    class RenameAsked(Message):
        """A conversation is to get another title."""

        info: ConversationInfo

    def __init__(
        self, find: Callable[[str], Sequence[ConversationInfo]], clock: Callable[[], float] = time.time
    ) -> None:
        """find: conversations for what is typed, newest first; clock: seconds since 1970."""
        super().__init__()
        self._find = find
        self._clock = clock
        self._infos: dict[str, ConversationInfo] = {}
        self._current = ""
        self._role = ""

    def compose(self) -> ComposeResult:
        """The search line and the list."""
        yield SearchInput("search conversations", id="find")
        yield OptionList(id="conversations", markup=False, compact=True)
        yield MemoryPanel()

    def show(self, current: str, role_slug: str) -> None:
        """List afresh and mark the conversation that is open."""
        self._current, self._role = current, role_slug
        self._fill()

    @on(Input.Changed, "#find")
    def _fill(self) -> None:
        found = list(self._find(self.query_one("#find", Input).value))[:SHOWN]
        self._infos = {info.id: info for info in found}
        chosen = self.query_one(OptionList)
        chosen.clear_options()
        chosen.add_options(self._options(found))
        if self._current in self._infos:
            chosen.highlighted = chosen.get_option_index(self._current)

    def _options(self, found: Sequence[ConversationInfo]) -> list[Option]:
        options: list[Option] = []
        today = date.fromtimestamp(self._clock())
        group = ""
        for info in found:
            name = day_name(info.updated_at, today)
            if name != group:
                if group:
                    options.append(Option("", disabled=True))
                options.append(Option(Content.styled(name, "$quiet"), disabled=True))
                group = name
            options.append(Option(self._row(info), id=info.id))
        return options or [Option(Content.styled("Nothing found.", "$quiet"), id=_EMPTY, disabled=True)]

    def _row(self, info: ConversationInfo) -> Content:
        """The title, whose it is if that is another role, and how many messages."""
        mark = "› " if info.id == self._current else "  "
        number = f" {info.messages}"
        other = "" if info.role_slug == self._role else f" · {one_line(info.role_name, 14)}"
        room = _WIDTH - 4 - cell_len(number) - cell_len(other)
        title = cells(info.title or info.role_name, room).rstrip()
        filled = cells(f"{title}{other}", _WIDTH - 4 - cell_len(number))
        return Content.assemble((mark, "bold"), filled, (number, "dim"))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id in self._infos:
            self.post_message(ConversationChosen(event.option_id))

    @on(Input.Submitted, "#find")
    def _first(self, event: Input.Submitted) -> None:
        event.stop()
        if self._infos:
            self.post_message(ConversationChosen(next(iter(self._infos))))

    def action_new(self) -> None:
        """Ask for a new chat with the present role."""
        if self._role:
            self.post_message(RoleChosen(self._role, new=True))

    def action_rename(self) -> None:
        """Ask to rename the highlighted conversation."""
        chosen = self.query_one(OptionList)
        if chosen.highlighted is not None:
            info = self._infos.get(chosen.get_option_at_index(chosen.highlighted).id or "")
            if info is not None:
                self.post_message(self.RenameAsked(info))

    def action_search(self) -> None:
        """Go to the search line."""
        self.query_one("#find").focus()

    def action_leave(self) -> None:
        """Go back to the composer."""
        self.post_message(Left())
