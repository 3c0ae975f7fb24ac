"""One conversation with one role or several: every step is on disk before the next begins."""

from __future__ import annotations

import dataclasses
import secrets
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Literal, Self

from rolekit.chat import nodes
from rolekit.chat.branch import Branch
from rolekit.chat.casting import Player
from rolekit.chat.events import ContextReport, SessionEvent, UserSaved
from rolekit.chat.insets import Woven, woven_of
from rolekit.chat.nodes import Draft
from rolekit.chat.options import ChatOptions
from rolekit.chat.reflecting import due_turns, reflect
from rolekit.chat.replying import Replier, Wish
from rolekit.chat.report import PromptReport, context_report, prompt_report
from rolekit.chat.room import Room, Turns, room_of, room_slug, with_room, with_speaker
from rolekit.chat.seat import Seat, seats_of
from rolekit.chat.staging import greeting_texts
from rolekit.chat.state import AuthorsNote, ChatState, Persona, Summary, with_state
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.chat.turns import Cast, answering, follows, next_speaker
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Request, Stats
from rolekit.roles.role import Role
from rolekit.text import one_line


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
        self._cast = Cast({player.slug: player.role for player in players})
        self._replier = Replier(self._branch, in_room=self.room is not None)
        self._cancel = threading.Event()
        self._busy = False
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
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        room = Room(tuple(player.member for player in players), turns) if len(players) > 1 else None
        with store.database.writing() as connection:
            info = store.create(
                role_slug=room_slug(player.slug for player in players),
                role_name=room.title if room else players[0].role.name,
                user=options.user,
                model_label=backend.label,
                seed=seed,
                name=name or "",
                extra=with_room("", room) if room else "",
            )
            head: int | None = None
            for player in players:
                extra = with_speaker("", player.slug, player.role.name) if room else ""
                greetings = greeting_texts(player.role, options.user, options.persona, info.id)
                drafts = [Draft("assistant", text, extra=extra) for text in greetings]
                versions = [nodes.insert(connection, info.id, head, draft) for draft in drafts]
                head = versions[0] if versions else head
            if head is not None:
                nodes.set_head(connection, info.id, head)
            if options.persona != Persona():
                extra = store.row(info.id)["extra"]
                for player in players:
                    seat = player.slug if room else ""
                    extra = with_state(extra, ChatState(options.persona), seat)
                store.set_extra(info.id, extra)
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
        info = store.conversation(conversation_id)
        extra = store.row(conversation_id)["extra"]
        if room := room_of(extra):
            changed = Room(tuple(player.member for player in players), turns or room.turns)
            if changed != room:
                store.set_extra(conversation_id, with_room(extra, changed))
        if options.user not in (ChatOptions().user, info.user):
            store.set_user(conversation_id, options.user)
        if options.seed is not None:
            store.set_seed(conversation_id, options.seed)
        if info.model_label != backend.label:
            store.set_model(conversation_id, backend.label)
        return cls(store, backend, players, store.conversation(conversation_id), options)

    @property
    def seat(self) -> Seat:
        """Whoever spoke last; the first of the room where nobody has."""
        slug = next((node.slug for node in reversed(self._branch.path) if node.slug), "")
        return next((seat for seat in self.seats if seat.slug == slug), self.seats[0])

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
        return node.name or {"user": self.user, "assistant": self.seats[0].role.name}.get(
            node.speaker, "Note"
        )

    def find_seat(self, who: str) -> Seat:
        """The seat of the role with this slug or name; whoever spoke last for "". Raises RolekitError for nobody."""
        if not who:
            return self.seat
        slugs = [seat.slug for seat in self.seats if who in (seat.slug, seat.role.name)]
        slugs = slugs or self._cast.called(who)
        if len(slugs) != 1:
            known = ", ".join(one_line(seat.role.name, 40) for seat in self.seats)
            raise RolekitError(f"{one_line(who, 40)} is nobody here.", f"There are: {known}.")
        return next(seat for seat in self.seats if seat.slug == slugs[0])

    def stop(self) -> None:
        """End the reply that is being made; what came is kept. May be called from any thread, at any time."""
        self._cancel.set()

    async def say(self, text: str) -> AsyncGenerator[SessionEvent, None]:
        """Save the user's message, then stream the reply, or in a room the replies of those whose turn it is.

        When no reply can be made, the message leaves the branch again (redo and search find it) and RolekitError
        is raised, so that the text can go back into the composer.
        """
        if not text.strip():
            raise RolekitError("There is nothing to send.", "Type a message first.")
        with self._streaming():
            node, step = self._branch.add_user(text)
            yield UserSaved(node)
            async with aclosing(self._answers("say", self._branch.path, step)) as events:
                async for event in events:
                    yield event

    async def next(self, who: str = "") -> AsyncGenerator[SessionEvent, None]:
        """In a room: let a role speak without a word of the user, the named one or whose turn it is.

        Raises RolekitError outside of a room, and when the named one has just spoken.
        """
        with self._streaming():
            path = self._branch.path
            if self.room is None:
                raise RolekitError("There is one role here.", "Name several: --role NAME --role NAME.")
            last = path[-1] if path else None
            draw = f"{self.seed}/{len(path)}"
            picked = next_speaker(
                self.room.turns, self._cast, self._spoken(path), last.text if last else "", draw
            )
            seat = self.find_seat(who or picked)
            if last is not None and last.slug == seat.slug:
                raise RolekitError(
                    f"{one_line(seat.role.name, 40)} has just spoken.",
                    "Say something, or /continue that line.",
                )
            wish = Wish("say", seat, path, last.id if last else None)
            async with aclosing(self._replier.reply(wish, self.backend, self._request())) as events:
                async for event in events:
                    yield event

    async def regenerate(self, node_id: int | None = None) -> AsyncGenerator[SessionEvent, None]:
        """Another version of a reply (the last by default), or the replies to a message of the user that has none."""
        with self._streaming():
            node = self._branch.node(node_id)
            if node.speaker == "assistant":
                history = self._branch.path_to(node.parent_id)
                wish = Wish("regenerate", self._seat_of(node), history, node.parent_id)
                replies = self._replier.reply(wish, self.backend, self._request())
            else:
                replies = self._answers("regenerate", self._branch.path_to(node.id))
            async with aclosing(replies) as events:
                async for event in events:
                    yield event

    async def continue_last(self) -> AsyncGenerator[SessionEvent, None]:
        """Let the last reply go on, as a new version; a message of the user is answered instead."""
        with self._streaming():
            node = self._branch.node(None)
            if node.speaker != "assistant":
                reply = self._answers("regenerate", self._branch.path_to(node.id))
            elif node.text:
                wish = Wish("continue", self._seat_of(node), self._branch.path, node.parent_id, base=node)
                reply = self._replier.once(wish, self.backend, self._request())
            else:
                history = self._branch.path_to(node.parent_id)
                wish = Wish("regenerate", self._seat_of(node), history, node.parent_id)
                reply = self._replier.once(wish, self.backend, self._request())
            async with aclosing(reply) as events:
                async for event in events:
                    yield event

    def swipe(self, step: int, node_id: int | None = None) -> bool:
        """Go step versions on from a message (the last by default), to where that branch was left.

        False when there is no such version; the history is then as before.
        """
        self._idle()
        return self._branch.swipe(self._branch.node(node_id), step)

    def edit(self, node_id: int, text: str) -> Node:
        """The edited message: a new version that ends the branch. What followed the old one stays under it."""
        self._idle()
        if not text.strip():
            raise RolekitError(
                "The edited message is empty.", "Type something, or delete the message instead."
            )
        node = self._branch.node(node_id)
        return node if text == node.text else self._branch.edit(node, text)

    def delete(self, node_id: int) -> None:
        """Take one message out of the conversation, on every branch. undo brings it back."""
        self._idle()
        self._branch.delete(self._branch.node(node_id))

    def pin(self, node_id: int, pinned: bool) -> None:
        """Keep the turn of this message in the context for good, or let it go."""
        self._idle()
        self._branch.pin(self._branch.node(node_id), pinned)

    def show(self, node_id: int) -> None:
        """Go to the branch with this message (a search hit), to where it was left; a deleted one comes back."""
        self._idle()
        self._branch.show(self._branch.node(node_id))

    def undo(self) -> str:
        """Undo the last change; a sentence for the user that says which, or "" when there is none."""
        self._idle()
        return self._branch.undo()

    def redo(self) -> str:
        """Redo what was undone last; a sentence for the user that says what, or "" when there is none."""
        self._idle()
        return self._branch.redo()

    def rename(self, title: str) -> None:
        """Give the conversation another title."""
        self.store.rename(self.id, title)

    def save_as(self, name: str) -> None:
        """Give the conversation a name to find it again."""
        self.store.set_name(self.id, name)

    def set_backend(self, backend: Backend) -> None:
        """Let another model (or the same with another adapter) answer from here on. The caller closes the old."""
        self._idle()
        self.backend = backend
        for seat in self.seats:
            seat.prompting.backend = backend
            seat.adapters = () if self.room else None
        self.store.set_model(self.id, backend.label)

    def set_note(self, text: str, depth: int = 4, who: str = "") -> None:
        """Give the chat an author's note (or none), at most so many messages before the end of every prompt.

        In a room it is for one role: nobody else sees it.
        """
        self._idle()
        seat = self.find_seat(who)
        note = AuthorsNote(text.strip(), depth)
        seat.prompting.set_state(dataclasses.replace(seat.state, note=note))

    def set_persona(self, persona: Persona) -> None:
        """Be somebody else from here on; the role blocks are read anew once."""
        self._idle()
        for seat in self.seats:
            seat.prompting.set_state(dataclasses.replace(seat.state, persona=persona))

    def set_turns(self, turns: Turns) -> None:
        """Take turns in another way from here on. Raises RolekitError outside of a room."""
        if self.room is None:
            raise RolekitError("There is one role here.", "Name several: --role NAME --role NAME.")
        self.room = dataclasses.replace(self.room, turns=turns)
        self.store.set_extra(self.id, with_room(self.store.row(self.id)["extra"], self.room))

    @property
    def reflection_due(self) -> bool:
        """Whether the next fold is near and what it takes has not been summed up yet."""
        return not self._busy and self._reflecting() is not None

    async def reflect(self) -> Summary | None:
        """Let a role sum up what will be folded next; for a moment when nobody waits. stop() ends it.

        None when nothing was due, or it was stopped. The prompt changes only when the turns are folded.
        """
        with self._streaming():
            seat = self._reflecting()
            if seat is None:
                return None
            request = Request((), cancel=self._cancel)
            return await reflect(seat.prompting, seat.role, self._branch.path, self.max_tokens, request)

    def why(self, who: str = "") -> Woven | None:
        """What stands beside the newest message said to a role and why, and what a limit kept out.

        None: nothing has been said yet.
        """
        seat = self.find_seat(who)
        said = [node for node in seat.prompting.seen(self._branch.path) if node.speaker == "user"]
        if self.room:  # the newest line that it answered
            said = [node for node in said if woven_of(node)] or said[:1]
        return (woven_of(said[-1]) or Woven()) if said else None

    def prompt(self, who: str = "") -> PromptReport:
        """The next reply's prompt as it stands, part by part. Raises RolekitError where it does not fit."""
        seat = self.find_seat(who)
        plan = seat.prompting.plan(self._branch.path, self.max_tokens)
        return prompt_report(self.backend, (self.user, seat.role.name), plan.messages)

    def context(self, who: str = "") -> ContextReport:
        """What the next reply's prompt is made of, token by token; what is folded is listed too."""
        seat = self.find_seat(who)
        path = seat.prompting.seen(self._branch.path)
        try:
            plan = seat.prompting.plan(self._branch.path, self.max_tokens)
            examples_kept, kept = not plan.fold.examples, plan.kept
        except RolekitError:  # too long as it is: show all of it, so that the user sees what to shorten
            examples_kept, kept = True, frozenset(node.id for node in path)
        names = (self.user, seat.role.name)
        opening = seat.prompting.opening()
        return context_report(self.backend, names, opening, path, kept=kept, examples_kept=examples_kept)

    async def _answers(
        self, kind: Literal["say", "regenerate"], path: list[Node], step: int = 0
    ) -> AsyncGenerator[SessionEvent, None]:
        """The replies to the user's message at the end of path, of everybody whose turn it is."""
        turns, text = self.room.turns if self.room else "round-robin", path[-1].text
        waiting = answering(turns, self._cast, self._spoken(path), text, f"{self.seed}/{len(path)}")
        silent = [slug for slug in self._cast.roles if slug not in waiting]
        first = True
        while waiting:
            seat = next(seat for seat in self.seats if seat.slug == waiting[0])
            wish = Wish(kind, seat, path, path[-1].id if path else None, step, first)
            async with aclosing(self._replier.reply(wish, self.backend, self._request())) as events:
                async for event in events:
                    yield event
            first, path, waiting = False, self._branch.path, waiting[1:]
            if self._cancel.is_set() or not path:
                return
            if not waiting and (more := follows(turns, self._cast, path[-1].text, seat.slug, silent)):
                silent.remove(more)
                waiting = [more]

    def _spoken(self, path: Sequence[Node]) -> list[str]:
        """Whose lines they are, oldest first, without the user's."""
        return [node.slug for node in path if node.slug]

    def _seat_of(self, node: Node) -> Seat:
        """Whose line it is; a role that has left the room is answered for by the first."""
        return next((seat for seat in self.seats if seat.slug == node.slug), self.seats[0])

    def _reflecting(self) -> Seat | None:
        """Whose memory is due."""
        for seat in self.seats:
            if seat.prompting.memory and due_turns(seat.prompting, self._branch.path, self.max_tokens):
                return seat
        return None

    def _request(self) -> Request:
        """What every reply has in common; seed is the conversation's."""
        return Request((), self.sampling, self.seed, self.max_tokens, cancel=self._cancel)

    def _idle(self) -> None:
        if self._busy:
            raise RolekitError("A reply is being written.", "Stop it first, or wait until it is done.")

    @contextmanager
    def _streaming(self) -> Iterator[None]:
        self._idle()
        self._busy = True
        self._cancel = threading.Event()
        try:
            yield
        finally:
            self._busy = False
