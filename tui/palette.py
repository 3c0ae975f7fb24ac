"""Ctrl+P: everything by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.command import DiscoveryHit, Hit, Hits, Provider

from rolekit.text import one_line
from rolekit.tui import facts
from rolekit.tui.chat_screen import ChatScreen
from rolekit.tui.roles_screen import RolesScreen
from rolekit.tui.themes import NAMES

if TYPE_CHECKING:
    from rolekit.tui.app import RolekitApp

_RESUMABLE = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the palette, safe to print."""

    label: str
    run: Callable[[], object]
    everyday: bool = True
    """Listed before anything is typed."""


class Palette(Provider):
    """Places, what can be done here, roles, conversations and themes."""

    async def discover(self) -> Hits:
        """What is listed before anything is typed."""
        for entry in self._entries():
            if entry.everyday:
                yield DiscoveryHit(Text(entry.label), entry.run, text=entry.label)

    async def search(self, query: str) -> Hits:
        """What fits the query."""
        matcher = self.matcher(query)
        for entry in self._entries():
            score = matcher.match(entry.label)
            if score > 0:
                yield Hit(score, Text(entry.label), entry.run, text=entry.label)

    def _entries(self) -> Iterator[Entry]:
        app = cast("RolekitApp", self.app)
        if isinstance(self.screen, ChatScreen):
            yield from _chat_entries(self.screen)
        if isinstance(self.screen, RolesScreen):
            yield Entry("Roles: import a card (i)", self.screen.action_import_card)
            yield Entry("Roles: lorebooks of the chosen one (l)", self.screen.action_lore)
        yield Entry("Go: roles (F2)", partial(app.run_action, "switch_mode('roles')"))
        yield Entry("Go: chat (F3)", partial(app.run_action, "switch_mode('chat')"))
        yield Entry("Go: bench (F4)", partial(app.run_action, "switch_mode('bench')"))
        yield Entry("Go: synthesis (F5)", partial(app.run_action, "switch_mode('synthesis')"))
        yield Entry("Go: train (F6)", partial(app.run_action, "switch_mode('train')"))
        yield Entry("Help (F1)", partial(app.run_action, "explain"))
        for name in NAMES:
            yield Entry(f"Theme: {name}", partial(app.choose_theme, name))
        yield Entry("Quit (Ctrl+Q)", app.action_quit)
        for role in app.library.all():
            if role.role is not None:
                chosen = facts.RoleChosen(role.slug)
                yield Entry(f"Talk: {role.title}", partial(app.post_message, chosen), everyday=False)
        for info in app.store.conversations()[:_RESUMABLE]:
            title = one_line(f"{info.title or 'new chat'} · {info.role_name}", 70)
            resumed = facts.ConversationChosen(info.id)
            yield Entry(f"Resume: {title}", partial(app.post_message, resumed), everyday=False)


def _chat_entries(screen: ChatScreen) -> Iterator[Entry]:
    for label, name in (
        ("Chat: answer again (Ctrl+R)", "regen"),
        ("Chat: let the answer go on", "continue"),
        ("Chat: edit your last message (↑)", "edit"),
        ("Chat: undo", "undo"),
        ("Chat: redo", "redo"),
        ("Chat: new with this role", "new"),
        ("Chat: rename", "title"),
        ("Chat: what the model reads", "context"),
        ("Chat: let somebody else speak (room)", "next"),
        ("Chat: who is in the room", "room"),
        ("Chat: the exact prompt", "prompt"),
        ("Chat: what is remembered", "memory"),
        ("Chat: why this was told", "why"),
        ("Chat: lorebooks", "lore"),
        ("Chat: who you are (persona)", "persona"),
        ("Chat: export as Markdown", "export"),
    ):
        yield Entry(label, partial(screen.run, name))
