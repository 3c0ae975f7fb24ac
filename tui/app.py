"""The app: roles and chat under one keyboard."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType

from rolekit.chat.casting import find_players, players_of
from rolekit.chat.options import ChatOptions
from rolekit.chat.room import room_slug
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.config import Config, save_setting
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Role
from rolekit.text import one_line
from rolekit.tui import facts, themes
from rolekit.tui.bench_screen import BenchScreen
from rolekit.tui.chat_screen import ChatScreen
from rolekit.tui.drafts import Drafts
from rolekit.tui.help import HelpScreen, help_for
from rolekit.tui.model import LoadingBackend, Model, Opener
from rolekit.tui.palette import Palette
from rolekit.tui.portrait import ask_terminal
from rolekit.tui.roles_screen import RolesScreen
from rolekit.tui.safe import sentence
from rolekit.tui.synthesis_screen import SynthesisScreen
from rolekit.tui.train_screen import TrainScreen

_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
"""From which width on a screen gets a class; below 100 columns the side panel folds away."""


class RolekitApp(App[None]):
    """Talks to a role, or shows the library first where none is given.

    open_backend may take seconds; it runs in a thread. open_other opens the model that `/model REF` names. A new
    conversation gets name, so that `--session NAME` finds it again.
    """

    TITLE = "rolekit"
    CSS_PATH: ClassVar = [
        "app.tcss", "bench_screen.tcss", "blind_screen.tcss",
        "compose_box.tcss", "ask.tcss", "chat_screen.tcss", "composer.tcss", "context_screen.tcss", "help.tcss",
        "lore_screen.tcss", "memory_panel.tcss", "room_line.tcss",
        "roles_screen.tcss", "sessions.tcss", "status.tcss", "synthesis_screen.tcss", "train_screen.tcss",
        "transcript.tcss", "turn.tcss", "welcome.tcss",
    ]  # fmt: skip
    COMMANDS: ClassVar = {Palette}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "explain", "Help", show=False),
        Binding("f2", "switch_mode('roles')", "Roles", show=False),
        Binding("f3", "switch_mode('chat')", "Chat", show=False),
        Binding("f4", "switch_mode('bench')", "Bench", show=False),
        Binding("f5", "switch_mode('synthesis')", "Synthesis", show=False),
        # before the composer's own F6, which selects a line
        Binding("f6", "switch_mode('train')", "Train", show=False, priority=True),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    ]
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS
    MODES: ClassVar = {
        "roles": "roles",
        "chat": "chat",
        "bench": "bench",
        "synthesis": "synthesis",
        "train": "train",
    }
    DEFAULT_MODE = "roles"

    def __init__(
        self,
        *,
        store: Store,
        library: RoleLibrary,
        open_backend: Callable[[], Backend],
        config: Config,
        role: str | None = None,
        resume: str | None = None,
        new: bool = False,
        options: ChatOptions,
        name: str | None = None,
        open_other: Callable[[str], Backend] | None = None,
    ) -> None:
        """resume: the id of a conversation to go on with, before role; new: begin another one with role."""
        super().__init__()
        ask_terminal()
        self.store = store
        self.library = library
        self._options = options
        self._start = (role, resume, new)
        self._first_name = name
        self._open_other = open_other
        self._model = Model(open_backend)
        self._chat = ChatScreen(store, Drafts(), self._model)
        self._roles = RolesScreen(library, options.user)
        self.install_screen(self._chat, "chat")
        self.install_screen(self._roles, "roles")
        self._bench = BenchScreen(self._model, open_other)
        self.install_screen(self._bench, "bench")
        self._synthesis = SynthesisScreen()
        self.install_screen(self._synthesis, "synthesis")
        self._train = TrainScreen()
        self.install_screen(self._train, "train")
        for theme in themes.THEMES:
            self.register_theme(theme)
        self.theme = config.theme if config.theme in themes.NAMES else themes.DEFAULT

    async def on_mount(self) -> None:
        """Load the model, and go where the user wanted to."""
        self._leave_on_signals()
        self.load_model()
        role, resume, new = self._start
        if role is not None or resume is not None:
            await self.open_chat(role or "", resume, new=new)
        if self.store.notice:
            self.notify(one_line(self.store.notice, 400), severity="warning", markup=False, timeout=15)

    def _leave_on_signals(self) -> None:
        """Leave in good order when the terminal is closed or the machine shuts down."""
        for name in ("SIGTERM", "SIGHUP"):
            with suppress(
                AttributeError, NotImplementedError, RuntimeError
            ):  # not everywhere, only in main threads
                number = getattr(signal, name)
                asyncio.get_running_loop().add_signal_handler(number, self.call_later, self.action_quit)

    async def open_chat(self, role: str, conversation: str | None = None, *, new: bool = False) -> None:
        """Show a chat: the given conversation, else the last one with the role, else a new one."""
        try:
            await self._chat.settle()
            session, found = self._session(role, conversation, new)
            await self.switch_mode("chat")
            await self._chat.open(session, found)
        except RolekitError as error:
            self.show_error(error)

    def _session(self, name: str, conversation: str | None, new: bool) -> tuple[Session, Role]:
        if conversation and (room := self.store.room(conversation)):
            label = self.store.conversation(conversation).model_label
            session = Session.resume_room(
                self.store,
                self._model.backend or LoadingBackend(label),
                players_of(self.library, room),
                conversation,
                options=self._options,
            )
            return session, session.role
        slug = self.store.conversation(conversation).role_slug if conversation else name
        entry = self.library.find(slug)
        role = entry.loaded()
        if conversation is None and self._first_name is None:
            conversation = self._last_conversation(entry.slug, new)
        if conversation is None:
            backend = self._model.backend or LoadingBackend("")
            session = Session.start(
                self.store, backend, role, entry.slug, options=self._options, name=self._first_name
            )
            self._first_name = None
        else:
            label = self.store.conversation(conversation).model_label
            backend = self._model.backend or LoadingBackend(label)
            session = Session.resume(
                self.store, backend, role, entry.slug, conversation, options=self._options
            )
        return session, role

    def _last_conversation(self, slug: str, new: bool) -> str | None:
        """The newest conversation with a role; with new only where nothing was said in it yet."""
        found = self.store.conversations(role_slug=slug)[:1]
        if not found or (new and any(node.speaker == "user" for node in self.store.all_nodes(found[0].id))):
            return None
        return found[0].id

    @work(exclusive=True, group="model")
    async def load_model(self, opener: Opener | None = None) -> None:
        """Load the model (or another) and tell the chat how it went."""
        self._show_model()
        await self._model.load(opener)
        self._show_model()
        if self._model.error is not None and self.screen is not self._chat:
            self.show_error(self._model.error)

    def _show_model(self) -> None:
        if self._chat.is_mounted:
            self._chat.show_model()

    def show_error(self, error: RolekitError) -> None:
        """Say what happened and what to do next, where the user is looking."""
        if self.screen is self._chat:
            self._chat.show_error(error)
        else:
            self.notify(sentence(error), severity="error", markup=False, timeout=12)

    def choose_theme(self, name: str) -> None:
        """Wear another theme, now and next time."""
        self.theme = name
        try:
            save_setting("theme", name)
        except RolekitError as error:
            self.show_error(error)

    @on(facts.RoleChosen)
    async def _role_chosen(self, event: facts.RoleChosen) -> None:
        await self.open_chat(event.slug, new=event.new)

    @on(facts.RoomChosen)
    async def _room_chosen(self, event: facts.RoomChosen) -> None:
        try:
            found = self._last_conversation(room_slug(event.slugs), event.new)
            players = find_players(self.library, event.slugs)
            if found is None:
                backend = self._model.backend or LoadingBackend("")
                found = Session.start_room(self.store, backend, players, options=self._options).id
        except RolekitError as error:
            self.show_error(error)
        else:
            await self.open_chat("", found)

    @on(facts.ConversationChosen)
    async def _conversation_chosen(self, event: facts.ConversationChosen) -> None:
        await self.open_chat("", event.conversation_id)

    @on(facts.ModelWanted)
    async def _model_wanted(self, event: facts.ModelWanted) -> None:
        if not event.reference:
            self.load_model()
            return
        opener, reference = self._open_other, event.reference
        if opener is None:
            self.show_error(
                RolekitError("This chat keeps its model.", "Start again with --model to use another.")
            )
            return
        await self._chat.settle()
        self.load_model(lambda: opener(reference))

    def action_explain(self) -> None:
        """Explain what has the focus."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(help_for(self.focused)))

    async def action_quit(self) -> None:
        """Stop what is being written, keep it, and leave."""
        await self._train.settle()
        await self._synthesis.settle()
        await self._chat.settle()
        await self._bench.settle()
        self._chat.box.keep()
        await self._model.close()
        self.exit()
