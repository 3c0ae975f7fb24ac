"""One conversation with one role or several: every step is on disk before the next begins."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Literal, Self

from rolekit.chat.beginning import begin, take_up
from rolekit.chat.branch import Branch
from rolekit.chat.casting import Player
from rolekit.chat.events import ContextReport, Moderated, SessionEvent, UserSaved
from rolekit.chat.insets import Woven, woven_for
from rolekit.chat.latch import Latch
from rolekit.chat.options import ChatOptions
from rolekit.chat.preparing import pressing, use_the_pause
from rolekit.chat.replying import Replier, Wish
from rolekit.chat.report import PromptReport
from rolekit.chat.room import Room, Turns, room_of, with_room, with_speaker
from rolekit.chat.rounds import Rounds
from rolekit.chat.seat import Seat, seat_context, seat_prompt, seats_of
from rolekit.chat.sieve import heard, heard_again, kept_with
from rolekit.chat.state import AuthorsNote, ChatState, Persona, Summary
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Request, Stats
from rolekit.roles.role import Role


class Session:
    """An open conversation. sampling, seed and max_tokens may be changed between replies.

    say, regenerate, continue_last and next stream SessionEvents; close the generator early and what came is kept.
    Every method raises RolekitError when the disk fails, and while a reply is streaming nothing else may change.

    In a room (start_room, resume_room) `room` says who is in it and `seats` what each of them is made of; one say may
    bring several replies, each begun by Speaking and ended by Finished; Node.slug and name_of(node) say whose line a
    message is. Methods that ask about one role take its slug or name as `who`, by default whoever spoke last.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        players: Sequence[Player],
        info: ConversationInfo,
        options: ChatOptions,
    ) -> None:
        """Opens what start(), resume() and those for rooms have found or begun; players: one a role."""
        row = store.row(info.id)
        self.store = store
        self.backend = backend
        self.id = info.id
        self.sampling = options.sampling
        self.max_tokens = options.max_tokens
        self.seed: int = row["seed"]
        self.room: Room | None = room_of(row["extra"])
        """Who takes part; None where one role is talked to."""
        self._branch = Branch(store.database, info.id)
        self.seats: tuple[Seat, ...] = seats_of(store, self._branch, backend, players, self.room, options)
        """Every role of the conversation, in the order of the room."""
        self._replier = Replier(self._branch, options.moderation, in_room=self.room is not None)
        self._rounds = Rounds(self.seats, self._branch, self._replier)
        self.moderation = options.moderation
        """The user's rules for what is said; None moderates nothing."""
        self._latch = Latch()
        replies = [node for node in self._branch.path if node.stats]
        self._replier.last_stats = replies[-1].stats if replies else None

    @classmethod
    def start(
        cls,
        store: Store,
        backend: Backend,
        role: Role,
        slug: str,
        *,
        options: ChatOptions,
        name: str | None = None,
    ) -> Self:
        """A new conversation, which begins with the role's greeting."""
        return cls.start_room(store, backend, [Player(role, slug)], options=options, name=name)

    @classmethod
    def start_room(
        cls,
        store: Store,
        backend: Backend,
        players: Sequence[Player],
        *,
        options: ChatOptions,
        turns: Turns = "named",
        name: str | None = None,
    ) -> Self:
        """A new conversation with these roles, in which each gives its greeting; one player makes no room."""
        info = begin(store, backend.label, players, options, turns, name or "")
        return cls(store, backend, players, info, options)

    @classmethod
    def resume(
        cls,
        store: Store,
        backend: Backend,
        role: Role,
        slug: str,
        conversation_id: str,
        *,
        options: ChatOptions,
    ) -> Self:
        """Go on with a conversation. Its user's name and seed hold unless options bring others."""
        return cls.resume_room(store, backend, [Player(role, slug)], conversation_id, options=options)

    @classmethod
    def resume_room(
        cls,
        store: Store,
        backend: Backend,
        players: Sequence[Player],
        conversation_id: str,
        *,
        options: ChatOptions,
        turns: Turns | None = None,
    ) -> Self:
        """Go on with a room, its players found with casting.players_of; turns changes how they are taken."""
        info = take_up(store, backend.label, players, conversation_id, options, turns)
        return cls(store, backend, players, info, options)

    @property
    def seat(self) -> Seat:
        """Whoever spoke last; the first of the room where nobody has."""
        return self._rounds.seat_of(next((n.slug for n in reversed(self._branch.path) if n.slug), ""))

    @property
    def role(self) -> Role:
        """The role that is talked to; in a room, the one that spoke last."""
        return self.seat.role

    @property
    def slug(self) -> str:
        """Its slug."""
        return self.seat.slug

    @property
    def user(self) -> str:
        """What the role calls the user: the persona's name, else the user's own."""
        return self.seats[0].user

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of the roles' lorebooks: a file that could not be read, say."""
        return tuple(dict.fromkeys(notice for seat in self.seats for notice in seat.notices))

    @property
    def state(self) -> ChatState:
        """The chat's persona, author's note and summaries; in a room, those of the role that spoke last."""
        return self.seat.state

    @property
    def retries(self) -> int:
        """Replies of this sitting that went wrong and were tried again."""
        return self._replier.retries

    @property
    def last_stats(self) -> Stats | None:
        """What the last reply cost; None before the first."""
        return self._replier.last_stats

    @property
    def conversation(self) -> ConversationInfo:
        """The conversation's line in the list, as it is now."""
        return self.store.conversation(self.id)

    @property
    def path(self) -> list[Node]:
        """The active branch, greeting first. A streaming reply is in it as of the last half second."""
        return list(self._branch.path)

    def name_of(self, node: Node) -> str:
        """Who says a message."""
        names = {"user": self.user, "assistant": self.seats[0].role.name}
        return node.name or names.get(node.speaker, "Note")

    def find_seat(self, who: str) -> Seat:
        """The seat of the role with this slug or name; whoever spoke last for "". Raises RolekitError for nobody."""
        return self._rounds.find(who) if who else self.seat

    def stop(self) -> None:
        """End the reply that is being made; what came is kept. May be called from any thread, at any time."""
        self._latch.cancel.set()

    async def say(self, text: str) -> AsyncGenerator[SessionEvent, None]:
        """Save the user's message, then stream the reply, or in a room the replies of those whose turn it is.

        When no reply can be made, the message leaves the branch again (redo and search find it) and RolekitError
        is raised, so that the text can go back into the composer.
        """
        if not text.strip():
            raise RolekitError("There is nothing to send.", "Type a message first.")
        with self._latch.streaming():
            verdict = await heard(self.moderation, text)
            extra = with_speaker("", "", self.seats[0].label) if self.room else ""
            node, step = self._branch.add_user(verdict.text, kept_with(self.moderation, extra, verdict))
            yield UserSaved(node)
            if verdict.decisions:
                yield Moderated(verdict.decisions)
            async with aclosing(self._answers("say", self._branch.path, step)) as events:
                async for event in events:
                    yield event

    def next(self, who: str = "") -> AsyncGenerator[SessionEvent, None]:
        """In a room: let a role speak without a word of the user, the named one or whose turn it is.

        Raises RolekitError outside of a room, and when the named one has just spoken.
        """

        def reply() -> AsyncGenerator[SessionEvent, None]:
            path = self._branch.path
            seat = self._rounds.goes_on(path, self._room().turns, who, self.seed)
            wish = Wish("say", seat, path, path[-1].id if path else None)
            return self._replier.reply(wish, self.backend, self._request())

        return self._latch.shut_while(reply)

    def regenerate(self, node_id: int | None = None) -> AsyncGenerator[SessionEvent, None]:
        """Another version of a reply (the last by default), or the replies to a message of the user that has none."""

        def reply() -> AsyncGenerator[SessionEvent, None]:
            node = self._branch.node(node_id)
            if node.speaker != "assistant":
                return self._answers("regenerate", self._branch.path_to(node.id))
            return self._replier.reply(self._again(node), self.backend, self._request())

        return self._latch.shut_while(reply)

    def continue_last(self) -> AsyncGenerator[SessionEvent, None]:
        """Let the last reply go on, as a new version; a message of the user is answered instead."""

        def reply() -> AsyncGenerator[SessionEvent, None]:
            node = self._branch.node(None)
            if node.speaker != "assistant":
                return self._answers("regenerate", self._branch.path_to(node.id))
            wish = self._again(node)
            if node.text:
                wish = Wish("continue", wish.seat, self._branch.path, node.parent_id, base=node)
            return self._replier.once(wish, self.backend, self._request())

        return self._latch.shut_while(reply)

    def swipe(self, step: int, node_id: int | None = None) -> bool:
        """Go step versions on from a message (the last by default), to where that branch was left.

        False when there is no such version; the history is then as before.
        """
        self._latch.idle()
        return self._branch.swipe(self._branch.node(node_id), step)

    def edit(self, node_id: int, text: str) -> Node:
        """The edited message: a new version that ends the branch. What followed the old one stays under it."""
        self._latch.idle()
        if not text.strip():
            raise RolekitError(
                "The edited message is empty.", "Type something, or delete the message instead."
            )
        node = self._branch.node(node_id)
        return node if text == node.text else self._branch.edit(node, text)

    def delete(self, node_id: int) -> None:
        """Take one message out of the conversation, on every branch. undo brings it back."""
        self._latch.idle()
        self._branch.delete(self._branch.node(node_id))

    def pin(self, node_id: int, pinned: bool) -> None:
        """Keep the turn of this message in the context for good, or let it go."""
        self._latch.idle()
        self._branch.pin(self._branch.node(node_id), pinned)

    def show(self, node_id: int) -> None:
        """Go to the branch with this message (a search hit), to where it was left; a deleted one comes back."""
        self._latch.idle()
        self._branch.show(self._branch.node(node_id))

    def undo(self) -> str:
        """Undo the last change; a sentence for the user that says which, or "" when there is none."""
        self._latch.idle()
        return self._branch.undo()

    def redo(self) -> str:
        """Redo what was undone last; a sentence for the user that says what, or "" when there is none."""
        self._latch.idle()
        return self._branch.redo()

    def rename(self, title: str) -> None:
        """Give the conversation another title."""
        self.store.rename(self.id, title)

    def save_as(self, name: str) -> None:
        """Give the conversation a name to find it again."""
        self.store.set_name(self.id, name)

    def set_backend(self, backend: Backend, *, keep_adapters: bool = True) -> None:
        """Let another model (or the same with another adapter) answer from here on. The caller closes the old.

        keep_adapters=False: the adapters of a room's roles belong to the old one, and are put away.
        """
        self._latch.idle()
        self.backend = backend
        for seat in self.seats:
            seat.use(backend, keep_adapters=keep_adapters)
        self.store.set_model(self.id, backend.label)

    def set_note(self, text: str, depth: int = 4, who: str = "") -> None:
        """Give the chat an author's note (or none), at most so many messages before the end of every prompt.

        In a room it is for one role: nobody else sees it.
        """
        self._latch.idle()
        self.find_seat(who).change(note=AuthorsNote(text.strip(), depth))

    def set_persona(self, persona: Persona) -> None:
        """Be somebody else from here on; the role blocks are read anew once."""
        self._latch.idle()
        for seat in self.seats:
            seat.change(persona=persona)

    def set_turns(self, turns: Turns) -> None:
        """Take turns in another way from here on. Raises RolekitError outside of a room."""
        self.room = replace(self._room(), turns=turns)
        self.store.set_extra(self.id, with_room(self.store.row(self.id)["extra"], self.room))

    def reread_lore(self) -> None:
        """Take the roles' lorebooks as they are now; they may have been changed since the chat was opened."""
        self._latch.idle()
        for seat in self.seats:
            seat.prompting.set_state(seat.state)

    @property
    def reflection_due(self) -> bool:
        """Whether something is to be summed up before it is folded, or room to be made for the next message."""
        return not self._latch.busy and pressing(self.seats, self.seat, self._branch.path, self.max_tokens)

    async def reflect(self) -> Summary | None:
        """Let a role sum up what will be folded next, and fold it when the next message would not fit.

        For a moment when nobody waits; stop() ends it. None when nothing was to be summed up, or it was stopped.
        """
        with self._latch.streaming():
            request = Request((), max_tokens=self.max_tokens, cancel=self._latch.cancel)
            return await use_the_pause(self.seats, self.seat, self._branch.path, request)

    def why(self, who: str = "") -> Woven | None:
        """What stands beside the newest message said to a role and why, and what a limit kept out.

        None: nothing has been said yet.
        """
        seen = self.find_seat(who).prompting.seen(self._branch.path)
        return woven_for(seen, in_room=self.room is not None)

    def prompt(self, who: str = "") -> PromptReport:
        """The next reply's prompt as it stands, part by part. Raises RolekitError where it does not fit."""
        return seat_prompt(self.find_seat(who), self._branch.path, self.max_tokens)

    def context(self, who: str = "") -> ContextReport:
        """What the next reply's prompt is made of, token by token; what is folded is listed too."""
        return seat_context(self.find_seat(who), self._branch.path, self.max_tokens)

    def _again(self, node: Node) -> Wish:
        seat, history = self._rounds.seat_of(node.slug), self._branch.path_to(node.parent_id)
        return Wish("regenerate", seat, history, node.parent_id)

    async def _answers(
        self, kind: Literal["say", "regenerate"], path: list[Node], step: int = 0
    ) -> AsyncGenerator[SessionEvent, None]:
        """The replies to the user's message at the end of path, of everybody whose turn it is."""
        path, decisions = await heard_again(self.moderation, self._branch, path)
        if decisions:
            yield Moderated(decisions)
        turns = self.room.turns if self.room else "round-robin"
        replies = self._rounds.answers(kind, path, turns, self.backend, self._request(), step)
        async with aclosing(replies) as events:
            async for event in events:
                yield event

    def _room(self) -> Room:
        if self.room is None:
            raise RolekitError("There is one role here.", "Name several: --role NAME --role NAME.")
        return self.room

    def _request(self) -> Request:
        """What every reply has in common; seed is the conversation's."""
        return Request((), self.sampling, self.seed, self.max_tokens, cancel=self._latch.cancel)
