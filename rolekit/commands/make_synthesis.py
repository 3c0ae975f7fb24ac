"""The second step of `rolekit make`: rows in the role's voice, journalled, within a budget, and a person's decisions."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekit.commands.make_generator import FOLDER, cancelled_by_ctrl_c, generator_ref, open_journalled
from rolekit.commands.make_plan import Making, Wishes, digest_of, digest_of_file
from rolekit.commands.progress import Report, advise, progress
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir
from rolekit.synthesis.desk import SEGMENTS
from rolekit.synthesis.shown import DIALOGUE
from rolekit.text import one_line

if TYPE_CHECKING:
    from rolekit.roles.role import Role
    from rolekit.synthesis.desk import Show
    from rolekit.synthesis.estimating import Estimate
    from rolekit.synthesis.findings import Profile
    from rolekit.synthesis.funnel import Funnel, Outcome
    from rolekit.synthesis.generator import Generator
    from rolekit.synthesis.profile import Reading
    from rolekit.synthesis.recipe import Recipe, Task

KEEPS = ("journal.db", "journal.db-wal", "journal.db-shm", "decisions.jsonl")
_SHARES = (0.1, 0.2, 0.3, 0.5)
"""Of the questions that are held out: the first that leaves enough of them to be asked."""
_LEAST_TEST, _LEAST_SMALL = 20, 2


def inputs(making: Making) -> dict[str, Any]:
    """What the rows rest on."""
    wishes = making.wishes
    tasks = [[type(task).__name__, asdict(task)] for task in tasks_of(wishes)]
    return {
        "the role": digest_of_file(making.role_file()),
        "the segments": digest_of_file(making.folder / "profile" / SEGMENTS),
        "the dialogue": digest_of_file(making.folder / "profile" / DIALOGUE),
        "who writes": generator_ref(wishes),
        "what is asked for": [digest_of(tasks), wishes.seed],
    }


def tasks_of(wishes: Wishes) -> list[Task]:
    """General instructions in the role's voice, questions about the role, whole dialogues."""
    from rolekit.endpoints.address import is_endpoint
    from rolekit.synthesis.recipe import ContextInstruct, Dialogues, RoleGpt

    sizes = wishes.sizes
    tasks: list[Task] = []
    if sizes.instructions:
        tasks.append(
            RoleGpt(
                prompting=sizes.prompting,
                most_instructions=sizes.instructions,
                references=sizes.samples,
                baseline=False,
                answer_tokens=sizes.row_tokens,
                shorten=not is_endpoint(generator_ref(wishes)),
            )
        )
    tasks.append(
        ContextInstruct(
            candidates=sizes.rows,
            per_call=sizes.per_call,
            not_knowing=sizes.rows // 10,
            refusal=sizes.rows // 20,
        )
    )
    if sizes.dialogues:
        tasks.append(Dialogues(dialogues=sizes.dialogues))
    return tasks


def carry_out(making: Making) -> dict[str, Any]:
    """Write the rows and export them. Raises RolekitError at a cap or where too little came of it."""
    wishes, folder = making.wishes, ensure_dir(making.folder / FOLDER)
    for name in (SEGMENTS, DIALOGUE):
        shutil.copyfile(making.folder / "profile" / name, folder / name)
    generator = open_journalled(making)
    recipes = [_recipe(folder, making.role(), task, wishes) for task in tasks_of(wishes)]
    with progress() as show:
        told = (lambda funnel: None) if wishes.quiet else partial(_tell, show)
        outcomes = asyncio.run(_written(recipes, generator, told))
    for outcome in outcomes:
        _check(outcome)
    earlier = {"usd": 0.0, "requests": 0} | making.results["profile"]
    spent = {
        "usd": generator.budget.spent_usd - earlier["usd"], "requests": generator.budget.requests - earlier["requests"],
    }  # fmt: skip
    for notice in generator.notices:
        advise(notice)
    return {**exported(making), **spent, "generator": generator_ref(wishes)}


def exported(making: Making) -> dict[str, Any]:
    """Export what is accepted by now: the audit may have changed since the rows were written.

    Raises RolekitError where nothing is left to train on, or no question to ask afterwards.
    """
    from rolekit.synthesis.audit import after, read_decisions
    from rolekit.synthesis.exporting import export
    from rolekit.synthesis.funnel import Counts
    from rolekit.synthesis.rows import read_rows

    folder = making.folder / FOLDER
    rows = read_rows(folder)
    decided = after(rows, read_decisions(folder))
    made = export(folder, test_share=_share(making, decided))
    names = [f"{FOLDER}/export/{name}" for name in made.rows]
    test = [name for name in names if name.endswith("/test.jsonl")]
    train = f"{FOLDER}/export/{made.chat_file.name}"
    figures = {**Counts(rows).figures(), "accepted": sum(row.verdict == "accepted" for row in decided)}
    return {
        "data": f"{FOLDER}/export",
        "train": [train],
        "test": test,
        "train_digest": digest_of_file(making.path(train)),
        "test_digest": digest_of([digest_of_file(making.path(name)) for name in test]),
        "funnel": figures,
        "reasons": dict(Counter(row.reason for row in decided if row.verdict == "rejected").most_common()),
        "made": [train, *test],
    }


