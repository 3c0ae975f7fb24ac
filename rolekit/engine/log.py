"""llama.cpp's log, kept off the terminal: only its last error lines are remembered, for our own error messages."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from functools import cache

import llama_cpp

_ERROR, _CONTINUED = 4, 5
_KEPT_LINES = 8


@cache
def _collector() -> tuple[deque[str], Callable[[int, bytes, ctypes.c_void_p], None]]:
    """The remembered lines and the callback that fills them; llama.cpp holds the callback for good."""
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    level = 0

    @llama_cpp.llama_log_callback
    def collect(new_level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
        nonlocal level
        if new_level != _CONTINUED:
            level = new_level
        if level == _ERROR and (line := text.decode("utf-8", "replace").strip()):
            lines.append(line)

    return lines, collect


def quiet() -> None:
    """Send llama.cpp's log here instead of to stderr; calling it again changes nothing."""
    _, callback = _collector()
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))


def last_errors() -> list[str]:
    """The last error lines llama.cpp wrote, oldest first; they are forgotten by this call."""
    lines, _ = _collector()
    taken = list(lines)
    lines.clear()
    return taken
