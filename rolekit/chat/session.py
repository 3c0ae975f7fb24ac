"""One conversation with one role: every step is on disk before the next begins."""

from __future__ import annotations

import dataclasses
import secrets
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Self

from rolekit.chat import nodes
from rolekit.chat.asking import reply_seed, stop_names
from rolekit.chat.branch import Branch
from rolekit.chat.events import ContextReport, Finished, Folded, Retried, SessionEvent, UserSaved
from rolekit.chat.guard import Guard, fault_in, load_rules
from rolekit.chat.insets import Woven, woven_of
from rolekit.chat.journal import Kind
from rolekit.chat.memory import Plan
from rolekit.chat.nodes import Draft
from rolekit.chat.options import ChatOptions
from rolekit.chat.prompting import Prompting
from rolekit.chat.reflecting import due_turns, reflect
from rolekit.chat.report import PromptReport, context_report, prompt_report
from rolekit.chat.staging import greeting_texts
from rolekit.chat.state import AuthorsNote, ChatState, Persona, Summary, with_state
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.chat.writing import ReplyWriter
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Piece, Reply, Request, Stats
from rolekit.roles.role import Role


class Session:
    """An open conversation. sampling, seed and max_tokens may be changed between replies.

    say, regenerate and continue_last stream SessionEvents; close the generator early and what came is kept.
    Every method raises RolekitError when the disk fails, and while a reply is streaming nothing else may change.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        role: Role,
        slug: str,
        info: ConversationInfo,
        options: ChatOptions,
    ) -> None:
        self.store = store
        self.backend = backend
        self.role = role
        self.slug = slug
        self.id = info.id
        self.sampling = options.sampling
        self.max_tokens = options.max_tokens
        self.seed: int = store.row(info.id)["seed"]
        self.retries = 0
        """Replies of this sitting that went wrong and were tried again."""
        self._branch = Branch(store.database, info.id)
        self._prompting = Prompting(store, self._branch, role, info.id, backend, memory=options.memory)
        self._guard = Guard(stop_names(role, self.user), load_rules(slug)) if options.guard else None
        self._cancel = threading.Event()
        self._busy = False
        replies = [node for node in self._branch.path if node.stats]
        self.last_stats: Stats | None = replies[-1].stats if replies else None

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
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        with store.database.writing() as connection:
            info = store.create(
                role_slug=slug,
                role_name=role.name,
                user=options.user,
                model_label=backend.label,
                seed=seed,
                name=name or "",
            )
            greetings = greeting_texts(role, options.user, options.persona, info.id)
            versions = [
                nodes.insert(connection, info.id, None, Draft("assistant", text)) for text in greetings
            ]
            if versions:
                nodes.set_head(connection, info.id, versions[0])
            if options.persona != Persona():
                store.set_extra(info.id, with_state("", ChatState(options.persona)))
        return cls(store, backend, role, slug, info, options)

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
        info = store.conversation(conversation_id)
        if options.user not in (ChatOptions().user, info.user):
            store.set_user(conversation_id, options.user)
        if options.seed is not None:
            store.set_seed(conversation_id, options.seed)
        if info.model_label != backend.label:
            store.set_model(conversation_id, backend.label)
        return cls(store, backend, role, slug, store.conversation(conversation_id), options)

    @property
    def user(self) -> str:
        """What the role calls the user: the persona's name, else the user's own."""
        return self._prompting.staging.user

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of the role's lorebooks: a file that could not be read, say."""
        return self._prompting.staging.notices

    @property
    def state(self) -> ChatState:
        """The chat's persona, author's note and summaries."""
        return self._prompting.state

    @property
    def conversation(self) -> ConversationInfo:
        """The conversation's line in the list, as it is now."""
        return self.store.conversation(self.id)

    @property
    def path(self) -> list[Node]:
        """The active branch, greeting first. A streaming reply is in it as of the last half second."""
        return list(self._branch.path)

    def stop(self) -> None:
        """End the reply that is being made; what came is kept. May be called from any thread, at any time."""
        self._cancel.set()

    async def say(self, text: str) -> AsyncGenerator[SessionEvent, None]:
        """Save the user's message, then stream the reply.

        When no reply can be made, the message leaves the branch again (redo and search find it) and RolekitError
        is raised, so that the text can go back into the composer.
        """
        if not text.strip():
            raise RolekitError("There is nothing to send.", "Type a message first.")
        with self._streaming():
            node, step = self._branch.add_user(text)
            yield UserSaved(node)
            async with aclosing(self._guarded("say", self._branch.path, node.id, step=step)) as events:
                async for event in events:
                    yield event

    async def regenerate(self, node_id: int | None = None) -> AsyncGenerator[SessionEvent, None]:
        """Another version of a reply (the last by default), or a reply to a message of the user that has none."""
        with self._streaming():
            node = self._branch.node(node_id)
            parent_id = node.parent_id if node.speaker == "assistant" else node.id
            async with aclosing(
                self._guarded("regenerate", self._branch.path_to(parent_id), parent_id)
            ) as events:
                async for event in events:
                    yield event

    async def continue_last(self) -> AsyncGenerator[SessionEvent, None]:
        """Let the last reply go on, as a new version; a message of the user is answered instead."""
        with self._streaming():
            node = self._branch.node(None)
            parent_id = node.parent_id if node.speaker == "assistant" else node.id
            goes_on = node.speaker == "assistant" and bool(node.text)
            if goes_on:
                reply = self._reply("continue", self._branch.path, parent_id, base=node)
            else:
                reply = self._reply("regenerate", self._branch.path_to(parent_id), parent_id)
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
        self.backend = self._prompting.backend = backend
        self.store.set_model(self.id, backend.label)

    def set_note(self, text: str, depth: int = 4) -> None:
        """Give the chat an author's note (or none), at most so many messages before the end of every prompt."""
        self._idle()
        self._prompting.set_state(dataclasses.replace(self.state, note=AuthorsNote(text.strip(), depth)))

    def set_persona(self, persona: Persona) -> None:
        """Be somebody else from here on; the role block is read anew once."""
        self._idle()
        self._prompting.set_state(dataclasses.replace(self.state, persona=persona))

    @property
    def reflection_due(self) -> bool:
        """Whether the next fold is near and what it takes has not been summed up yet."""
        if self._busy or not self._prompting.memory:
            return False
        return bool(due_turns(self._prompting, self._branch.path, self.max_tokens))

    async def reflect(self) -> Summary | None:
        """Let the role sum up what will be folded next; for a moment when nobody waits. stop() ends it.

        None when nothing was due, or it was stopped. The prompt changes only when the turns are folded.
        """
        with self._streaming():
            return await reflect(
                self._prompting,
                self.role,
                self._branch.path,
                self.max_tokens,
                Request((), cancel=self._cancel),
            )

    def why(self) -> Woven | None:
        """What stands beside the user's newest message and why, and what a limit kept out; None: no message yet."""
        mine = [node for node in self._branch.path if node.speaker == "user"]
        return (woven_of(mine[-1]) or Woven()) if mine else None

    def prompt(self) -> PromptReport:
        """The next reply's prompt as it stands, part by part. Raises RolekitError where it does not fit."""
        plan = self._prompting.plan(self._branch.path, self.max_tokens)
        return prompt_report(self.backend, (self.user, self.role.name), plan.messages)

    def context(self) -> ContextReport:
        """What the next reply's prompt is made of, token by token; what is folded is listed too."""
        opening = self._prompting.opening()
        try:
            plan = self._prompting.plan(self._branch.path, self.max_tokens)
            examples_kept, kept = not plan.fold.examples, plan.kept
        except RolekitError:  # too long as it is: show all of it, so that the user sees what to shorten
            examples_kept, kept = True, frozenset(node.id for node in self._branch.path)
        names = (self.user, self.role.name)
        return context_report(
            self.backend, names, opening, self._branch.path, kept=kept, examples_kept=examples_kept
        )

    async def _guarded(
        self, kind: Kind, history: list[Node], parent_id: int | None, *, step: int = 0
    ) -> AsyncGenerator[SessionEvent, None]:
        """Stream a reply, and once more where the first went wrong; both stay as versions."""
        first: Finished | None = None
        async with aclosing(self._reply(kind, history, parent_id, step=step)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    first = event
                else:
                    yield event
        assert first is not None
        fault = fault_in(self._guard, first, history)
        if first.node is None or not fault:
            yield first
            return
        self.retries += 1
        yield Retried(first.node, fault)
        path = self._branch.path_to(parent_id)
        async with aclosing(self._reply("regenerate", path, parent_id)) as events:
            async for event in events:
                yield event
        last = self._branch.path[-1] if self._branch.path else None
        if last is not None and last.id != first.node.id and not last.text.strip():
            self._branch.swipe(last, -1)

    async def _reply(
        self,
        kind: Kind,
        history: list[Node],
        parent_id: int | None,
        *,
        step: int = 0,
        base: Node | None = None,
    ) -> AsyncGenerator[SessionEvent, None]:
        """Stream the reply to history into a new node below parent_id. step is the say it belongs to."""
        before = history if base is None else history[:-1]
        writer = ReplyWriter(
            self.store.database,
            self.id,
            parent_id,
            vocabulary=self.backend.vocabulary,
            begun=lambda node_id: self._branch.begin_reply(kind, node_id, step),
            base=base,
        )
        reply: Reply | None = None
        node: Node | None = None
        finished = False
        try:
            history = self._prompting.woven(history)
            before = history if base is None else history[:-1]
            plan = self._prompting.plan(history, self.max_tokens, keep=True)
            if plan.folded_turns or plan.freed_tokens:
                yield Folded(plan.folded_turns, plan.freed_tokens)
            request = self._request(plan, len(before), parent_id, continue_last=base is not None)
            async with aclosing(self.backend.stream(request)) as events:
                async for event in events:
                    if isinstance(event, Reply):
                        reply = event
                        continue
                    if isinstance(event, Piece):
                        writer.add(event.text)
                        self._branch.follow(before, writer.node)
                    yield event
            if reply is None:
                raise RolekitError("The model broke off without a reply.", "Try again.")
            node = writer.finish(reply)
            finished = True
        except RolekitError:
            if step and writer.node is None:
                with suppress(RolekitError):  # the error that brought us here is the one to tell
                    self._branch.undo(step)
            raise
        finally:
            if not finished:
                writer.keep()
            self._branch.follow(before, writer.node)
        self.last_stats = reply.stats
        yield Finished(node, reply)

    def _request(self, plan: Plan, depth: int, parent_id: int | None, *, continue_last: bool) -> Request:
        version = nodes.count_versions(self.store.database, self.id, parent_id)
        return Request(
            messages=plan.messages,
            sampling=self.sampling,
            seed=reply_seed(self.seed, depth, version),
            max_tokens=self.max_tokens,
            role_names=(self.role.name, *self.role.aliases),
            stop_names=stop_names(self.role, self.user),
            continue_last=continue_last,
            conversation=self.id,
            cancel=self._cancel,
        )

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
