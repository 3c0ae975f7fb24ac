"""The model in this process as a Backend: asyncio in front, one worker thread behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path
from typing import TypeVar

from rolekit.engine.adapters import Adapter, Adapters, identity_of
from rolekit.engine.batch import Batch
from rolekit.engine.context import Context
from rolekit.engine.generation import Generator, PromptMaker
from rolekit.engine.model import Model
from rolekit.engine.prompt import Prompter
from rolekit.engine.reuse import KvKeeper
from rolekit.engine.sampler import Samplers
from rolekit.engine.snapshots import Snapshots
from rolekit.engine.templates import load_template
from rolekit.messages import Event, Message, Piece, Reply, Request
from rolekit.paths import cache_dir

T = TypeVar("T")
_PIECE_SECONDS = 0.02
"""Pieces that follow each other faster are handed on together; nobody reads at 50 pictures a second."""


class LocalBackend:
    """Answers with a GGUF model in this process. Make it with open_local().

    label, vocabulary and context_tokens are those of the Backend protocol; notice is a sentence for the user about
    something that is not as asked for (empty: nothing); model_path is the GGUF file; usual_adapters are those that it
    was opened with.
    """

    def __init__(
        self, model: Model, context: Context, prompts: PromptMaker, snapshots: Snapshots, notice: str = ""
    ) -> None:
        """Takes model and context over, and frees them in close(); snapshots: KV states on disk."""
        self.notice = notice
        self.model_path = model.path
        self.label = model.label
        self.vocabulary = model.vocabulary.key
        self._vocabulary = model.vocabulary
        self.context_tokens = context.size
        self._model, self._context, self._prompts = model, context, prompts
        self._samplers = Samplers(model)
        self._adapters = Adapters(model)
        self._active: list[tuple[Adapter, float]] = []
        self.usual_adapters: tuple[tuple[Path, float], ...] = ()
        constants = {"model": model.fingerprint, **context.kinds}
        self._keeper = KvKeeper(context, snapshots, constants)
        self._generator = Generator(context, self._samplers, prompts, self._keeper)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rolekit-engine")
        self._tidying: Future[None] | None = None
        self._waiting = 0
        self._closed = False

    def count_tokens(self, messages: Sequence[Message]) -> list[int]:
        """What each message adds to the prompt, in tokens; the sum is the prompt's length."""
        return self._prompts.count(messages)

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The prompt for these messages, token by token as text."""
        ids = self._prompts.build(Request(tuple(messages))).ids
        return b"".join(map(self._vocabulary.piece, ids)).decode("utf-8", "replace")

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Progress while the prompt is read, then pieces, then exactly one Reply, also when cancelled.

        Closing the generator cancels. Raises RolekitError when the prompt does not fit the context.
        """

        def work(emit: Callable[[Event], None]) -> None:
            emit(self._generator.reply(request, identity_of(self._active), emit))

        try:
            async with aclosing(self._run(work, request.cancel.set)) as events:
                async for event in events:
                    yield event
        finally:
            if not self._closed:
                self._tidying = self._worker.submit(self._tidy)

    async def generate_batch(
        self, requests: Sequence[Request], *, parallel: int = 16
    ) -> AsyncGenerator[tuple[int, Reply], None]:
        """The replies to many requests, each with the index of its request, as they are finished.

        Up to parallel of them are decoded together; what their prompts share is evaluated once. Setting a
        request's cancel ends that reply; closing the generator ends all.
        Raises RolekitError when a prompt does not fit the context.
        """
        prompts = [self._prompts.build(request) for request in requests]

        def work(emit: Callable[[tuple[int, Reply]], None]) -> None:
            adapters = [(adapter.pointer, scale) for adapter, scale in self._active]
            batch = Batch(self._context, self._samplers, self._prompts, adapters)
            batch.run(requests, prompts, parallel, emit)

        def cancel() -> None:
            for request in requests:
                request.cancel.set()

        async with aclosing(self._run(work, cancel)) as replies:
            async for reply in replies:
                yield reply

    async def _run(
        self, work: Callable[[Callable[[T], None]], None], cancel: Callable[[], None]
    ) -> AsyncGenerator[T, None]:
        """What work emits in the worker thread. Cancels, and waits for work to end, when nobody listens."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[list[T | None]] = asyncio.Queue()
        buffer: list[T | None] = []
        handed_on = 0.0

        def emit(event: T | None) -> None:
            # Waking the loop costs the decoding threads a core for a moment, so pieces travel in small groups.
            nonlocal buffer, handed_on
            buffer.append(event)
            now = time.perf_counter()
            if isinstance(event, Piece) and now - handed_on < _PIECE_SECONDS:
                return
            handed_on = now if isinstance(event, Piece) else 0.0  # the first piece is what somebody waits for
            taken, buffer = buffer, []
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(queue.put_nowait, taken)

        def run() -> None:
            self._waiting -= 1
            try:
                self._raise_if_tidying_failed()
                work(emit)
            finally:
                emit(None)

        self._waiting += 1
        running = loop.run_in_executor(self._worker, run)
        try:
            while True:
                for event in await queue.get():
                    if event is None:
                        await running
                        return
                    yield event
        finally:
            if not running.done():
                cancel()
                await asyncio.wait([running])
                running.exception()

    def set_adapters(self, adapters: Sequence[tuple[Path, float]]) -> None:
        """Answer with these adapters (path, scale) from the next request on; waits for a running one.

        Raises RolekitError when one cannot be used; those in force then stay.
        """
        self._worker.submit(self._set_adapters, adapters).result()

    @property
    def adapters(self) -> tuple[tuple[Path, float], ...]:
        """The adapters in force, (path, scale) each."""
        return tuple((adapter.path, scale) for adapter, scale in self._active)

    def _set_adapters(self, adapters: Sequence[tuple[Path, float]]) -> None:
        active = [(self._adapters.load(path), scale) for path, scale in adapters]
        self._keeper.pay()  # what is owed belongs to the KV of the adapters still in force
        self._context.set_adapters([(adapter.pointer, scale) for adapter, scale in active])
        self._active = active

    def _raise_if_tidying_failed(self) -> None:
        tidied, self._tidying = self._tidying, None
        if tidied is not None and tidied.done():
            tidied.result()

    def _tidy(self) -> None:
        """Save what is worth saving, unless somebody is already waiting for the worker."""
        if not self._waiting:
            self._keeper.flush()

    async def close(self) -> None:
        """Save the conversation's KV and free the model; closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._worker, self._free)
        self._worker.shutdown(wait=False)

    def _free(self) -> None:
        try:
            self._raise_if_tidying_failed()
            self._keeper.close()
        finally:
            self._context.close()
            self._samplers.close()
            self._adapters.close()
            self._model.close()


