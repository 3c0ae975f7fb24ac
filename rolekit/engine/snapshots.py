"""KV states on disk: written in one step, checked before use, the least recently used thrown away."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"rolekit KV state 1\n"
_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 1 << 20
_STALE_PART_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ids a sequence held and the bytes that make it hold them again."""

    ids: list[int]
    state: bytearray


class Snapshots:
    """A folder of snapshots. A snapshot is found by its owner and by everything its bytes depend on (`made_by`).

    It is a cache: what cannot be read is removed and what cannot be written is left out, without an error.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        """Keep at most budget_bytes in folder; 0 keeps and reads nothing."""
        self._folder = folder
        self._budget_bytes = budget_bytes

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self._budget_bytes > 0

    def path(self, owner: str, made_by: Mapping[str, str]) -> Path:
        """Where owner's snapshot is or would be."""
        name = hashlib.sha256(_canonical({"owner": owner, **made_by})).hexdigest()[:40]
        return self._folder / f"{name}.kv"

    def ids(self, owner: str, made_by: Mapping[str, str]) -> list[int]:
        """The ids of owner's snapshot, read without its state; empty where there is none."""
        if not self.enabled:
            return []
        path = self.path(owner, made_by)
        try:
            with path.open("rb") as file:
                return _read_ids(file, _read_header(file, owner, made_by))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            _remove(path)
            return []

    def load(self, owner: str, made_by: Mapping[str, str]) -> Snapshot | None:
        """Owner's snapshot, its checksum verified; None where there is none or it is damaged (then it goes)."""
        if not self.enabled:
            return None
        path = self.path(owner, made_by)
        try:
            with path.open("rb") as file:
                header = _read_header(file, owner, made_by)
                ids = _read_ids(file, header)
                # Compared with the file before it is allocated: a damaged length must not cost memory.
                state_bytes = os.fstat(file.fileno()).st_size - file.tell()
                if header["state_bytes"] != state_bytes:
                    raise ValueError("the file is cut short")
                state = bytearray(state_bytes)
                if file.readinto(state) != len(state) or _digest(ids, state) != header["sha256"]:
                    raise ValueError("the checksum differs")
            with contextlib.suppress(OSError):
                os.utime(path)
            return Snapshot(ids, state)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            _remove(path)
            return None

    def save(self, owner: str, made_by: Mapping[str, str], ids: Sequence[int], state: bytearray) -> bool:
        """Keep a snapshot, in place of owner's last one; whether that was possible."""
        if len(state) > self._budget_bytes:
            return False
        path = self.path(owner, made_by)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        header = _canonical(
            {
                "owner": owner,
                "made_by": dict(made_by),
                "tokens": len(ids),
                "state_bytes": len(state),
                "sha256": _digest(ids, state),
            }
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # What was said can be read out of a KV state, so nobody else may. No fsync: the checksum tells.
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(_MAGIC + _LENGTH.pack(len(header)) + header)
                file.write(_packed(ids))
                file.write(state)
            part.replace(path)
        except OSError:
            _remove(part)
            return False
        self._make_room()
        return True

    def _make_room(self) -> None:
        """Remove the least recently used files over the budget, and what a killed process left half-written."""
        files = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                stat = path.stat()
                if path.suffix == ".kv":
                    files.append((stat.st_mtime_ns, stat.st_size, path))
                elif path.suffix == ".part" and time.time() - stat.st_mtime > _STALE_PART_SECONDS:
                    _remove(path)
        total = 0
        for _, size, path in sorted(files, reverse=True):
            total += size
            if total > self._budget_bytes:
                _remove(path)


def _canonical(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _packed(ids: Sequence[int]) -> bytes:
    return array("i", ids).tobytes()


def _digest(ids: Sequence[int], state: bytearray) -> str:
    digest = hashlib.sha256(_packed(ids))
    digest.update(state)
    return digest.hexdigest()


def _read_header(file: BinaryIO, owner: str, made_by: Mapping[str, str]) -> dict[str, object]:
    """The header, if it is that of this owner made by the same means.

    Raises ValueError otherwise.
    """
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("no snapshot")
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size).ljust(_LENGTH.size, b"\xff"))
    if length > _MAX_HEADER_BYTES:
        raise ValueError("no snapshot")
    header = json.loads(file.read(length))
    if not isinstance(header, dict) or header["owner"] != owner or header["made_by"] != dict(made_by):
        raise ValueError("a snapshot made by other means")
    return header


def _read_ids(file: BinaryIO, header: Mapping[str, object]) -> list[int]:
    count = header["tokens"]
    if not isinstance(count, int) or not 0 < count < 1 << 28:
        raise ValueError("no sound token count")
    ids = array("i")
    data = file.read(count * ids.itemsize)
    if len(data) != count * ids.itemsize:
        raise ValueError("the file is cut short")
    ids.frombytes(data)
    return ids.tolist()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
