"""Carrying a step of the synthesis out from the command line: estimate, progress, pause, summary."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from rolekit.commands.progress import advise
from rolekit.commands.synth_progress import funnel_progress
from rolekit.paths import expanded
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.synthesis.estimating import Estimate
    from rolekit.synthesis.exporting import Exported
    from rolekit.synthesis.funnel import Funnel, Outcome
    from rolekit.synthesis.generator import Generator
    from rolekit.synthesis.recipe import Recipe, Task


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was typed, the same for every step."""

    role: str
    out: str
    model: str | None
    seed: int
    temperature: float
    concurrency: int
    max_usd: float | None
    max_requests: int | None
    context_tokens: int
    threads: int
    parallel: int


def carry_out(task: Task, wishes: Wishes, *, dry_run: bool, as_json: bool) -> None:
    """Run the step or go on with it, export what is accepted, and tell how it ended; exit 130 after a pause."""
    from rolekit.roles.library import RoleLibrary
    from rolekit.synthesis.recipe import Recipe
    from rolekit.synthesis.running import is_finished, kept_outcome

    role = RoleLibrary().find(wishes.role).loaded()
    recipe = Recipe(expanded(wishes.out), role, task, wishes.seed, wishes.temperature)
    if dry_run:
        asyncio.run(_estimate(recipe, wishes, as_json))
        return
    if is_finished(recipe):
        advise("This step is finished; nothing was asked.")
        outcome = kept_outcome(recipe)
    else:
        with _pausing() as cancel:
            outcome = asyncio.run(_run(recipe, wishes, cancel))
    _tell(recipe, outcome, as_json)
    if not outcome.finished and not outcome.unanswered:
        advise("Paused. The same command goes on; nothing is asked twice.")
        raise typer.Exit(130)


def open_model(recipe: Recipe, wishes: Wishes) -> Generator:
    """Whoever writes; the journal lies in the recipe's folder."""
    from rolekit.config import load_config
    from rolekit.synthesis.generator import open_generator

    return open_generator(
        recipe.folder,
        wishes.model or load_config().model,
        concurrency=wishes.concurrency,
        parallel=wishes.parallel,
        context_tokens=wishes.context_tokens,
        threads=wishes.threads,
        max_usd=wishes.max_usd,
        max_requests=wishes.max_requests,
    )


async def _estimate(recipe: Recipe, wishes: Wishes, as_json: bool) -> None:
    from rolekit.synthesis.estimating import estimate

    generator = open_model(recipe, wishes)
    try:
        about = estimate(recipe, generator)
        priced = generator.priced
    finally:
        await generator.close()
    if as_json:
        row = {
            "step": recipe.name,
            "role": recipe.role.name,
            "model": str(generator.endpoint),
            **asdict(about),
        }
        if not priced:
            row |= {"low_usd": None, "high_usd": None}
        print(json.dumps(row, ensure_ascii=False))
    else:
        print(estimate_line(about, priced))


def estimate_line(about: Estimate, priced: bool) -> str:
    """What a step will take, as a sentence."""
    known = f" ({count(about.kept)} more are in the journal already)" if about.kept else ""
    if not priced:
        cost = "what they cost is not known (rolekit doctor shows where prices.toml is)"
    elif about.high_usd:
        cost = f"${about.low_usd:.2f} to ${about.high_usd:.2f}"
    else:
        cost = "free of charge"
    return (
        f"{count(about.requests)} requests{known}: about {count(about.prompt_tokens)} tokens to read and"
        f" {count(about.answer_tokens)} to write (at most {count(about.most_tokens)}): {cost}."
    )


async def _run(recipe: Recipe, wishes: Wishes, cancel: threading.Event) -> Outcome:
    from rolekit.synthesis.estimating import estimate
    from rolekit.synthesis.running import run

    generator = open_model(recipe, wishes)
    try:
        advise(estimate_line(estimate(recipe, generator), generator.priced))
        with funnel_progress() as show:
            return await run(recipe, generator, show, cancel)
    finally:
        for notice in generator.notices:
            advise(notice)
        await generator.close()


@contextmanager
def _pausing() -> Iterator[threading.Event]:
    """Within the block the first Ctrl+C only sets the event, and the second one stops at once."""
    cancel = threading.Event()

    def stop(number: int, frame: Any) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()
        print(
            "\nrolekit: waiting for what is under way; Ctrl+C again stops at once.",
            file=sys.stderr,
            flush=True,
        )

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(recipe: Recipe, outcome: Outcome, as_json: bool) -> None:
    """The funnel, the reasons, the cost; and the export, where a row is accepted."""
    from rolekit.synthesis.exporting import export

    funnel = outcome.funnel
    exported = export(recipe.folder) if funnel.accepted else None
    if as_json:
        print(json.dumps(_summary(recipe, outcome, exported), ensure_ascii=False))
    else:
        for line in summary_lines(funnel):
            print(line)
        if exported:
            print(f"export     {exported.folder}")
    for reason, number in outcome.unanswered.items():
        advise(f"{number} requests got no answer: {one_line(reason, 200)}")
    if outcome.unanswered:
        advise("Run the same command again to ask for them.")
    if funnel.held:
        advise(f"{count(funnel.held)} rows wait for a person: look at them in the TUI (F5).")


def _summary(recipe: Recipe, outcome: Outcome, exported: Exported | None) -> dict[str, Any]:
    values = asdict(outcome.funnel)
    for name in ("newest", "eta_seconds", "done", "total", "unanswered", "step"):
        del values[name]
    return {
        "step": recipe.name,
        "role": recipe.role.name,
        "run": str(recipe.folder),
        "export": str(exported.folder) if exported else None,
        "finished": outcome.finished,
        "unanswered": outcome.unanswered,
        **values,
        "usd": round(outcome.funnel.usd, 6),
        "seconds": round(outcome.funnel.seconds, 3),
    }


def summary_lines(funnel: Funnel) -> list[str]:
    """The funnel for people."""
    stages = ("segments", "candidates", "confident", "unique", "clean", "accepted", "held")
    lines = [
        f"{name:10} {count(getattr(funnel, name))}"
        for name in stages
        if name != "segments" or funnel.segments
    ]
    lines += [f"  out: {reason} {count(number)}" for reason, number in funnel.rejected.items()]
    cap = f" of ${funnel.cap_usd:.2f}" if funnel.cap_usd is not None else ""
    cost = f", ${funnel.usd:.4f}{cap}" if funnel.usd or cap else ""
    return [*lines, f"requests   {count(funnel.requests)}, {count(funnel.tokens)} tokens{cost}"]


def tell_export(exported: Exported, as_json: bool) -> None:
    """Where an export lies, and how many rows each of its files has."""
    if as_json:
        print(json.dumps({"export": str(exported.folder), "rows": exported.rows}, ensure_ascii=False))
        return
    print(exported.folder)
    for name, number in sorted(exported.rows.items()):
        print(f"  {count(number):>8}  {name}")
