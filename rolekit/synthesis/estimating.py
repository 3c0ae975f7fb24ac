"""What a step will take, before anything is sent: requests, tokens, and what they cost, from usual to at most."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rolekit.endpoints.calls import Call, Usage
from rolekit.endpoints.tokens import estimated_message_tokens
from rolekit.synthesis import prompts
from rolekit.synthesis.context import (
    expected_calls,
    items_each,
    refusal_call,
    refusal_requests,
    source_call,
    triplet_sources,
    unknown_sources,
)
from rolekit.synthesis.desk import Desk
from rolekit.synthesis.dialogues import begun, role_messages
from rolekit.synthesis.generator import Generator
from rolekit.synthesis.recipe import ContextInstruct, Dialogues, Recipe, RoleGpt
from rolekit.synthesis.rolegpt import instructions_for, rolegpt_calls

_REPAIRED = 0.1
"""The share of answers that are asked for again, at most; good models need one in a hundred."""
_USUAL = {"rolegpt": 0.4, "context-instruct": 0.5, "dialogues": 0.4}
"""The part of an answer's room that answers usually fill."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What will be sent and what it will cost, about. What the journal has answered costs nothing more."""

    requests: int
    kept: int
    """Of the step's calls: those that the journal has answered already."""
    prompt_tokens: int
    answer_tokens: int
    """As long as answers usually are."""
    most_tokens: int
    """With every answer as long as it may be."""
    low_usd: float
    high_usd: float
    """With answers as long as they may be, one in ten asked for again."""


def estimate(recipe: Recipe, generator: Generator) -> Estimate:
    """About what the step takes; exact in requests for RoleGPT and dialogues, where nothing has to be asked again.

    Raises RolekitError when the instructions cannot be read.
    """
    desk = Desk(recipe, generator, lambda funnel: None, threading.Event())
    calls = list({call.key: call for call in _calls(desk)}.values())
    fresh = [call for call in calls if generator.journal.answer(call.key) is None]
    price, usual = generator.budget.price, _USUAL[recipe.name]
    prompt = answers = most = 0
    low = high = 0.0
    for call in fresh:
        read = sum(estimated_message_tokens(call.messages))
        spoken = int(call.max_tokens * usual)
        prompt, answers, most = prompt + read, answers + spoken, most + call.max_tokens
        low += price.cost(Usage(read, spoken))
        high += price.cost(Usage(read, call.max_tokens)) * (1 + (_REPAIRED if call.schema else 0.0))
    return Estimate(len(fresh), len(calls) - len(fresh), prompt, answers, most, low, high)


def _calls(desk: Desk) -> Iterable[Call]:
    task = desk.recipe.task
    if isinstance(task, RoleGpt):
        return rolegpt_calls(desk, task, list(instructions_for(desk.role, task, desk.recipe.seed).chosen))
    if isinstance(task, ContextInstruct):
        return _context_calls(desk, task)
    return _dialogue_calls(desk, task)


def _context_calls(desk: Desk, task: ContextInstruct) -> list[Call]:
    """The calls of the first rounds as if nothing had been asked before: later ones are a little longer."""
    each = items_each(desk, task)
    calls: list[Call] = []
    for wanted, sources_of in ((task.candidates, triplet_sources), (task.not_knowing, unknown_sources)):
        needed, number = -(-wanted // each), 0
        while needed > 0:
            sources = sources_of(desk, number)[:needed]
            calls += [source_call(desk, source, each, number, ()) for source in sources]
            needed, number = needed - len(sources), number + 1
    calls += [refusal_call(desk, request) for request in refusal_requests(desk, task.refusal)]
    checks = max(0, expected_calls(task, each) - len(calls)) if task.check else 0
    # A check reads six rows and says little: about what writing one call's rows takes.
    return [*calls, *(replace(calls[0], max_tokens=520, sample=-1 - n) for n in range(checks) if calls)]


def _dialogue_calls(desk: Desk, task: Dialogues) -> list[Call]:
    """The calls of dialogues whose utterances have the usual length."""
    calls: list[Call] = []
    said, replied = "so it goes " * 8, "so it goes " * 20
    for number in range(task.dialogues):
        talk = begun(desk, task, number)
        turns: list[str] = []
        for _ in range(talk.exchanges):
            asked = prompts.user_messages(desk.role, talk.situation, tuple(turns))
            calls.append(desk.call(asked, task.user_tokens, sample=number))
            turns.append(said)
            calls.append(desk.call(role_messages(desk.role, turns), task.reply_tokens, sample=number))
            turns.append(replied)
    return calls
