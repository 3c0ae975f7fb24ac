"""Lets llama.cpp see a threading.Event in the middle of a computation, without calling back into Python."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp

_POLL_SECONDS = 0.02


class Interrupt:
    """A one-letter C string: empty means go on, anything else means stop.

    llama.cpp asks before every node of the graph, some thousand times a token, so a Python callback would cost
    more than the model. C's own strlen is a ready-made function that turns the string into 0 or 1.
    """

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self._lock = threading.Lock()

    def attach(self, context_pointer: Any) -> None:
        """Make computations of this llama_context stop while the string is not empty (CPU only)."""
        library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        callback = ctypes.cast(library.strlen, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(context_pointer, callback, ctypes.addressof(self._flag))

    @contextmanager
    def watching(self, event: threading.Event) -> Iterator[None]:
        """Within the block, setting event stops the running computation within some 20 ms."""
        done = threading.Event()

        def relay() -> None:
            while not event.wait(_POLL_SECONDS):
                if done.is_set():
                    return
            with self._lock:
                if not done.is_set():
                    self._flag.value = b"!"

        threading.Thread(target=relay, name="rolekit-interrupt", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                done.set()
                self._flag.value = b""
