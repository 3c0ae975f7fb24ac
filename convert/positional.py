"""Files read and written at a position by several threads at once, without mapping them."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolekit.errors import RolekitError


class PositionalFile:
    """One open file; reads and writes carry their own offset, so threads do not disturb each other."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """Raises RolekitError when the file cannot be opened. write: made if missing, kept if not."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        try:
            self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise RolekitError(
                f"{path} could not be opened ({error.strerror or error}).",
                "Check the path and its permissions.",
            ) from error
        self._lock = Lock()

    def size(self) -> int:
        """The file's length in bytes."""
        return os.fstat(self._fd).st_size

    def modified_ns(self) -> int:
        """When the file was last written."""
        return os.fstat(self._fd).st_mtime_ns

    def read_into(self, offset: int, target: NDArray[Any]) -> None:
        """Fill target (contiguous) with the bytes at offset.

        Raises RolekitError when they are not all there.
        """
        view = target.reshape(-1).view(np.uint8).data
        done = 0
        try:
            while done < len(view):
                got = self._read(view[done:], offset + done)
                if not got:
                    raise RolekitError(f"{self.path} ends too early.", "Fetch it again: it is cut off.")
                done += got
        except OSError as error:
            raise RolekitError(
                f"{self.path} could not be read ({error.strerror or error}).", "Check the disk."
            ) from error

    def read(self, offset: int, count: int) -> bytes:
        """count bytes at offset."""
        buffer = np.empty(count, np.uint8)
        self.read_into(offset, buffer)
        return buffer.tobytes()

    def _read(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._fd, [view], offset)
        with self._lock:
            os.lseek(self._fd, offset, os.SEEK_SET)
            data = os.read(self._fd, min(len(view), 1 << 26))
        view[: len(data)] = data
        return len(data)

    def write(self, offset: int, data: bytes | NDArray[Any]) -> None:
        """Put all of data at offset. Raises OSError: the caller knows what to say about a full disk."""
        view = memoryview(data) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            done += self._write(view[done:], offset + done)

    def _write(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._fd, view, offset)
        with self._lock:
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.write(self._fd, view)

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        os.fsync(self._fd)

    def truncate(self, length: int) -> None:
        """Make the file exactly that long."""
        os.ftruncate(self._fd, length)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
