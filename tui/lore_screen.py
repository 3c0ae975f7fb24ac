"""The lorebooks of a role: what fires on which key, switched on and off and edited where it stands."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rolekit.errors import RolekitError
from rolekit.roles.lore.book import LoreEntry
from rolekit.roles.lore.editing import (
    OpenBook,
    entry_line,
    open_books,
    raw_content,
    reworded,
    row_of,
    row_text,
    save_row,
    switched,
)  # fmt: skip
from rolekit.roles.role import Role
from rolekit.text import count
from rolekit.tui.editing import open_editor
from rolekit.tui.entry_screen import EntryScreen, Wording
from rolekit.tui.help import HelpText
from rolekit.tui.safe import cells, content, line, sentence

_EMPTY = (
    "This role has no lorebook.\n\nA card brings its own. For a role of yours, put a lorebook (SillyTavern, V3, Agnai, "
    'RisuAI, NovelAI) beside its file and write into the file:\n\nlorebooks = ["FILE.json"]'
)


class LoreScreen(ModalScreen[bool]):
    """A list of entries and the chosen one in full; gives whether anything was changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Close", show=False),
        Binding("space", "switch", "On or off", show=False),
        Binding("e", "edit", "Edit", show=False),
        Binding("j", "edit_all", "Edit all of it", show=False),
    ]
    help_text = HelpText(
        "Lorebooks",
        "An entry is told to the role when one of its keys is said. What you change is saved at once, every other key "
        "of the file stays, and before the first change a copy is kept beside it.",
        (
            ("↑ ↓", "choose an entry; the page shows all of it"),
            ("Space", "switch it on or off"),
            ("Enter e", "edit keys and text"),
            ("j", "edit the whole entry as JSON in your editor"),
            ("Esc", "close; the next message uses the books as they are then"),
        ),
    )

    def __init__(self, role: Role) -> None:
        """role: whose lorebooks are read, at once; faults of a book are shown, not raised."""
        super().__init__()
        self._role = role
        self._books, self._notices = open_books(role)
        self._places: list[tuple[int, int]] = []
        self._changed = False

    def compose(self) -> ComposeResult:
        """Entries at the left, the chosen one at the right."""
        with Vertical(id="lore"):
            yield Static(line(f"What {self._role.name} knows", "bold $primary", 60), markup=False)
            with Horizontal():
                yield OptionList(id="entries", markup=False, compact=True)
                with VerticalScroll(id="entry", can_focus=False):
                    yield Static(id="entry-page", markup=False)
            yield Static("", id="problem", markup=False)
            hints = "Space on/off · e edit · j as JSON · Esc close · F1 help"
            yield Static(Content.styled(hints, "$quiet"), markup=False)

    def on_mount(self) -> None:
        """List the entries."""
        self._fill()
        self.query_one("#entries").focus()
        if self._notices:
            self.query_one("#problem", Static).update(content(" ".join(self._notices), "$warning"))

    def _fill(self, chosen: tuple[int, int] | None = None) -> None:
        rows = self.query_one("#entries", OptionList)
        rows.clear_options()
        self._places = []
        for number, one in enumerate(self._books):
            heading = f"{one.book.name} · {count(len(one.book.entries))}"
            self._places.append((number, -1))
            rows.add_option(Option(line(heading, "$quiet", 60), disabled=True))
            for index, entry in enumerate(one.book.entries):
                self._places.append((number, index))
                rows.add_option(Option(_row(entry)))
        entries = [place for place in self._places if place[1] >= 0]
        if entries:
            rows.highlighted = self._places.index(chosen if chosen in entries else entries[0])
        else:
            self.query_one("#entry-page", Static).update(Content(_EMPTY))

    @property
    def chosen(self) -> tuple[int, int] | None:
        """The highlighted entry: its book's number and its own."""
        at = self.query_one("#entries", OptionList).highlighted
        place = self._places[at] if at is not None and at < len(self._places) else None
        return place if place is not None and place[1] >= 0 else None

    @on(OptionList.OptionHighlighted, "#entries")
    def _highlighted(self) -> None:
        if (place := self.chosen) is not None:
            book = self._books[place[0]]
            self.query_one("#entry-page", Static).update(_page(book, place[1]))
            self.query_one("#entry").scroll_home(animate=False)

    def action_switch(self) -> None:
        """Switch the chosen entry on or off."""
        self._change(switched)

    @on(OptionList.OptionSelected, "#entries")
    def _opened(self) -> None:
        self.action_edit()

    @work(group="ask", exclusive=True)
    async def action_edit(self) -> None:
        """Edit keys and text of the chosen entry."""
        if (place := self.chosen) is None:
            return
        book, index = self._books[place[0]], place[1]
        entry = book.book.entries[index]
        before = Wording(entry.keys, entry.secondary_keys, raw_content(book, index))
        after = await self.app.push_screen_wait(EntryScreen(entry.label, before))
        if after is not None and after != before:
            self._change(
                lambda book, index: reworded(
                    book, index, keys=after.keys, secondary=after.secondary, content=after.content
                )
            )

    def action_edit_all(self) -> None:
        """Edit the whole entry as JSON in the user's editor."""
        self._change(self._edited)

    def _edited(self, book: OpenBook, index: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "entry.json"
            path.write_text(row_text(book, index), encoding="utf-8")
            open_editor(self.app, path)
            return row_of(path.read_text(encoding="utf-8", errors="replace"))

    def _change(self, change: Callable[[OpenBook, int], Mapping[str, Any]]) -> None:
        """Save what change makes of the chosen entry's row."""
        if (place := self.chosen) is None:
            return
        number, index = place
        self.query_one("#problem", Static).update("")
        try:
            self._books[number] = save_row(self._books[number], index, change(self._books[number], index))
        except RolekitError as error:
            self.query_one("#problem", Static).update(content(sentence(error), "$error"))
            return
        self._changed = True
        self._fill(place)

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(self._changed)


def _row(entry: LoreEntry) -> Content:
    mark = "● " if entry.enabled else "○ "
    return Content.assemble(
        (mark, "$primary" if entry.enabled else "$quiet"), cells(entry.label, 26).rstrip()
    )


def _page(book: OpenBook, index: int) -> Content:
    """The entry as a person reads it."""
    entry = book.book.entries[index]
    parts: list[Content | str] = [line(entry.label, "bold"), "\n"]
    state = "on" if entry.enabled else "off"
    parts += [line(f"{state} · fires on: {entry_line(entry)}", "$quiet", 300), "\n"]
    if entry.selective and entry.secondary_keys:
        logic = entry.logic.name.replace("_", " ").lower()
        parts += [line(f"and {logic}: {', '.join(entry.secondary_keys)}", "$quiet", 300), "\n"]
    where = f"at depth {entry.depth}" if entry.place == "depth" else entry.place.replace("_", " ")
    figures = [f"order {entry.order}", where]
    if entry.probability < 100:
        figures.append(f"{entry.probability:g} %")
    if entry.grouping.names:
        figures.append(f"group {', '.join(entry.grouping.names)}")
    parts += [line(" · ".join(figures), "$quiet", 300), "\n\n", content(raw_content(book, index)), "\n\n"]
    if book.locked:
        parts += [content(f"Cannot be changed here: {book.locked}.", "$warning"), "\n"]
    parts.append(line(book.path.name, "$quiet", 300))
    return Content.assemble(*parts)