def open_local(
    path: Path,
    *,
    adapters: Sequence[tuple[Path, float]] = (),
    context_tokens: int = 4096,
    threads: int = 0,
    chat_template: str | None = None,
    kv_cache_mib: int = 2048,
) -> LocalBackend:
    """The model in path, ready to answer; slow, so call it off the event loop.

    context_tokens is capped at what the model was trained for (then the backend's notice says so); threads=0
    means the physical cores; chat_template is a name or a .jinja file instead of the model's own; kv_cache_mib is
    the disk budget for KV snapshots, 0 keeps none.
    Raises RolekitError when the file, the template or an adapter cannot be used.
    """
    with ExitStack() as opened:
        model = Model(path)
        opened.callback(model.close)
        prompts = PromptMaker(Prompter(load_template(chat_template, model.header), model.vocabulary))
        notice = ""
        if context_tokens > model.trained_context > 0:
            notice = (
                f"{model.label} was trained for {model.trained_context} tokens of context, "
                f"so {context_tokens} became {model.trained_context}."
            )
            context_tokens = model.trained_context
        context = Context(model, context_tokens=context_tokens, threads=threads)
        opened.callback(context.close)
        snapshots = Snapshots(cache_dir() / "kv", kv_cache_mib << 20)
        backend = LocalBackend(model, context, prompts, snapshots, notice)
        if adapters:
            backend.set_adapters(adapters)
            backend.usual_adapters = backend.adapters
        opened.pop_all()  # from here on the backend closes them
    return backend
