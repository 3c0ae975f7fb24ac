"""Conversations over several turns: a simulated user talks with the role, both played by the generator.

The paper trains on single questions alone. Here a user with a situation of its own and the role (system instruction and
examples as in every chat) answer each other; all dialogues go forward together, one utterance a round.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from rapidfuzz import fuzz, process

from rolekit.endpoints.calls import Answer
from rolekit.messages import Message
from rolekit.roles.block import opening_messages
from rolekit.roles.role import Role
from rolekit.synthesis import prompts
from rolekit.synthesis.cleaning import Fault, allowed_for, answer_fault, language_fault, tidied
from rolekit.synthesis.desk import Desk, plain
from rolekit.synthesis.reading import Question, Unread
from rolekit.synthesis.recipe import Dialogues
from rolekit.synthesis.rows import Candidate, row_id

_SAME = 92.0
"""Per cent of likeness from which an utterance repeats an earlier one of the same speaker."""


@dataclass(slots=True)
class Talk:
    """One dialogue on its way."""

    number: int
    situation: str
    exchanges: int
    turns: list[str] = field(default_factory=list)
    fault: Fault | None = None
    """Why it ended before its time."""
    lost: bool = False
    """Whether an utterance got no answer: it is gone on with in the next life."""

    @property
    def ended(self) -> bool:
        """Whether nothing more is said in it."""
        return self.lost or self.fault is not None or len(self.turns) >= 2 * self.exchanges


async def dialogue_rows(desk: Desk, task: Dialogues) -> AsyncGenerator[Candidate, None]:
    """A row for each dialogue as it ends; one that goes wrong ends before the fault, and is rejected when too short."""
    talks = [begun(desk, task, number) for number in range(task.dialogues)]
    fresh = [talk for talk in talks if _id(desk.role, talk) not in desk.written]
    desk.expected = sum(2 * talk.exchanges for talk in talks)
    desk.skipped(desk.expected - sum(2 * talk.exchanges for talk in fresh))
    active = fresh
    while active and not desk.cancel.is_set():
        await _utter(desk, task, active)
        for talk in active:
            if talk.ended and not talk.lost:
                yield _row(desk.role, task, talk)
        active = [talk for talk in active if not talk.ended]


def begun(desk: Desk, task: Dialogues, number: int) -> Talk:
    """The dialogue of this number: its situation and its length depend on the seed alone."""
    situations = prompts.situations_of(desk.role)
    offset = _number(f"{desk.recipe.seed}\0{desk.role.name}")
    span = max(0, task.most_turns - task.least_turns) + 1
    exchanges = task.least_turns + _number(f"{desk.recipe.seed}\0{number}") % span
    return Talk(number, situations[(offset + number) % len(situations)], exchanges)


async def _utter(desk: Desk, task: Dialogues, talks: Sequence[Talk]) -> None:
    """One utterance more for each, the user's or the role's."""
    questions = []
    for talk in talks:
        turns = tuple(talk.turns)
        if len(turns) % 2:
            messages, tokens = role_messages(desk.role, turns), task.reply_tokens
        else:
            messages, tokens = prompts.user_messages(desk.role, talk.situation, turns), task.user_tokens
        questions.append(Question(desk.call(messages, tokens, sample=talk.number), plain))
    heard: set[int] = set()
    async with aclosing(desk.read(questions)) as meanings:
        async for index, value in meanings:
            heard.add(index)
            _take(desk.role, talks[index], value)
    for index, talk in enumerate(talks):
        talk.lost = index not in heard


def role_messages(role: Role, turns: Sequence[str]) -> tuple[Message, ...]:
    """What the role is told before it answers the last of turns; the same opening as in a chat."""
    opening = [message for message in opening_messages(role, "") if message.block != "greeting"]
    spoken = [Message("assistant" if place % 2 else "user", text) for place, text in enumerate(turns)]
    assert len(turns) % 2, "the user has the last word"
    return (*opening, *spoken)


def _take(role: Role, talk: Talk, value: Answer | Unread) -> None:
    """Put an utterance behind the others, or end the dialogue with the reason why not."""
    if isinstance(value, Unread):
        talk.fault = Fault(value.reason, value.text)
        return
    theirs = len(talk.turns) % 2
    text = tidied(value.text, (role.name, *role.aliases) if theirs else ("You", "User", "用户", "你"))
    fault = answer_fault(text, value.finish_reason, allowed_for(role)) or language_fault(role, text)
    if fault is None:
        earlier = talk.turns[theirs::2]
        twin = process.extractOne(text, earlier, scorer=fuzz.ratio, score_cutoff=_SAME)
        fault = Fault("repeats", twin[0][:80]) if twin else None
    if fault is not None:
        talk.fault = fault
    else:
        talk.turns.append(text)


def _row(role: Role, task: Dialogues, talk: Talk) -> Candidate:
    """The dialogue as a row, up to its last whole exchange."""
    turns = tuple(talk.turns[: len(talk.turns) // 2 * 2])
    fault = talk.fault
    enough = len(turns) >= 2 * task.least_turns
    reason = "" if enough else (fault.reason if fault else "incomplete-answer")
    detail = f"{fault.reason}: {fault.detail}" if fault else ""
    return Candidate(
        _id(role, talk), "dialogue", role.name, role.language, turns[0] if turns else "", turns[1:2],
        "accepted" if enough else "rejected", reason, f"ends early, {detail}" if enough and detail else detail,
        turns=turns, source=talk.situation,
    )  # fmt: skip


def _id(role: Role, talk: Talk) -> str:
    return row_id("dialogue", role.name, talk.situation, str(talk.number))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:4], "big")
