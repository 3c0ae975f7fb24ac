"""F2: the role library. Type to search, read the first page, press Enter to talk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from rolekit.chat.room import MOST_MEMBERS
from rolekit.errors import RolekitError
from rolekit.paths import expanded
from rolekit.roles.block import opening_messages, scene_of
from rolekit.roles.cards.importing import look_at, take_in
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.roles.macros import expand
from rolekit.roles.role import Role
from rolekit.text import one_line
from rolekit.tui import facts
from rolekit.tui.ask import AskScreen
from rolekit.tui.editing import first_draft, open_editor, own_file
from rolekit.tui.help import HelpText
from rolekit.tui.lore_screen import LoreScreen
from rolekit.tui.portrait import Portrait
from rolekit.tui.safe import cells, content, line, sentence
from rolekit.tui.sessions import SearchInput
from rolekit.tui.status import Hints, TitleLine
from rolekit.tui.trust_screen import TrustScreen

_ROW_CELLS = 31
_EXAMPLES = 3
_QUESTION = "who would you like to talk to?"

_SEARCH_KEYS = (
    ("type", "search"), ("↓", "list"), ("Enter", "talk"), ("^N", "new role"), ("^O", "import"), ("F1", "help"), ("^Q", "quit"),
)  # fmt: skip
_LIST_KEYS = (
    ("Enter", "talk"), ("c", "new chat"), ("Space", "room"), ("e", "edit"), ("n", "new"), ("i", "import"), ("l", "lore"), ("F1", "help"),
)  # fmt: skip


_ERROR_SECONDS = 20
"""A sentence that says what to do stays until it can be read."""


class RoleList(OptionList):
    """The roles that were found."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "screen.edit", "Edit", show=False),
        Binding("n", "screen.new", "New", show=False),
        Binding("c", "screen.fresh", "New chat", show=False),
        Binding("space", "screen.mark", "Into the room", show=False),
        Binding("i", "screen.import_card", "Import a card", show=False),
        Binding("l", "screen.lore", "Lorebooks", show=False),
        Binding("slash", "screen.search", "Search", show=False),
    ]


