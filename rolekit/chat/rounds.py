"""Who speaks, one after the other: the round of replies to a message of the user, and a role called on by name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal

from rolekit.chat.branch import Branch
from rolekit.chat.events import SessionEvent
from rolekit.chat.replying import Replier, Wish
from rolekit.chat.room import Turns
from rolekit.chat.seat import Seat
from rolekit.chat.tree import Node
from rolekit.chat.turns import Cast, answering, follows, next_speaker
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Request
from rolekit.text import one_line


class Rounds:
    """The seats of one conversation, and whose turn it is. In a conversation with one role it is always that one's."""

    def __init__(self, seats: Sequence[Seat], branch: Branch, replier: Replier) -> None:
        """seats: at least one, in the order of the room."""
        self._seats = tuple(seats)
        self._cast = Cast({seat.slug: seat.role for seat in seats})
        self._branch, self._replier = branch, replier

    def seat_of(self, slug: str) -> Seat:
        """The seat with this slug; the first where there is none (one role, or one that has left)."""
        return next((seat for seat in self._seats if seat.slug == slug), self._seats[0])

    def find(self, who: str) -> Seat:
        """The seat of the role with this slug or name. Raises RolekitError for nobody, and for several."""
        slugs = [seat.slug for seat in self._seats if who in (seat.slug, seat.role.name)]
        slugs = slugs or self._cast.called(who)
        if len(slugs) == 1:
            return self.seat_of(slugs[0])
        known = ", ".join(one_line(seat.role.name, 40) for seat in self._seats)
        raise RolekitError(f"{one_line(who, 40)} is nobody here.", f"There are: {known}.")

    async def answers(
        self,
        kind: Literal["say", "regenerate"],
        path: list[Node],
        turns: Turns,
        backend: Backend,
        request: Request,
        step: int = 0,
    ) -> AsyncGenerator[SessionEvent, None]:
        """The replies to the user's message at the end of path; step is the say they belong to.

        A role that the last one calls on by name answers too, each at most once.
        """
        begun = any(node.speaker == "user" for node in path[:-1])  # greetings alone are no talk yet
        spoken = _spoken(path) if begun else []
        waiting = answering(turns, self._cast, spoken, path[-1].text, _draw(request, path))
        silent = [slug for slug in self._cast.roles if slug not in waiting]
        first = True
        while waiting:
            seat = self.seat_of(waiting[0])
            wish = Wish(kind, seat, path, path[-1].id, step, first)
            async with aclosing(self._replier.reply(wish, backend, request)) as events:
                async for event in events:
                    yield event
            first, path, waiting = False, self._branch.path, waiting[1:]
            if request.cancel.is_set() or not path:
                return
            if not waiting and (called := follows(turns, self._cast, path[-1].text, seat.slug, silent)):
                silent.remove(called)
                waiting = [called]

    def goes_on(self, path: Sequence[Node], turns: Turns, who: str, seed: int) -> Seat:
        """Who speaks without a word of the user: who, or whose turn it is.

        Raises RolekitError when the one named has just spoken, or is nobody here.
        """
        last = path[-1] if path else None
        if who:
            seat = self.find(who)
        else:
            draw = _draw(Request((), seed=seed), path)
            seat = self.seat_of(
                next_speaker(turns, self._cast, _spoken(path), last.text if last else "", draw)
            )
        if last is not None and last.slug == seat.slug:
            raise RolekitError(
                f"{one_line(seat.role.name, 40)} has just spoken.", "Say something, or /continue that line."
            )
        return seat


def _spoken(path: Sequence[Node]) -> list[str]:
    """Whose lines they are, oldest first, without the user's."""
    return [node.slug for node in path if node.slug]


def _draw(request: Request, path: Sequence[Node]) -> str:
    """Decides what is left to chance: the same at the same place of the same talk."""
    return f"{request.seed}/{len(path)}"
