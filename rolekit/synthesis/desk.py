"""What the steps of a synthesis share: calls, reading their answers, rows that are there already, and the funnel."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from rolekit.endpoints.calls import Answer, Call
from rolekit.messages import Message
from rolekit.synthesis.funnel import Counts, Funnel
from rolekit.synthesis.generator import Generator
from rolekit.synthesis.prompts import VERSION
from rolekit.synthesis.reading import Question, Unread, read_in_order
from rolekit.synthesis.recipe import ContextInstruct, Recipe
from rolekit.synthesis.rows import Candidate, Step, read_rows
from rolekit.synthesis.segments import Segment, read_segments

T = TypeVar("T")
Show = Callable[[Funnel], None]
SEGMENTS = "segments.jsonl"
STEPS_OF: dict[str, tuple[Step, ...]] = {
    "rolegpt": ("rolegpt",),
    "context-instruct": ("script-agnostic", "script-based", "not-knowing", "refusal"),
    "dialogues": ("dialogue",),
}
"""The rows that each task writes."""
_SHOW_SECONDS = 0.1
_COUNT_SECONDS = 1.0


class Desk:
    """One life of a step, as its rows are made."""

    def __init__(self, recipe: Recipe, generator: Generator, show: Show, cancel: threading.Event) -> None:
        """Reads the rows of earlier lives. show hears the funnel; once cancel is set, no more is asked."""
        self.recipe, self.role, self.generator, self.cancel = recipe, recipe.role, generator, cancel
        steps = STEPS_OF[recipe.name]
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


def plain(answer: Answer) -> Answer:
    """How the answer to a call without a schema is read: as it is."""
    return answer


def segments_of(recipe: Recipe) -> list[Segment]:
    """The folder's segments in which the role speaks or is spoken of; all where there are none such.

    Empty for steps that read none, and where no profile was made in the folder.
    """
    path = recipe.folder / SEGMENTS
    if not isinstance(recipe.task, ContextInstruct) or not path.is_file():
        return []
    segments = read_segments(path)
    names = [name.casefold() for name in (recipe.role.name, *recipe.role.aliases)]
    own = [one for one in segments if any(name in f"{one.text} {one.speakers}".casefold() for name in names)]
    return own or segments
