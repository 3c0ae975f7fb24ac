"""One context in which many sequences are decoded together, a finished one making room for the next prompt."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rolekit.engine.context import Context, Row, shared_length
from rolekit.engine.generation import Draft, PromptMaker, room
from rolekit.engine.prompt import Prompt
from rolekit.engine.sampler import Sampler, Samplers
from rolekit.engine.vocabulary import Vocabulary
from rolekit.messages import Reply, Request, Stats

_WORTH_TOKENS = 16
"""Waiting for another sequence, or copying it, pays from this many shared tokens on."""

Emit = Callable[[tuple[int, Reply]], None]


@dataclass(slots=True)
class Job:
    """A request before it has a sequence."""

    index: int
    request: Request
    prompt: Prompt
    think: bool = True
    thoughts: str = ""
    generated_tokens: int = 0


class Jobs:
    """What is still to be answered, a queue for each lane; a lane whose own is empty takes from the longest one's end.

    Neighbours share beginnings, so every lane begins with a stretch of its own. For several threads at once.
    """

    def __init__(self, jobs: Sequence[Job], lanes: int) -> None:
        """jobs: cut into one stretch for each of the lanes, which are contexts at work beside each other."""
        self._lock = threading.Lock()
        ends = [len(jobs) * lane // lanes for lane in range(lanes + 1)]
        self._queues = [deque(jobs[start:end]) for start, end in pairwise(ends)]
        self.abandoned = False

    def take(self, lane: int) -> Job | None:
        """The lane's next job; None where nothing is left."""
        with self._lock:
            if self._queues[lane]:
                return self._queues[lane].popleft()
            longest = max(self._queues, key=len)
            return longest.pop() if longest else None

    def abandon(self) -> None:
        """Nothing more is to be answered."""
        self.abandoned = True


@dataclass(slots=True)
class _Running:
    """A request that has a sequence."""

    job: Job
    draft: Draft
    sampler: Sampler
    start: float
    reused_tokens: int
    pending: deque[int]
    """What is still to be evaluated: the rest of the prompt, then each generated token."""
    row: int = -1
    """Where in the last decode its logits are; -1 while the prompt is read."""


class Lane:
    """Answers jobs in one context, until there are none; a lane belongs to one thread."""

    def __init__(
        self, number: int, context: Context, samplers: Samplers, prompts: PromptMaker, jobs: Jobs, emit: Emit
    ) -> None:
        """The context is the caller's to close. emit hears each index and reply in the lane's thread."""
        self._number, self._context, self._jobs, self._emit = number, context, jobs, emit
        self._samplers, self._prompts = samplers, prompts
        self._vocabulary = Vocabulary(context.model.pointer)
        self._running: dict[int, _Running] = {}
        self._next: Job | None = None

    def run(self) -> None:
        """Answer until nothing is left. Raises RolekitError when llama.cpp fails; all other lanes end then."""
        try:
            self._next = self._jobs.take(self._number)
            while (self._next or self._running) and not self._jobs.abandoned:
                self._admit()
                self._step()
                self._collect()
        except BaseException:
            self._jobs.abandon()
            raise
        finally:
            for running in self._running.values():
                running.sampler.close()

    def _admit(self) -> None:
        """Give free sequences to waiting jobs; one whose beginning is just being read elsewhere waits for it."""
        context = self._context
        for sequence in range(len(context.tokens)):
            if self._next is None:
                return
            if sequence in self._running:
                continue
            ids = self._next.prompt.ids
            own = context.reusable(ids, sequence)
            best = max(range(len(context.tokens)), key=lambda other: context.reusable(ids, other))
            held = context.reusable(ids, best)
            coming = max(
                (
                    shared_length(other.job.prompt.ids, ids)
                    for other in self._running.values()
                    if other.row < 0
                ),
                default=0,
            )
            if coming >= held + _WORTH_TOKENS:
                return
            if held >= own + _WORTH_TOKENS:
                context.copy(best, sequence)
            self._start(sequence, self._next)
            self._next = self._jobs.take(self._number)

    def _start(self, sequence: int, job: Job) -> None:
        ids, request = job.prompt.ids, job.request
        reused = self._context.begin(ids, sequence)
        draft = Draft(
            self._prompts.filter(request, think=job.think), room(request, len(ids), self._context.size)
        )
        sampler = self._samplers.make(request.sampling, request.seed, ids)
        rest = deque(ids[reused:])
        self._running[sequence] = _Running(job, draft, sampler, time.perf_counter(), reused, rest)

    def _step(self) -> None:
        """A part of each prompt being read, and the next token of every sequence that speaks.

        Prompts are read one at a time: llama.cpp would cut a joint batch into pieces of equal length, and then
        the bits, and in time the words, would depend on the neighbours.
        """
        context = self._context
        for sequence, running in self._running.items():
            if len(running.pending) > 1:
                count = min(context.chunk_tokens, self._unbroken(running))
                context.decode([(running.pending.popleft(), sequence, False) for _ in range(count)])
        rows: list[Row] = []
        for sequence, running in self._running.items():
            running.row = -1
            if len(running.pending) == 1:
                running.row = len(rows)
                rows.append((running.pending.popleft(), sequence, True))
        if rows:
            context.decode(rows)

    @staticmethod
    def _unbroken(running: _Running) -> int:
        """Prompt tokens that one decode may take, as a reply alone would: to the role's end, or all but the last."""
        prompt, left = running.job.prompt, len(running.pending)
        role_left = prompt.role_tokens - (len(prompt.ids) - left)
        return role_left if 0 < role_left < left else left - 1

    def _collect(self) -> None:
        """Sample where there are logits; hand on what is complete."""
        ends = self._samplers.ends
        for sequence, running in list(self._running.items()):
            draft = running.draft
            if running.job.request.cancel.is_set():
                draft.end("cancelled")
            elif running.row >= 0:
                token = running.sampler.sample(self._context.pointer, running.row)
                if token is None or token in ends:
                    draft.end("end")
                else:
                    draft.add(token, self._vocabulary.piece(token))
                    running.pending.append(token)
            if draft.stop_reason:
                del self._running[sequence]
                self._finish(sequence, running)

    def _finish(self, sequence: int, running: _Running) -> None:
        running.sampler.close()
        running.draft.reply.finish()
        job, draft, now = running.job, running.draft, time.perf_counter()
        thoughts = job.thoughts + draft.reply.thinking
        generated = job.generated_tokens + len(draft.ids)
        if draft.only_thoughts and job.think:
            prompt = self._prompts.build(job.request, think=False)
            self._start(sequence, Job(job.index, job.request, prompt, False, thoughts, generated))
            return
        total, reused = len(job.prompt.ids), running.reused_tokens
        first = (draft.first_token_at or now) - running.start
        stats = Stats(total, reused, total - reused, generated, first, now - running.start)
        ids = draft.kept_ids(self._vocabulary)
        self._emit((job.index, Reply(draft.reply.text, ids, draft.stop_reason or "end", stats, thoughts)))
