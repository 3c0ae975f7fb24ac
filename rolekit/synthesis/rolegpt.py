"""RoleGPT: general instructions answered in the role's voice, several times each (arXiv 2310.00746).

Five answers are references and one is the baseline that other models are compared with. Three ways of prompting:
zero-shot, few-shot in one prompt, and few-shot dialogue engineering (the five nearest pairs of the role as turns).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from rolekit.endpoints.calls import Answer, Call
from rolekit.ranking import words_of
from rolekit.rolebench.casting import Cast
from rolekit.rolebench.prompting import messages_for, needs_pairs
from rolekit.rolebench.sources import Instruction, read_instructions
from rolekit.roles.role import Role
from rolekit.synthesis.cleaning import allowed_for, answer_fault, tidied, up_to_last_sentence
from rolekit.synthesis.desk import Desk, plain
from rolekit.synthesis.duplicates import Asked
from rolekit.synthesis.reading import Question, Unread
from rolekit.synthesis.recipe import RoleGpt
from rolekit.synthesis.rows import Candidate, row_id
from rolekit.synthesis.shown import pairs_of

_MOST_WORDS = 100
"""Of an instruction, as in the paper; Chinese counts characters."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """What is asked of a role, and what was left out of the files and why."""

    chosen: tuple[Instruction, ...]
    faulty: int
    too_long: int
    duplicates: int


def instructions_for(role: Role, task: RoleGpt, seed: int = 0) -> Instructions:
    """The instructions that this task asks: short ones, each once, chosen by hash where there are too many.

    Raises RolekitError when the file cannot be read or holds none.
    """
    if task.instructions:
        reading = read_instructions(Path(task.instructions))
        found, faulty = list(reading.instructions), len(reading.faults)
    else:
        from rolekit.synthesis.instructions import bundled_instructions

        found, faulty = list(bundled_instructions(role.language)), 0
    short = [one for one in found if len(words_of(one.question)) <= _MOST_WORDS]
    asked, kept = Asked(()), []
    for one in short:
        if not asked.twin(one.question):
            asked.keep(one.question)
            kept.append(one)
    chosen = kept
    if 0 < task.most_instructions < len(kept):
        ranked = sorted(kept, key=lambda one: _rank(seed, one.question))
        chosen = ranked[: task.most_instructions]
    return Instructions(tuple(chosen), faulty, len(found) - len(short), len(short) - len(kept))


async def rolegpt_rows(desk: Desk, task: RoleGpt) -> AsyncGenerator[Candidate, None]:
    """A row for each instruction: its references and its baseline, what the rules took out beside them."""
    instructions = instructions_for(desk.role, task, desk.recipe.seed).chosen
    each = answers_each(task)
    desk.expected = len(instructions) * each
    wanted = [one for one in instructions if _id(desk.role, one) not in desk.written]
    desk.skipped((len(instructions) - len(wanted)) * each)
    calls = rolegpt_calls(desk, task, wanted)
    questions = [Question(call, plain) for call in calls]
    gathered: dict[int, list[Answer | Unread]] = {}
    async with aclosing(desk.read(questions)) as meanings:
        async for index, value in meanings:
            place = index // each
            answers = gathered.setdefault(place, [])
            answers.append(value)
            if len(answers) == each:
                yield _row(desk.role, task, wanted[place], gathered.pop(place))


def answers_each(task: RoleGpt) -> int:
    """How many answers one instruction gets."""
    return max(1, task.references) + task.baseline


def rolegpt_calls(desk: Desk, task: RoleGpt, instructions: list[Instruction]) -> list[Call]:
    """The calls of each instruction in turn, the baseline's last."""
    role = desk.role
    few = needs_pairs(task.prompting, "system")
    cast, pairs = Cast(role, "library"), pairs_of(role, desk.recipe.folder) if few else None
    calls: list[Call] = []
    for one in instructions:
        shown = pairs.nearest(role.name, role, one.question) if pairs else ()
        messages = messages_for(cast, one.question, shown, task.prompting, "system")
        calls += [
            desk.call(messages, task.answer_tokens, sample=sample) for sample in range(answers_each(task))
        ]
    return calls


def _row(role: Role, task: RoleGpt, one: Instruction, answers: list[Answer | Unread]) -> Candidate:
    """The instruction's row; the baseline is the last answer."""
    kept: list[str] = []
    dropped: list[tuple[str, str]] = []
    baseline, cut, allowed = "", 0, allowed_for(role)
    for place, answer in enumerate(answers):
        if isinstance(answer, Unread):
            dropped.append((answer.text, answer.reason))
            continue
        text, ended = tidied(answer.text, (role.name, *role.aliases)), answer.finish_reason
        if task.shorten and ended == "length" and (whole := up_to_last_sentence(text)):
            text, ended, cut = whole, "stop", cut + 1
        fault = answer_fault(text, ended, allowed)
        if fault is not None:
            dropped.append((text, fault.reason))
        elif task.baseline and place == len(answers) - 1:
            baseline = text
        elif text not in kept:
            kept.append(text)
    reason = "" if kept else max((name for _, name in dropped), key=[name for _, name in dropped].count)
    return Candidate(
        _id(role, one), "rolegpt", role.name, role.language, one.question, tuple(kept),
        "accepted" if kept else "rejected", reason,
        detail=_detail(kept, cut), baseline=baseline, raw=one.answers, dropped=tuple(dropped),
        source=one.origin,
    )  # fmt: skip


def _detail(kept: list[str], cut: int) -> str:
    if not kept:
        return "no answer is left"
    return f"{cut} cut to their last whole sentence" if cut else ""


def _id(role: Role, one: Instruction) -> str:
    return row_id("rolegpt", role.name, one.question)


def _rank(seed: int, question: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{question}".encode("utf-8", "replace")).digest()
