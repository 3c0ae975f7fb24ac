"""Many replies at once: sequences decoded together, on small models in several lanes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

import llama_cpp

from rolekit.engine.context import Context
from rolekit.engine.generation import PromptMaker, check_fits, room
from rolekit.engine.lane import Emit, Job, Jobs, Lane
from rolekit.engine.prompt import Prompt
from rolekit.engine.sampler import Samplers
from rolekit.engine.threads import physical_cores
from rolekit.messages import Reply, Request

_MAX_CONTEXTS = 4
"""All sequences together get at most this many times the cells of the backend's own context."""
_SMALL_BYTES = 1 << 30
"""Up to this size a model's layers are so short that threads spend their time waiting for each other."""
_LEAST_SEQUENCES = 4
"""A lane with fewer decodes hardly faster than one reply alone."""


class Batch:
    """Replies to many requests in contexts of its own, which live as long as run()."""

    def __init__(
        self, single: Context, samplers: Samplers, prompts: PromptMaker, adapters: Sequence[tuple[Any, float]]
    ) -> None:
        """single is the context that one reply at a time would be made in."""
        self._single = single
        self._samplers = samplers
        self._prompts = prompts
        self._adapters = adapters

    def run(self, requests: Sequence[Request], prompts: Sequence[Prompt], parallel: int, emit: Emit) -> None:
        """Answer requests, whose prompts these are; emit hears each index and reply as it is finished, in this thread.

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
        threads = self._single.threads or physical_cores()
        lanes = [(sequences, threads)]
        if not llama_cpp.llama_supports_gpu_offload():
            lanes = lanes_for(self._single.model.weight_bytes, threads, sequences)
        jobs = Jobs(
            [Job(index, request, prompts[index]) for index, request in enumerate(requests)], len(lanes)
        )
        with ExitStack() as opened:
            contexts = [self._open(opened, cells, *share) for share in lanes]
            if len(contexts) == 1:
                Lane(0, contexts[0], self._samplers, self._prompts, jobs, emit).run()
            else:
                self._side_by_side(contexts, jobs, emit)

    def _open(self, opened: ExitStack, cells: int, sequences: int, threads: int) -> Context:
        context = Context(self._single.model, context_tokens=cells, sequences=sequences, threads=threads)
        opened.callback(context.close)
        context.set_adapters(self._adapters)
        return context

    def _side_by_side(self, contexts: Sequence[Context], jobs: Jobs, emit: Emit) -> None:
        finished: SimpleQueue[tuple[int, Reply] | None] = SimpleQueue()

        def work(number: int, context: Context) -> None:
            try:
                Lane(number, context, self._samplers, self._prompts, jobs, finished.put).run()
            finally:
                finished.put(None)

        with ThreadPoolExecutor(len(contexts), thread_name_prefix="rolekit-lane") as pool:
            running = [pool.submit(work, number, context) for number, context in enumerate(contexts)]
            left = len(running)
            while left:
                reply = finished.get()
                if reply is None:
                    left -= 1
                else:
                    emit(reply)
        for lane in running:
            lane.result()


def lanes_for(model_bytes: int, threads: int, sequences: int) -> list[tuple[int, int]]:
    """How to share sequences and threads of a CPU among lanes: (sequences, threads) of each.

    In a small model a layer takes microseconds, and two threads that wait for each other after each of its steps do
    a third less than two that never meet; so there each lane gets as few threads as there are sequences for.
    """
    lanes = min(threads, sequences // _LEAST_SEQUENCES)
    if model_bytes > _SMALL_BYTES or lanes < 2:
        return [(sequences, threads)]
    return [
        (sequences // lanes + (lane < sequences % lanes), threads // lanes + (lane < threads % lanes))
        for lane in range(lanes)
    ]