def _share(making: Making, rows: Any) -> float:
    """The smallest share that leaves enough questions to be asked. Raises RolekitError where none does."""
    from rolekit.synthesis.exporting import split_of

    asked = {row.question for row in rows if row.verdict == "accepted" and row.step in _ASKED}
    wanted = min(making.wishes.sizes.questions or _LEAST_TEST, _LEAST_TEST)
    for least in (wanted, _LEAST_SMALL, 1):
        for share in _SHARES:
            held_out = sum(split_of(question, share) == "test" for question in asked)
            if held_out >= least and len(asked) - held_out >= min(least, _LEAST_SMALL):
                return share
    raise RolekitError(
        f"Of all rows only {len(asked)} were accepted, too few to train on some and ask others.",
        "Ask for more with --rows and --instructions, take a stronger --model, or accept rows in the audit (F5).",
    )


_ASKED = ("rolegpt", "script-agnostic", "script-based")
"""What the bench asks: dialogues and refusals have no reference answer."""


def estimate(making: Making) -> dict[str, Any]:
    """About what the rows take, from usual to at most; nothing is sent, and nothing is written in the run's folder."""
    from rolekit.commands.make_profile import sketched
    from rolekit.synthesis.estimating import estimate as of
    from rolekit.synthesis.segments import write_segments

    role, profile, reading = sketched(making)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_segments(folder / SEGMENTS, reading.segments)
        for name in KEEPS[:2]:
            if (kept := making.folder / FOLDER / name).is_file():
                shutil.copyfile(kept, folder / name)
        generator = open_journalled(making, folder)
        try:
            recipes = [_recipe(folder, role, task, making.wishes) for task in tasks_of(making.wishes)]
            found = [of(recipe, generator) for recipe in recipes]
            if making.wishes.model:
                found.append(_of_profile(profile, reading, generator))
        finally:
            asyncio.run(generator.close())
    total = {field.name: sum(getattr(one, field.name) for one in found) for field in fields(found[0])}
    return {**total, "priced": generator.priced}


def _of_profile(profile: Profile, reading: Reading, generator: Generator) -> Estimate:
    """What the profile's facts and description take."""
    from rolekit.endpoints.calls import Usage
    from rolekit.endpoints.tokens import estimated_message_tokens
    from rolekit.synthesis.enriching import description_call, facts_calls
    from rolekit.synthesis.estimating import Estimate

    calls = [*(call for _, call in facts_calls(reading, generator)), description_call(profile, generator)]
    fresh = [call for call in calls if generator.journal.answer(call.key) is None]
    price, sizes = (
        generator.budget.price,
        [(sum(estimated_message_tokens(call.messages)), call.max_tokens) for call in fresh],
    )
    low = sum(price.cost(Usage(read, most // 2)) for read, most in sizes)
    high = sum(price.cost(Usage(read, most)) for read, most in sizes)
    read, most = sum(read for read, _ in sizes), sum(most for _, most in sizes)
    return Estimate(len(fresh), len(calls) - len(fresh), read, most // 2, most, low, high)


def _recipe(folder: Path, role: Role, task: Task, wishes: Wishes) -> Recipe:
    from rolekit.synthesis.recipe import Recipe

    return Recipe(folder, role, task, wishes.seed)


async def _written(recipes: list[Recipe], generator: Generator, told: Show) -> list[Outcome]:
    """Every task that is not finished, until one is not: paused by Ctrl+C, or short of answers."""
    from rolekit.synthesis.running import is_finished, run

    outcomes: list[Outcome] = []
    try:
        with cancelled_by_ctrl_c() as cancel:
            for recipe in recipes:
                if not is_finished(recipe):
                    outcomes.append(await run(recipe, generator, told, cancel))
                    if not outcomes[-1].finished:
                        break
    finally:
        await generator.close()
    return outcomes


def _check(outcome: Outcome) -> None:
    """Raises KeyboardInterrupt after a pause, RolekitError where calls got no answer."""
    if outcome.finished:
        return
    if not outcome.unanswered:
        raise KeyboardInterrupt
    reasons = "; ".join(
        f"{number} × {one_line(reason, 160)}" for reason, number in outcome.unanswered.items()
    )
    raise RolekitError(
        f"{sum(outcome.unanswered.values())} calls got no answer: {reasons.rstrip('.')}.",
        "The same command asks them again; everything else is kept.",
    )


def _tell(show: Report, funnel: Funnel) -> None:
    cost = f", ${funnel.usd:.3f}" if funnel.usd else ""
    show(f"{funnel.step}: {funnel.accepted} of {funnel.candidates}{cost}", funnel.done, funnel.total)
