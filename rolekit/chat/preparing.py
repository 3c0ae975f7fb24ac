"""Making room before it is needed: the next fold, and the reading that it costs, while nobody waits.

Without it the message that no longer fits waits until the model has read anew all that stays. So a fold is made as soon
as the next message would need it, and the model reads on at once; that message then costs only its own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from rolekit.chat.prompting import Prompting
from rolekit.chat.reflecting import due_turns, reflect
from rolekit.chat.seat import Seat
from rolekit.chat.state import Summary
from rolekit.chat.tree import Node
from rolekit.errors import RolekitError
from rolekit.messages import Request

SPARE_TOKENS = 192
"""What the next message may take, with what stands beside it."""


def pressing(seats: Sequence[Seat], speaker: Seat, path: Sequence[Node], max_tokens: int) -> bool:
    """Whether use_the_pause has something to do. speaker is whoever spoke last."""
    return _to_reflect(seats, path, max_tokens) is not None or crowded(speaker.prompting, path, max_tokens)


async def use_the_pause(
    seats: Sequence[Seat], speaker: Seat, path: Sequence[Node], request: Request
) -> Summary | None:
    """Let a role sum up what will be folded next, then make room for the next message; the summary, if any.

    request gives the reply's length and the cancel flag. Raises RolekitError where the backend cannot.
    """
    summary = None
    if (seat := _to_reflect(seats, path, request.max_tokens)) is not None:
        summary = await reflect(seat.prompting, seat.role, path, request.max_tokens, request)
    if not request.cancel.is_set() and crowded(speaker.prompting, path, request.max_tokens):
        await make_room(speaker.prompting, path, replace(request, conversation=speaker.kv_name))
    return summary


def _to_reflect(seats: Sequence[Seat], path: Sequence[Node], max_tokens: int) -> Seat | None:
    """Whose memory is due."""
    return next(
        (seat for seat in seats if due_turns(seat.prompting, path, max_tokens)),
        None,
    )


def crowded(prompting: Prompting, path: Sequence[Node], max_tokens: int) -> bool:
    """Whether the next message would make a fold necessary, and the backend keeps what it has read."""
    backend = prompting.backend
    if not backend.vocabulary or not backend.context_tokens or not path or path[-1].speaker != "assistant":
        return False
    try:
        plan = prompting.plan(path, max_tokens, spare_tokens=_spare(prompting))
    except RolekitError:  # too long in any case: the next message will say so
        return False
    return bool(plan.folded_turns or plan.freed_tokens)


async def make_room(prompting: Prompting, path: Sequence[Node], request: Request) -> None:
    """Fold, and let the backend read what stays. request gives the reply's length, the KV's name and the cancel flag.

    Raises RolekitError where the backend cannot.
    """
    plan = prompting.plan(path, request.max_tokens, keep=True, spare_tokens=_spare(prompting))
    reading = replace(request, messages=plan.messages, max_tokens=1)
    async with aclosing(prompting.backend.stream(reading)) as events:
        async for _ in events:
            pass


def _spare(prompting: Prompting) -> int:
    return min(SPARE_TOKENS, prompting.backend.context_tokens // 8)
