"""A GGUF file being written: at NAME.part, tensor by tensor, so that a broken run goes on where it stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeAlias

from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, write_text
from rolekit.text import size

Bytes: TypeAlias = bytes | bytearray | memoryview

_READ_BYTES = 8 << 20
SPARE_BYTES = 64 << 20
"""Disk space that a conversion leaves free."""


@dataclass(frozen=True, slots=True)
class Region:
    """Where one tensor's bytes go."""

    name: str
    offset: int
    """From the beginning of the file."""
    size_bytes: int


class Output:
    """One output file: its header at once, then each tensor in any order and from any thread.

    A journal beside the file notes every tensor that is complete, with its checksum. `done` names those that an
    earlier run of the very same conversion (same key, same header) has left and whose bytes are still right.
    """

    def __init__(self, part: Path, header: bytes, regions: Sequence[Region], key: str) -> None:
        """Open part (and its journal) for writing, keeping what it already holds for this key.

        Raises RolekitError when the place cannot be written.
        """
        self.part = part
        self._regions = {region.name: region for region in regions}
        self._size = max([len(header), *(region.offset + region.size_bytes for region in regions)])
        self._key = hashlib.sha256(b"\0".join([key.encode(), header, repr(regions).encode()])).hexdigest()
        self._lock = threading.Lock()
        ensure_dir(part.parent)
        with _writing(part):
            self.done = frozenset(self._recover(header))
            self._written = set(self.done)
            self._file = part.open("r+b")
            self._journal = journal_of(part).open("a", encoding="utf-8")

    def write(self, name: str, pieces: Iterable[Bytes]) -> None:
        """Put a tensor's bytes, piece after piece, where they belong, and note that they are complete.

        Raises RolekitError on a full disk; what is complete stays.
        """
        region, checksum, position = self._regions[name], 0, 0
        for piece in pieces:
            view = memoryview(piece).cast("B")
            if position + view.nbytes > region.size_bytes:
                raise ValueError(f"{name}: more bytes than its place of {region.size_bytes}")
            checksum = zlib.crc32(view, checksum)
            with _writing(self.part), self._lock:
                self._file.seek(region.offset + position)
                self._file.write(view)
            position += view.nbytes
        if position != region.size_bytes:
            raise ValueError(f"{name}: {position} bytes for a place of {region.size_bytes}")
        with _writing(self.part), self._lock:
            self._file.flush()
            self._journal.write(json.dumps({"tensor": name, "crc32": checksum}) + "\n")
            self._journal.flush()
            self._written.add(name)

    def seal(self) -> None:
        """Close the file once every tensor is there and on the disk."""
        missing = self._regions.keys() - self._written
        if missing:
            raise ValueError(f"{len(missing)} tensors were never written, {min(missing)} among them")
        with _writing(self.part):
            self._file.flush()
            os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Close the file as it is; closing twice is fine."""
        self._file.close()
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file as it is, whatever happened: the next run goes on with what is complete."""
        self.close()

    def _recover(self, header: bytes) -> dict[str, int]:
        done = dict(self._sound()) if self.part.is_file() else {}
        with self.part.open("r+b" if done else "wb") as file:
            file.write(header)
            file.truncate(self._size)
        lines = [{"key": self._key}, *({"tensor": name, "crc32": crc} for name, crc in done.items())]
        text = "".join(json.dumps(line) + "\n" for line in lines)  # without the last, half line of a crash
        write_text(journal_of(self.part), text)
        return done

    def _sound(self) -> Iterator[tuple[str, int]]:
        """The tensors whose bytes are those that were written, where the file is this conversion's."""
        lines = _journal_lines(journal_of(self.part))
        if not lines or lines[0].get("key") != self._key or self.part.stat().st_size != self._size:
            return
        with self.part.open("rb") as file:
            for line in lines[1:]:
                region = self._regions.get(str(line.get("tensor")))
                checksum = line.get("crc32")
                if region and isinstance(checksum, int) and _checksum(file, region) == checksum:
                    yield region.name, checksum


def journal_of(part: Path) -> Path:
    """The file beside part that says which of its tensors are complete."""
    return part.with_name(part.name + ".journal")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """The block runs in one process at a time for each output file.

    Raises RolekitError when another one is at it.
    """
    from filelock import FileLock, Timeout

    ensure_dir(out.parent)
    lock = FileLock(out.with_name(f"{out.name}.part.lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout as error:
        raise RolekitError(
            f"Another rolekit is writing {out.name} right now.", "Wait for it, or choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def check_disk(folder: Path, need_bytes: int, what: str) -> None:
    """Raise RolekitError when folder's disk has no room for need_bytes (and a little to spare)."""
    folder = ensure_dir(folder)
    free = shutil.disk_usage(folder).free
    if need_bytes + SPARE_BYTES > free:
        raise RolekitError(
            f"{what} needs {size(need_bytes)}, and the disk of {folder} has {size(free)} free.",
            "Free some space, choose a smaller --type, or another place for --out.",
        )


def publish(parts: Sequence[Path], targets: Sequence[Path]) -> None:
    """Give finished files their names; the journals, and a folder that only held the parts, go away.

    Raises RolekitError when a name cannot be given.
    """
    for part, target in zip(parts, targets, strict=True):
        with _writing(target):
            part.replace(target)
            journal_of(part).unlink(missing_ok=True)
    for folder in {part.parent for part in parts}:
        if folder.name.endswith(".part"):
            shutil.rmtree(folder, ignore_errors=True)


def _journal_lines(path: Path) -> list[dict[str, object]]:
    """The whole lines of a journal; a last one that a crash cut short is left out."""
    lines = []
    try:
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            line = json.loads(text)
            if isinstance(line, dict):
                lines.append(line)
    except (FileNotFoundError, json.JSONDecodeError):
        pass
    return lines


def _checksum(file: BinaryIO, region: Region) -> int:
    checksum, left = 0, region.size_bytes
    file.seek(region.offset)
    while left and (data := file.read(min(left, _READ_BYTES))):
        checksum = zlib.crc32(data, checksum)
        left -= len(data)
    return checksum if not left else -1


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise RolekitError(
            f"{path} could not be written ({error.strerror or error}).",
            "Free some space and run the same command again: it goes on where it stopped."
            if full
            else "Check the disk and the folder's permissions.",
        ) from error
