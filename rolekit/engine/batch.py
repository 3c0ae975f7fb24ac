"""Many replies at once: sequences decoded together, a finished one making room for the next prompt."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rolekit.engine.context import Context, Row, shared_length
from rolekit.engine.generation import Draft, PromptMaker, check_fits, room
from rolekit.engine.prompt import Prompt
from rolekit.engine.sampler import Sampler, Samplers
from rolekit.engine.vocabulary import Vocabulary
from rolekit.messages import Reply, Request, Stats

_MAX_CONTEXTS = 4
"""All sequences together get at most this many times the cells of the backend's own context."""
_WORTH_TOKENS = 16
"""Waiting for another sequence, or copying it, pays from this many shared tokens on."""


@dataclass(slots=True)
class _Job:
    """A request before it has a sequence."""

    index: int
    request: Request
    prompt: Prompt
    think: bool = True
    thoughts: str = ""
    generated_tokens: int = 0


@dataclass(slots=True)
class _Running:
    """A request that has a sequence."""

    job: _Job
    draft: Draft
    sampler: Sampler
    start: float
    reused_tokens: int
    pending: deque[int]
    """What is still to be evaluated: the rest of the prompt, then each generated token."""
    row: int = -1
    """Where in the last decode its logits are; -1 while the prompt is read."""


class Batch:
    """Replies to many requests in a context of its own, which lives as long as run()."""

    def __init__(
        self, single: Context, samplers: Samplers, prompts: PromptMaker, adapters: Sequence[tuple[Any, float]]
    ) -> None:
        """single is the context that one reply at a time would be made in."""
        self._single = single
        self._samplers = samplers
        self._prompts = prompts
        self._adapters = adapters
        self._vocabulary = Vocabulary(single.model.pointer)
        self._running: dict[int, _Running] = {}

    def run(
        self,
        requests: Sequence[Request],
        prompts: Sequence[Prompt],
        parallel: int,
        emit: Callable[[tuple[int, Reply]], None],
    ) -> None:
        """Answer requests, whose prompts these are; emit hears each index and reply as it is finished.

        Every reply is the one that its request alone would get with nothing cached.
        Raises RolekitError when a prompt does not fit the context.
        """
        if not requests:
            return
        size = self._single.size
        for prompt in prompts:
            check_fits(len(prompt.ids), size)
        cells = max(len(p.ids) + room(r, len(p.ids), size) for r, p in zip(requests, prompts, strict=True))
        sequences = max(1, min(parallel, len(requests), _MAX_CONTEXTS * size // cells))
        model, threads = self._single.model, self._single.threads
        context = Context(model, context_tokens=cells, sequences=sequences, threads=threads)
        waiting = deque(_Job(index, request, prompts[index]) for index, request in enumerate(requests))
        try:
            context.set_adapters(self._adapters)
            while waiting or self._running:
                self._admit(context, waiting)
                self._step(context)
                self._collect(context, waiting, emit)
        finally:
            for running in self._running.values():
                running.sampler.close()
            context.close()

    def _admit(self, context: Context, waiting: deque[_Job]) -> None:
        """Give free sequences to waiting jobs; one whose beginning is just being read elsewhere waits for it."""
        for sequence in range(len(context.tokens)):
            if not waiting:
                return
            if sequence in self._running:
                continue
            ids = waiting[0].prompt.ids
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
            self._start(context, sequence, waiting.popleft())

    def _start(self, context: Context, sequence: int, job: _Job) -> None:
        ids, request = job.prompt.ids, job.request
        reused = context.begin(ids, sequence)
        draft = Draft(self._prompts.filter(request, think=job.think), room(request, len(ids), context.size))
        sampler = self._samplers.make(request.sampling, request.seed, ids)
        rest = deque(ids[reused:])
        self._running[sequence] = _Running(job, draft, sampler, time.perf_counter(), reused, rest)

    def _step(self, context: Context) -> None:
        """A part of each prompt being read, and the next token of every sequence that speaks.

        Prompts are read one at a time: llama.cpp would cut a joint batch into pieces of equal length, and then
        the bits, and in time the words, would depend on the neighbours.
        """
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

    def _collect(
        self, context: Context, waiting: deque[_Job], emit: Callable[[tuple[int, Reply]], None]
    ) -> None:
        """Sample where there are logits; hand on what is complete."""
        ends = self._samplers.ends
        for sequence, running in list(self._running.items()):
            draft = running.draft
            if running.job.request.cancel.is_set():
                draft.end("cancelled")
            elif running.row >= 0:
                token = running.sampler.sample(context.pointer, running.row)
                if token is None or token in ends:
                    draft.end("end")
                else:
                    draft.add(token, self._vocabulary.piece(token))
                    running.pending.append(token)
            if draft.stop_reason:
                del self._running[sequence]
                self._finish(running, waiting, emit)

    def _finish(
        self, running: _Running, waiting: deque[_Job], emit: Callable[[tuple[int, Reply]], None]
    ) -> None:
        running.sampler.close()
        running.draft.reply.finish()
        job, draft, now = running.job, running.draft, time.perf_counter()
        thoughts = job.thoughts + draft.reply.thinking
        generated = job.generated_tokens + len(draft.ids)
        if draft.only_thoughts and job.think:
            prompt = self._prompts.build(job.request, think=False)
            waiting.appendleft(_Job(job.index, job.request, prompt, False, thoughts, generated))
            return
        total, reused = len(job.prompt.ids), running.reused_tokens
        first = (draft.first_token_at or now) - running.start
        stats = Stats(total, reused, total - reused, generated, first, now - running.start)
        ids = draft.kept_ids(self._vocabulary)
        emit((job.index, Reply(draft.reply.text, ids, draft.stop_reason or "end", stats, thoughts)))
