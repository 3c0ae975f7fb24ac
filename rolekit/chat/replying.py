"""One reply of one role: asked for, streamed to the disk and the face, tried once more where it went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from rolekit.chat import nodes
from rolekit.chat.asking import reply_seed
from rolekit.chat.branch import Branch
from rolekit.chat.events import Finished, Folded, Moderated, Retried, SessionEvent, Speaking
from rolekit.chat.guard import fault_in
from rolekit.chat.journal import Kind
from rolekit.chat.memory import Plan
from rolekit.chat.moderation import Decision, Moderation, with_decisions
from rolekit.chat.room import with_speaker
from rolekit.chat.seat import Seat
from rolekit.chat.sieve import Sieve, Verdict, moderate
from rolekit.chat.tree import Node
from rolekit.chat.writing import ReplyWriter
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Event, Piece, Reply, Request, Stats, StopReason, SwapsAdapters


@dataclass(frozen=True, slots=True)
class Wish:
    """Which reply is wanted."""

    kind: Kind
    seat: Seat
    history: list[Node]
    """As it is stored; the reply answers its end."""
    parent_id: int | None
    step: int = 0
    """The say that it belongs to; 0 makes it a step of its own."""
    first: bool = True
    """Without it the say would be without an answer, and is taken back."""
    base: Node | None = None
    """The reply that is to go on: the last of history."""


class Replier:
    """Makes the replies of one conversation, one at a time."""

    def __init__(self, branch: Branch, moderation: Moderation | None, *, in_room: bool) -> None:
        """moderation: None shows replies unchecked; in_room: whether several roles take turns."""
        self.retries = 0
        """Replies of this sitting that went wrong and were tried again."""
        self.last_stats: Stats | None = None
        self._branch = branch
        self._moderation = moderation
        self._in_room = in_room

    async def reply(
        self, wish: Wish, backend: Backend, request: Request
    ) -> AsyncGenerator[SessionEvent, None]:
        """Stream a reply, and once more where the first went wrong; both stay as versions.

        request gives sampling, length, the cancel flag, and the conversation's seed.
        """
        if self._in_room:
            yield Speaking(wish.seat.slug, wish.seat.role.name)
        first: Finished | None = None
        async with aclosing(self.once(wish, backend, request)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    first = event
                else:
                    yield event
        assert first is not None
        fault = fault_in(wish.seat.guard, first, wish.seat.prompting.seen(wish.history))
        if first.node is None or not fault:
            yield first
            return
        self.retries += 1
        yield Retried(first.node, fault)
        again = Wish("regenerate", wish.seat, self._branch.path_to(wish.parent_id), wish.parent_id)
        async with aclosing(self.once(again, backend, request)) as events:
            async for event in events:
                yield event
        last = self._branch.path[-1] if self._branch.path else None
        if last is not None and last.id != first.node.id and not last.text.strip():
            self._branch.swipe(last, -1)

    async def once(
        self, wish: Wish, backend: Backend, request: Request
    ) -> AsyncGenerator[SessionEvent, None]:
        """Stream one reply into a new node, whatever it is like."""
        seat, base = wish.seat, wish.base
        before = wish.history if base is None else wish.history[:-1]
        writer = ReplyWriter(
            self._branch.database,
            self._branch.id,
            wish.parent_id,
            vocabulary=backend.vocabulary,
            begun=lambda node_id: self._branch.begin_reply(wish.kind, node_id, wish.step),
            base=base,
            extra=with_speaker("", seat.slug, seat.role.name) if self._in_room else "",
        )
        reply: Reply | None = None
        node: Node | None = None
        finished = False
        decisions: tuple[Decision, ...] = ()
        try:
            history = seat.prompting.woven(wish.history)
            before = history if base is None else history[:-1]
            plan = seat.prompting.plan(history, request.max_tokens, keep=True)
            if plan.folded_turns or plan.freed_tokens:
                yield Folded(plan.folded_turns, plan.freed_tokens)
            await _put_on(backend, seat)
            asked = self._asked(request, wish, plan, len(before))
            async with aclosing(self._sifted(backend, asked, base.text if base else "")) as events:
                async for event in events:
                    if isinstance(event, Reply):
                        reply = event
                        continue
                    if isinstance(event, Piece):
                        writer.add(event.text)
                        self._branch.follow(before, writer.node)
                    if isinstance(event, Moderated):
                        decisions = event.decisions
                    else:
                        yield event
            if reply is None:
                raise RolekitError("The model broke off without a reply.", "Try again.")
            if self._moderation is not None:
                writer.extra = with_decisions(writer.extra, decisions)
            node = writer.finish(reply)
            finished = True
        except RolekitError:
            if wish.step and wish.first and writer.node is None:
                with suppress(RolekitError):  # the error that brought us here is the one to tell
                    self._branch.undo(wish.step)
            raise
        finally:
            if not finished:
                writer.keep()
            self._branch.follow(before, writer.node)
        self.last_stats = reply.stats
        if decisions:
            yield Moderated(decisions)
        yield Finished(node, reply)

    async def _sifted(
        self, backend: Backend, asked: Request, before: str
    ) -> AsyncGenerator[Event | Moderated, None]:
        """The backend's events after moderation; its decisions, if any, come in front of the Reply."""
        sieve = Sieve(self._moderation, before) if self._moderation else None
        shown: list[str] = []
        async with aclosing(backend.stream(asked)) as events:
            async for event in events:
                if sieve is None or self._moderation is None or not isinstance(event, Piece | Reply):
                    yield event
                elif isinstance(event, Piece):
                    if text := sieve.feed(event.text):
                        shown.append(text)
                        yield Piece(text)
                    if sieve.stopped:
                        asked.cancel.set()
                else:
                    verdict = await moderate(self._moderation, event.text, "output", before)
                    reply = _after(event, verdict)
                    so_far = "".join(shown)
                    if reply.text.startswith(so_far) and reply.text != so_far:
                        yield Piece(reply.text.removeprefix(so_far))
                    if verdict.decisions:
                        yield Moderated(verdict.decisions)
                    yield reply

    def _asked(self, request: Request, wish: Wish, plan: Plan, depth: int) -> Request:
        seat = wish.seat
        version = nodes.count_versions(self._branch.database, self._branch.id, wish.parent_id)
        return replace(
            request,
            messages=plan.messages,
            seed=reply_seed(request.seed, depth, version),
            role_names=(seat.role.name, *seat.role.aliases),
            stop_names=seat.stop_names,
            continue_last=wish.base is not None,
            conversation=seat.kv_name,
        )


def _after(reply: Reply, verdict: Verdict) -> Reply:
    """The reply as moderation leaves it; its ids stand only for its own text."""
    if verdict.text == reply.text and not verdict.stopped:
        return reply
    reason: StopReason = "moderated" if verdict.stopped else reply.stop_reason
    return replace(reply, text=verdict.text, token_ids=(), stop_reason=reason)


async def _put_on(backend: Backend, seat: Seat) -> None:
    """Let the backend use the role's adapters. Raises RolekitError where it cannot."""
    if isinstance(backend, SwapsAdapters):
        wanted = backend.usual_adapters if seat.adapters is None else seat.adapters
        if backend.adapters != wanted:
            await asyncio.to_thread(backend.set_adapters, wanted)
    elif seat.adapters:
        raise RolekitError(
            f"{backend.label} cannot change adapters.", "Leave --adapter out, or use a model in this process."
        )
