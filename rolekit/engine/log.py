"""llama.cpp's log, kept off the terminal: only its last error lines are remembered, for our own error messages."""

from __future__ import annotations

import ctypes
from collections import deque
from functools import cache
from typing import Any

import llama_cpp

_ERROR, _CONTINUED = 4, 5
_KEPT_LINES = 8


class _Collector:
    """Remembers error lines; the callback has to live as long as llama.cpp may call it."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.level = 0
        self.callback: Any = llama_cpp.llama_log_callback(self._collect)

    def _collect(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _CONTINUED:
            self.level = level
        if self.level == _ERROR and (line := text.decode("utf-8", "replace").strip()):
            self.lines.append(line)


@cache
def _collector() -> _Collector:
    return _Collector()


def quiet() -> None:
    """Send llama.cpp's log here instead of to stderr; calling it again changes nothing."""
    llama_cpp.llama_log_set(_collector().callback, ctypes.c_void_p(0))


def last_errors() -> list[str]:
    """The last error lines llama.cpp wrote, oldest first; they are forgotten by this call."""
    lines = _collector().lines
    taken = list(lines)
    lines.clear()
    return taken
