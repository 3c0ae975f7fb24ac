"""Running one step of a synthesis: rows are written as they come, and the same recipe goes on after anything."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rolekit.endpoints.calls import Answer, Call
from rolekit.endpoints.journal import Journal
from rolekit.messages import Message
from rolekit.paths import write_text
from rolekit.rolebench.recipe import alone_in
from rolekit.synthesis.funnel import Counts, Funnel, Outcome
from rolekit.synthesis.generator import JOURNAL, NEVER, Generator
from rolekit.synthesis.prompts import VERSION, prompts_sha256
from rolekit.synthesis.reading import Question, Unread, read_in_order
from rolekit.synthesis.recipe import ContextInstruct, Recipe, RoleGpt, begin, role_sha256
from rolekit.synthesis.rows import Candidate, Step, open_rows, read_rows, write_rows
from rolekit.synthesis.segments import Segment, read_segments

T = TypeVar("T")
Show = Callable[[Funnel], None]
_SEGMENTS = "segments.jsonl"
_SHOW_SECONDS = 0.1
_COUNT_SECONDS = 1.0
_STEPS: dict[str, tuple[Step, ...]] = {
    "rolegpt": ("rolegpt",),
    "context-instruct": ("script-agnostic", "script-based", "not-knowing", "refusal"),
    "dialogues": ("dialogue",),
}


class Desk:
    """What the steps share: calls, reading their answers, rows that are there already, and the funnel."""

    def __init__(self, recipe: Recipe, generator: Generator, show: Show, cancel: threading.Event) -> None:
        self.recipe, self.role, self.generator, self.cancel = recipe, recipe.role, generator, cancel
        steps = _STEPS[recipe.name]
        self.written = {row.id: row for row in read_rows(recipe.folder) if row.step in steps}
        """Rows of earlier lives by their ids: they are not judged again."""
        self.segments = segments_of(recipe)
        self.unanswered: Counter[str] = Counter()
        """Why calls got no answer."""
        self.expected = 0
        """About how many calls there will be altogether; steps raise it when they know better."""
        self._counts = Counts(self.written.values())
        self._show, self._done, self._asked = show, 0, 0
        self._start = self._shown = time.monotonic()
        self._counted, self._tokens = 0.0, 0
        self._newest: list[Candidate] = []
        self._first_done, self._first_at = 0, self._start

    def call(
        self, messages: Sequence[Message], max_tokens: int, *, schema: str = "", sample: int = 0
    ) -> Call:
        """A call under the recipe's sampling; its seed depends on the recipe's and on what is asked."""
        recipe = self.recipe
        text = "\0".join([str(recipe.seed), str(sample), *(message.text for message in messages)])
        seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:4], "big") >> 1
        return Call(
            self.generator.endpoint, tuple(messages), recipe.temperature, recipe.top_p, max_tokens, seed,
            schema=schema, prompt_version=VERSION, sample=sample,
        )  # fmt: skip

    async def read(self, questions: Sequence[Question[T]]) -> AsyncGenerator[tuple[int, T | Unread], None]:
        """What the answers mean (see read_in_order); calls without an answer are counted and left out."""
        self._asked += len(questions)
        self.expected = max(self.expected, self._asked)
        reading = read_in_order(questions, self.generator, self.cancel, self._settled)
        async with aclosing(reading) as meanings:
            async for index, value in meanings:
                if isinstance(value, Unread) and not value.reason:
                    self.unanswered[value.text] += 1
                else:
                    yield index, value

    def skipped(self, calls: int) -> None:
        """Count calls as settled whose rows are there already."""
        self._asked += calls
        self._done += calls

    def wrote(self, row: Candidate) -> None:
        """Count a row that is now in the file."""
        self.written[row.id] = row
        self._counts.add(row)
        self._newest.append(row)
        self._tell()

    def funnel(self) -> Funnel:
        """The run as it stands."""
        now, budget = time.monotonic(), self.generator.budget
        if now - self._counted >= _COUNT_SECONDS:
            spending = self.generator.journal.spending()
            self._counted, self._tokens = now, spending.prompt_tokens + spending.completion_tokens
        newest, self._newest = tuple(self._newest), []
        total = max(self.expected, self._done)
        return Funnel(
            step=self.recipe.name,
            segments=len(self.segments),
            **self._counts.figures(),
            rejected=self._counts.rejected(),
            requests=budget.requests,
            tokens=self._tokens,
            usd=budget.spent_usd,
            cap_usd=budget.max_usd,
            done=self._done,
            total=total,
            unanswered=self.unanswered.total(),
            seconds=now - self._start,
            eta_seconds=self._eta(now, total),
            newest=newest,
        )

    def finish(self) -> Funnel:
        """The last funnel, with fresh figures; shown too."""
        self._counted = 0.0
        funnel = self.funnel()
        self._show(funnel)
        return funnel

    def _settled(self) -> None:
        now = time.monotonic()
        if now - self._first_at > 0.05 and self._first_done == 0:
            # What the journal answers comes at once; the pace of new answers is what counts.
            self._first_done, self._first_at = self._done + 1, now
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._shown >= _SHOW_SECONDS:
            self._shown = now
            self._show(self.funnel())

    def _eta(self, now: float, total: int) -> float | None:
        worked, gone = self._done - self._first_done, now - self._first_at
        return (total - self._done) * gone / worked if self._first_done and worked > 0 else None


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
    rows = [row for row in read_rows(recipe.folder) if row.step in _STEPS[recipe.name]]
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
    path = recipe.folder / _SEGMENTS
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


def plain(answer: Answer) -> Answer:
    """How the answer to a call without a schema is read: as it is."""
    return answer


def segments_of(recipe: Recipe) -> list[Segment]:
    """The folder's segments in which the role speaks or is spoken of; all where there are none such.

    Empty for steps that read none, and where no profile was made in the folder.
    """
    path = recipe.folder / _SEGMENTS
    if not isinstance(recipe.task, ContextInstruct) or not path.is_file():
        return []
    segments = read_segments(path)
    names = [name.casefold() for name in (recipe.role.name, *recipe.role.aliases)]
    own = [one for one in segments if any(name in f"{one.text} {one.speakers}".casefold() for name in names)]
    return own or segments


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
