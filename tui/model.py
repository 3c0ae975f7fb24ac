"""The model that answers: being loaded, there, or the reason why it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from rolekit.errors import RolekitError
from rolekit.messages import Backend, Event, Message, Request

Opener = Callable[[], Backend]


class Model:
    """Loads a backend in a thread and lets the app wait for it."""

    def __init__(self, opener: Opener) -> None:
        """opener: may take seconds; load() calls it in a thread."""
        self.backend: Backend | None = None
        self.error: RolekitError | None = None
        self._opener = opener
        self._settled = asyncio.Event()

    @property
    def loading(self) -> bool:
        """Whether it is still unknown how the loading ends."""
        return not self._settled.is_set()

    @property
    def label(self) -> str:
        """The model's short name, or what is the matter with it."""
        if self.backend is not None:
            return self.backend.label
        return "no model" if self.error else "loading the model …"

    async def load(self, opener: Opener | None = None) -> None:
        """Open the backend (or another one: the old is kept when that fails); afterwards backend or error is set."""
        self._opener = opener or self._opener
        self.error = None
        self._settled.clear()
        try:
            fresh = await asyncio.to_thread(self._opener)
        except RolekitError as error:
            self.error = error
        else:
            before, self.backend = self.backend, fresh
            if before is not None:
                await before.close()
        finally:
            self._settled.set()

    async def ready(self) -> Backend:
        """The loaded backend. Raises RolekitError where it could not be loaded."""
        await self._settled.wait()
        if self.backend is None:
            assert self.error is not None
            raise self.error
        return self.backend

    async def close(self) -> None:
        """Release the backend if there is one."""
        if self.backend is not None:
            backend, self.backend = self.backend, None
            await backend.close()


class LoadingBackend:
    """Stands in while the model loads, so that a conversation can already be read."""

    vocabulary = ""
    context_tokens = 0

    def __init__(self, label: str) -> None:
        """label: the model's short name, shown until the real one is there."""
        self.label = label

    def count_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Nothing is known yet."""
        return [0] * len(messages)

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Never answers; the app waits for the model first."""
        raise RolekitError("The model is still being loaded.", "Try again in a moment.")
        yield

    async def close(self) -> None:
        """Nothing to release."""
