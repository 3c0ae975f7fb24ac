"""CharX: a zip archive with card.json at its root, alone or behind a JPEG picture."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from rolekit.errors import RolekitError
from rolekit.roles.cards.card import MAX_ASSETS, MAX_CARD_BYTES, Asset
from rolekit.text import one_line, size

CARD_NAME = "card.json"
_MAX_RATIO = 200
_SMALL_BYTES = 1 << 20
"""A file this small may be packed as tightly as it likes."""
_MAX_TOTAL_BYTES = 4 << 30
_MAX_DIRECTORY_BYTES = 4 << 20
_END_BYTES = 65_557
"""The end record and the longest comment behind it."""
_ADVICE = "Do not use it, or export the card again from the program that made it."


def open_archive(path: Path) -> tuple[bytes, dict[str, Asset], tuple[str, ...]]:
    """card.json's bytes, all other files by name, and what was left out and why.

    Raises RolekitError when it is no archive, has no card at its root, is encrypted, or is a bomb.
    """
    try:
        _refuse_large_directory(path)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_ASSETS:
                raise RolekitError(
                    f"This archive has {len(infos)} files; {MAX_ASSETS} is the limit.", _ADVICE
                )
            if sum(info.file_size for info in infos) > _MAX_TOTAL_BYTES:
                raise RolekitError(f"This archive unpacks to more than {size(_MAX_TOTAL_BYTES)}.", _ADVICE)
            card = next((info for info in infos if info.filename == CARD_NAME), None)
            if card is None:
                raise RolekitError(
                    "This archive has no card.json at its root, so it is no CharX card.",
                    "Name a .charx file, a card picture or a card's JSON.",
                )
            assets, notices = _assets(path, infos)
            return _read(archive, card, MAX_CARD_BYTES), assets, notices
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise RolekitError(
            f"This archive is damaged ({one_line(str(error), 100)}).", "Get the file again."
        ) from error


def _refuse_large_directory(path: Path) -> None:
    """Look at the end record before zipfile does: it would make an object for each of a million names."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - _END_BYTES))
        tail = file.read(_END_BYTES)
        at = tail.rfind(b"PK\5\6")
        directory_bytes = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
        if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7":
            file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little"), end))
            directory_bytes = int.from_bytes(file.read(48)[40:48], "little")
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise RolekitError(f"This archive's list of files alone has {size(directory_bytes)}.", _ADVICE)


def picture_bytes(path: Path) -> int:
    """How many bytes stand in front of the archive: the length of the picture that it hides behind."""
    with zipfile.ZipFile(path) as archive:
        return min((info.header_offset for info in archive.infolist()), default=0)


def _assets(path: Path, infos: list[zipfile.ZipInfo]) -> tuple[dict[str, Asset], tuple[str, ...]]:
    assets: dict[str, Asset] = {}
    notices: list[str] = []
    for info in infos:
        if info.is_dir() or info.filename == CARD_NAME:
            continue
        if reason := _unsafe(info):
            notices.append(f"The file {one_line(info.filename)} was left out: {reason}.")
        elif info.filename not in assets:
            assets[info.filename] = Asset(info.filename, info.file_size, _Fetch(path, info.filename))
    return assets, tuple(notices)


def _unsafe(info: zipfile.ZipInfo) -> str:
    """Why a file of the archive may not be used; empty where it may."""
    name = info.filename
    steps = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in steps or ":" in name or "\0" in name:
        return "its name leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link"
    return ""


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """The bytes of one file, never more than limit."""
    name = one_line(info.filename)
    if info.flag_bits & 1:
        raise RolekitError(
            f"{name} in this archive is encrypted.", "Export the card again without a password."
        )
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > limit or (info.file_size > _SMALL_BYTES and ratio > _MAX_RATIO):
        raise RolekitError(f"{name} in this archive unpacks to {size(info.file_size)}.", _ADVICE)
    try:
        with archive.open(info) as file:
            data = file.read(limit + 1)
    except (RuntimeError, zlib.error, EOFError) as error:
        raise RolekitError(
            f"{name} in this archive is damaged ({one_line(str(error), 80)}).", _ADVICE
        ) from error
    if len(data) > limit:
        raise RolekitError(f"{name} in this archive is longer than it says.", _ADVICE)
    return data


class _Fetch:
    """Reads one file of the archive when it is asked for."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def __call__(self) -> bytes:
        try:
            with zipfile.ZipFile(self._path) as archive:
                info = archive.getinfo(self._name)
                return _read(archive, info, info.file_size)
        except (zipfile.BadZipFile, NotImplementedError, KeyError, OSError, ValueError) as error:
            what = f"{one_line(self._name)} cannot be read from the card ({one_line(str(error), 80)})."
            raise RolekitError(what, "Get the file again.") from error
