"""What this machine has: memory, and how much of it this process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def memory_bytes() -> int:
    """The machine's memory, or the container's limit where that is lower; 0 where the system does not say."""
    total = _windows_memory() if sys.platform == "win32" else _posix_memory()
    limits = [
        _number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory/memory.limit_in_bytes")
    ]
    return min([total, *(limit for limit in limits if limit)]) if total else 0


def available_memory_bytes() -> int:
    """Memory that is free or can be freed at once; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    values = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
    return min(int(values.get("MemAvailable", "0 kB").split()[0]) * 1024, memory_bytes())


def _posix_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _windows_memory() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 6),
        )

    status = Status(length=ctypes.sizeof(Status))
    library = getattr(ctypes, "windll").kernel32  # noqa: B009  (mypy on other systems does not know windll)
    return int(status.total) if library.GlobalMemoryStatusEx(ctypes.byref(status)) else 0


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
