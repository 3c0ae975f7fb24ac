"""Running one step of a synthesis: rows are written as they come, and the same recipe goes on after anything."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rolekit.endpoints.journal import Journal
from rolekit.paths import write_text
from rolekit.rolebench.recipe import alone_in
from rolekit.synthesis.desk import SEGMENTS, STEPS_OF, Desk, Show, segments_of
from rolekit.synthesis.funnel import Counts, Funnel, Outcome
from rolekit.synthesis.generator import JOURNAL, NEVER, Generator
from rolekit.synthesis.prompts import VERSION, prompts_sha256
from rolekit.synthesis.recipe import ContextInstruct, Recipe, RoleGpt, begin, role_sha256
from rolekit.synthesis.rows import Candidate, open_rows, read_rows, write_rows


async def run(
    recipe: Recipe,
    generator: Generator,
    progress: Show = lambda funnel: None,
    cancel: threading.Event = NEVER,
) -> Outcome:
    """Run a step until it is done, stopped by cancel, or no more answers come; every row is on disk before it is shown.

    The same recipe goes on where it stopped: what the journal has is not asked again, rows that are there stay as they
    are. progress is called in this thread, about ten times a second at most. The generator stays open.
    Raises Stopped at a cap, a wrong key or a dead server, and RolekitError where the folder holds something else.
    """
    with alone_in(recipe.folder):
        begin(
            recipe, str(generator.endpoint), {"prompt_version": VERSION, "prompts_sha256": prompts_sha256()}
        )
        desk = Desk(recipe, generator, progress, cancel)
        try:
            with open_rows(recipe.folder) as file:
                async with aclosing(_stage(desk)) as rows:
                    async for row in rows:
                        if row.id not in desk.written:
                            write_rows(file, [row])
                            desk.wrote(row)
        finally:
            funnel = desk.finish()
        finished = not cancel.is_set() and not desk.unanswered
        if finished:
            marker = {**_wanted(recipe), "model": str(generator.endpoint), "at": int(time.time())}
            write_text(recipe.done_file, json.dumps(marker) + "\n")
        return Outcome(recipe.folder, funnel, finished, dict(desk.unanswered))


def is_finished(recipe: Recipe) -> bool:
    """Whether the folder holds everything that this recipe asks for, so that no model needs to be opened."""
    try:
        marker = json.loads(recipe.done_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps(_wanted(recipe)))
    return isinstance(marker, dict) and {name: marker.get(name) for name in wanted} == wanted


def kept_outcome(recipe: Recipe) -> Outcome:
    """What the folder holds of a step, without a model: the rows, and what the whole journal has cost."""
    rows = [row for row in read_rows(recipe.folder) if row.step in STEPS_OF[recipe.name]]
    counts = Counts(rows)
    journal = recipe.folder / JOURNAL
    spent = None
    if journal.is_file():
        with Journal(journal) as kept:
            spent = kept.spending()
    funnel = Funnel(
        step=recipe.name,
        segments=len(segments_of(recipe)),
        **counts.figures(),
        rejected=counts.rejected(),
        requests=spent.sent if spent else 0,
        tokens=spent.prompt_tokens + spent.completion_tokens if spent else 0,
        usd=spent.usd + spent.lost_usd if spent else 0.0,
    )
    return Outcome(recipe.folder, funnel, is_finished(recipe))


def _wanted(recipe: Recipe) -> dict[str, Any]:
    """Everything that decides whether a finished step is still the one that is asked for."""
    return {
        "role_sha256": role_sha256(recipe.role),
        "task": asdict(recipe.task),
        "prompts_sha256": prompts_sha256(),
        "inputs_sha256": _inputs_sha256(recipe),
    }


def _inputs_sha256(recipe: Recipe) -> str:
    """A digest of the files that a step reads."""
    path = recipe.folder / SEGMENTS
    if isinstance(recipe.task, RoleGpt):
        path = Path(recipe.task.instructions)
        if not recipe.task.instructions:
            return ""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _stage(desk: Desk) -> AsyncGenerator[Candidate, None]:
    task = desk.recipe.task
    if isinstance(task, RoleGpt):
        from rolekit.synthesis.rolegpt import rolegpt_rows

        return rolegpt_rows(desk, task)
    if isinstance(task, ContextInstruct):
        from rolekit.synthesis.context import context_rows

        return context_rows(desk, task)
    from rolekit.synthesis.dialogues import dialogue_rows

    return dialogue_rows(desk, task)
