"""One thing at a time: while a reply is written nothing else may change a conversation, and it can be stopped."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

from rolekit.errors import RolekitError

T = TypeVar("T")


class Latch:
    """Shut while a reply streams. cancel is the flag that ends that reply; every one has its own."""

    def __init__(self) -> None:
        self.cancel = threading.Event()
        self.busy = False

    def idle(self) -> None:
        """Raises RolekitError while a reply streams."""
        if self.busy:
            raise RolekitError("A reply is being written.", "Stop it first, or wait until it is done.")

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Shut for the block, with a fresh flag."""
        self.idle()
        self.busy = True
        self.cancel = threading.Event()
        try:
            yield
        finally:
            self.busy = False

    async def shut_while(self, begin: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """All that the generator gives that begin makes, begun when it is shut."""
        with self.streaming():
            async with aclosing(begin()) as events:
                async for event in events:
                    yield event