class RolesScreen(Screen[None]):
    """Who there is to talk to, and what they are like."""

    AUTO_FOCUS = "#search"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "new", "New role", show=False),
        # before the search line's own Ctrl+E, which is the end of the line
        Binding("ctrl+e", "edit", "Edit", show=False, priority=True),
        Binding("ctrl+o", "import_card", "Import a card", show=False),
    ]
    help_text = HelpText(
        "The role library",
        "Type a name, a tag or a language; the page beside the list shows who that is.",
        (
            ("Enter", "talk: the last chat with the role goes on"),
            ("↑ ↓", "choose; ↓ goes from the search to the list"),
            ("c", "in the list: begin a new chat"),
            ("e", "in the list: edit the role in your editor (a bundled one is copied first)"),
            ("n", "in the list: make a new role"),
            ("Space", "in the list: take the role into a room, or out again; Enter then opens the room"),
            ("i", "in the list: import a character card (PNG, JSON, CharX); its trust sheet comes first"),
            ("l", "in the list: the role's lorebooks"),
            ("/", "in the list: search"),
            ("Ctrl+E Ctrl+N Ctrl+O", "edit, new role, import a card: also while searching"),
        ),
    )

    def __init__(self, library: RoleLibrary, user: str) -> None:
        """user: the name that stands for {{user}} where a role's page is shown."""
        super().__init__()
        self._library = library
        self._user = user
        self._entries: dict[str, Entry] = {}
        self._room: list[str] = []

    def compose(self) -> ComposeResult:
        """Search and list at the left, the page at the right."""
        yield TitleLine()
        with Horizontal(id="shelf"):
            with Vertical(id="index"):
                yield SearchInput("search roles", id="search")
                yield RoleList(id="roles", markup=False, compact=True)
            with VerticalScroll(id="page", can_focus=False):
                yield Portrait()
                yield Static(id="portrait", markup=False)
        yield Hints()

    def on_mount(self) -> None:
        """List everybody."""
        title = self.query_one(TitleLine)
        title.left, title.right = "rolekit", _QUESTION
        self.query_one(Hints).keys = _SEARCH_KEYS
        self.list_roles()

    def list_roles(self, slug: str = "") -> None:
        """List what the search finds, slug (or the first) highlighted."""
        found = self._library.search(self.query_one("#search", Input).value)
        self._entries = {entry.slug: entry for entry in found}
        listed = self.query_one(RoleList)
        listed.clear_options()
        listed.add_options([Option(_row(entry, entry.slug in self._room), id=entry.slug) for entry in found])
        if slug in self._entries:
            listed.highlighted = listed.get_option_index(slug)
        elif found:
            listed.highlighted = 0
        else:
            self._show_page(None)

    @property
    def chosen(self) -> Entry | None:
        """The highlighted role."""
        listed = self.query_one(RoleList)
        if listed.highlighted is None:
            return None
        return self._entries.get(listed.get_option_at_index(listed.highlighted).id or "")

    @on(Input.Changed, "#search")
    def _searched(self) -> None:
        self.list_roles()

    @on(OptionList.OptionHighlighted)
    def _highlighted(self) -> None:
        self._show_page(self.chosen)

    def _show_page(self, entry: Entry | None) -> None:
        page = self.query_one("#portrait", Static)
        self.query_one(Portrait).show(entry.role if entry else None)
        if entry is None:
            page.update(Content.styled("Nobody of that name. Ctrl+N makes a new role.", "$quiet"))
        elif entry.role is None:
            page.update(_fault_page(entry))
        else:
            page.update(_page(entry, entry.role, self._user))
        self.query_one("#page").scroll_home(animate=False)

    def on_descendant_focus(self) -> None:
        """Show the keys of what has the focus."""
        in_list = isinstance(self.focused, RoleList)
        self.query_one(Hints).keys = _LIST_KEYS if in_list else _SEARCH_KEYS

    @on(Input.Submitted, "#search")
    @on(OptionList.OptionSelected)
    def _talk(self) -> None:
        self._choose(new=False)

    def _choose(self, *, new: bool) -> None:
        entry = self.chosen
        if len(self._room) > 1:
            slugs, self._room = tuple(self._room), []
            self.list_roles(entry.slug if entry else "")
            self.post_message(facts.RoomChosen(slugs, new))
        elif entry is None:
            return
        elif entry.role is None:
            self._report(RolekitError(f"{entry.title} has faults.", "Press e in the list to mend the file."))
        else:
            self.post_message(facts.RoleChosen(entry.slug, new))

    @on(facts.Left)
    def _left(self) -> None:
        self.query_one("#search").focus()

    def action_fresh(self) -> None:
        """Begin a new chat with the highlighted role."""
        self._choose(new=True)

    def action_mark(self) -> None:
        """Take the highlighted role into a room, or out of it again."""
        entry = self.chosen
        if entry is None or entry.role is None:
            return
        if entry.slug in self._room:
            self._room.remove(entry.slug)
        elif len(self._room) < MOST_MEMBERS:
            self._room.append(entry.slug)
        else:
            self._report(RolekitError(f"A room holds {MOST_MEMBERS} roles.", "Press Enter to open it."))
        self.list_roles(entry.slug)
        title, number = self.query_one(TitleLine), len(self._room)
        if number:
            title.right = (
                f"{number} in the room{' · Enter opens it' if number > 1 else ', one more makes it one'}"
            )
        else:
            title.right = _QUESTION

    def action_search(self) -> None:
        """Go to the search line."""
        self.query_one("#search").focus()

    def action_edit(self) -> None:
        """Open the highlighted role in the user's editor."""
        entry = self.chosen
        if entry is not None:
            self._edit(lambda: own_file(entry))

    @work(group="ask", exclusive=True)
    async def action_new(self) -> None:
        """Ask for a name, write a role file for it, and open it in the editor."""
        name = await self.app.push_screen_wait(AskScreen("What is the new role called?"))
        if name:
            self.query_one("#search", Input).value = ""
            self._edit(lambda: first_draft(self._library, name))

    @work(group="ask", exclusive=True)
    async def action_import_card(self) -> None:
        """Ask for a card's path, show what it would put into prompts, and take it in."""
        typed = await self.app.push_screen_wait(
            AskScreen("Which card? (path of a .png, .json, .charx)", limit=1000)
        )
        if not typed:
            return
        try:
            prospect = await asyncio.to_thread(look_at, expanded(typed.strip("'\"")))
            if not await self.app.push_screen_wait(TrustScreen(prospect)):
                return
            path, _ = await asyncio.to_thread(take_in, prospect, self._library, overwrite=prospect.taken)
        except RolekitError as error:
            self._report(error)
            return
        self.query_one("#search", Input).value = ""
        self.call_after_refresh(self.list_roles, path.stem)
        self.notify(f"{one_line(prospect.role.name)} is a role of yours now.", markup=False)

    def action_lore(self) -> None:
        """Show the highlighted role's lorebooks."""
        entry = self.chosen
        if entry is not None and entry.role is not None:
            self.app.push_screen(LoreScreen(entry.role))

    def _edit(self, prepare: Callable[[], Path]) -> None:
        try:
            path = prepare()
            self.call_after_refresh(self.list_roles, path.stem)
            open_editor(self.app, path)
        except RolekitError as error:
            self._report(error)

    def _report(self, error: RolekitError) -> None:
        self.notify(sentence(error), severity="error", markup=False, timeout=_ERROR_SECONDS)


def _row(entry: Entry, marked: bool) -> Content:
    """The name at the left, the language (and whose it is) at the right; a sign where it is to be in a room."""
    note = "has faults" if entry.role is None else entry.role.language
    if entry.role is not None and not entry.bundled:
        note = f"yours · {note}"
    title = f"+ {entry.title}" if marked else entry.title
    return Content.assemble(cells(title, _ROW_CELLS - len(note) - 1), " ", (note, "dim"))


def _fault_page(entry: Entry) -> Content:
    return Content.assemble(
        line(entry.title, "bold $primary"),
        "\n\n",
        ("This file cannot be used yet:", "bold"),
        "\n\n",
        content(entry.error),
        "\n\n",
        line(str(entry.path), "$quiet", 300),
    )


def _page(entry: Entry, role: Role, user: str) -> Content:
    messages = opening_messages(role, user)
    greeting = next((message.text for message in messages if message.block == "greeting"), "")
    examples = [message for message in messages if message.block == "example"][: 2 * _EXAMPLES]
    kind = " · ".join([role.language, *(one_line(tag, 30) for tag in role.tags)])
    parts: list[Content | str] = [line(role.name, "bold $primary"), "\n", line(kind, "$quiet", 200), "\n\n"]
    if greeting:
        parts += [content(greeting, "italic"), "\n\n"]
    parts += [content(expand(role.description, scene_of(role, user)).strip()), "\n\n"]
    for message in examples:
        said_by_role = message.speaker == "assistant"
        parts += [
            line(
                role.name.split()[0] if said_by_role else user, "bold" if said_by_role else "bold $quiet", 30
            ),
            "\n",
            content(message.text.strip()),
            "\n\n" if said_by_role else "\n",
        ]
    if role.origin:
        parts += [content(role.origin, "$quiet"), "\n\n"]
    parts.append(line(str(entry.path) if not entry.bundled else "comes with rolekit", "$quiet", 300))
    return Content.assemble(*parts)
