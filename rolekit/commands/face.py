"""What the three faces of a chat share: who plays, which conversation, which model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rolekit.chat.casting import Player, find_players, players_of, with_adapters
from rolekit.chat.options import ChatOptions
from rolekit.chat.room import Turns, room_slug
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.commands.opening import (
    ModelChoice,
    OwnAdapter,
    open_backend,
    open_backend_aside,
    quiet_broken_pipe,
)
from rolekit.config import Config
from rolekit.engine.references import parse_adapter
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.roles.library import RoleLibrary
from rolekit.text import one_line


class Face:
    """Opens the parts in the order that fails soonest: the roles, the conversation, the model last."""

    def __init__(
        self,
        config: Config,
        choice: ModelChoice,
        options: ChatOptions,
        roles: Sequence[str],
        name: str | None,
        new: bool,
        own_adapters: Sequence[OwnAdapter] = (),
        turns: Turns | None = None,
    ) -> None:
        """roles: names as typed; name: what --session gave. Raises RolekitError for an unknown role."""
        self.config, self.choice, self.options, self.name, self.new = config, choice, options, name, new
        self.library = RoleLibrary()
        self._own, self._turns = tuple(own_adapters), turns
        self.players = find_players(self.library, roles)
        """Empty: no role was named."""

    def bring_in(self, file: Path) -> None:
        """Import a chat and go on with it."""
        from rolekit.commands.chats import import_chat

        with Store() as store:
            self.players, self.name = import_chat(store, self.library, self.players, file)

    def say(self, texts: list[str], *, as_json: bool) -> int:
        """One reply (in a room, perhaps several) a text on stdout."""
        from rolekit.commands.say import say

        return self._with_session(lambda session: say(session, texts, as_json=as_json), resume=False)

    def plain(self) -> int:
        """Line mode."""
        from rolekit.commands.plain import PlainChat

        def talk(session: Session) -> int:
            chat = PlainChat(session.store, self.library, session, self.options, self._open_other)
            try:
                return chat.run()
            except KeyboardInterrupt:
                print(file=sys.stderr)
                return 130

        return self._with_session(talk, resume=not self.new)

    def tui(self) -> int:
        """The app. A room is put into the store first, and opened as a conversation there is."""
        from rolekit.tui.app import RolekitApp
        from rolekit.tui.model import LoadingBackend

        with Store() as store:
            conversation = self._conversation(store, resume=not self.new)
            if conversation is None and len(self.players) > 1:
                conversation = self._begun(store, LoadingBackend("")).id
            elif conversation is not None and store.room(conversation):
                players = self._players(store, conversation)
                conversation = self._resumed(store, LoadingBackend(""), players, conversation).id
            RolekitApp(
                store=store,
                library=self.library,
                open_backend=lambda: open_backend(self.choice, self.config),
                open_other=self._open_other,
                config=self.config,
                role=(self.players[0].source or self.players[0].slug) if self.players else None,
                resume=conversation,
                new=self.new,
                name=self.name if conversation is None else None,
                options=self.options,
            ).run()
        return 0

    def _conversation(self, store: Store, *, resume: bool) -> str | None:
        """The conversation to go on with: the named one, else the latest with these roles."""
        slug = room_slug(player.slug for player in self.players) if self.players else None
        if self.name:
            named = store.find(self.name, slug)
            return named.id if named else None
        if resume and slug:
            latest = store.conversations(role_slug=slug)[:1]
            return latest[0].id if latest else None
        return None

    def _players(self, store: Store, conversation: str | None) -> tuple[Player, ...]:
        """Who plays, with the adapters that were given, or that a stored room has."""
        room = store.room(conversation) if conversation else None
        players = self.players
        if room:
            players = players_of(self.library, room)
        elif not players and conversation:
            players = find_players(self.library, [store.conversation(conversation).role_slug])
        if not players and self.name:
            raise RolekitError(
                f'There is no chat called "{one_line(self.name, 60)}".',
                "Add --role NAME to begin it; `rolekit chat --list` shows those there are.",
            )
        if not players:
            raise RolekitError("No role was named.", "Add --role NAME; `rolekit roles list` shows them.")
        if len(players) < 2:
            self._alone(players)
            return players
        common = [("", *parse_adapter(text)) for text in self.choice.adapters]
        return with_adapters(players, [*common, *((name, *parse_adapter(text)) for name, text in self._own)])

    def _alone(self, players: Sequence[Player]) -> None:
        """With one role its own adapters are the model's."""
        if self._turns:
            raise RolekitError("--turns is for rooms.", "Name two roles or more: --role NAME --role NAME.")
        with_adapters(players, [(name, *parse_adapter(text)) for name, text in self._own])
        adapters = (*self.choice.adapters, *(text for _, text in self._own))
        self.choice, self._own = replace(self.choice, adapters=adapters), ()

    def _begun(self, store: Store, backend: Backend) -> Session:
        return Session.start_room(
            store,
            backend,
            self._players(store, None),
            options=self.options,
            turns=self._turns or "named",
            name=self.name,
        )

    def _resumed(
        self, store: Store, backend: Backend, players: Sequence[Player], conversation: str
    ) -> Session:
        return Session.resume_room(
            store, backend, players, conversation, options=self.options, turns=self._turns
        )

    def _with_session(self, talk: Callable[[Session], int], *, resume: bool) -> int:
        with Store() as store:
            conversation = self._conversation(store, resume=resume)
            players = self._players(store, conversation)
            if store.notice:
                print(f"rolekit: {store.notice}", file=sys.stderr)
            backend = open_backend_aside(self.choice, self.config)
            if self.choice.context_tokens and (notice := getattr(backend, "notice", "")):
                print(f"rolekit: {notice}", file=sys.stderr)
            session = None
            try:
                if conversation is None:
                    session = self._begun(store, backend)
                else:
                    session = self._resumed(store, backend, players, conversation)
                return talk(session)
            except BrokenPipeError:
                quiet_broken_pipe()
                return 0
            finally:
                asyncio.run((session.backend if session else backend).close())

    def _open_other(self, ref: str) -> Backend:
        return open_backend(
            ModelChoice(ref, (), self.choice.context_tokens, self.choice.threads), self.config
        )
