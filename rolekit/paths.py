"""Where everything a user owns lives: one folder, one subfolder a concern."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rolekit.errors import RolekitError


def home() -> Path:
    """The user's rolekit folder: $ROLEKIT_HOME, else the platform's data folder. Not created here."""
    override = os.environ.get("ROLEKIT_HOME")
    if override:
        return expanded(override)
    from platformdirs import user_data_path

    return user_data_path("rolekit", appauthor=False)


def expanded(text: str) -> Path:
    """The path that a person typed; a `~name` that is nobody's home here is a name like any other."""
    return Path(os.path.expanduser(text))


def roles_dir() -> Path:
    """The user's own roles, which win over the bundled ones."""
    return home() / "roles"


def models_dir() -> Path:
    """Downloaded models."""
    return home() / "models"


def data_dir() -> Path:
    """Fetched data sets, one subfolder each."""
    return home() / "data"


def cache_dir() -> Path:
    """What can be made again: KV snapshots and indexes."""
    return home() / "cache"


def chats_file() -> Path:
    """The SQLite database of all conversations."""
    return home() / "chats.db"


def config_file() -> Path:
    """The user's settings, TOML."""
    return home() / "config.toml"


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ensure_dir(folder: Path) -> Path:
    """The folder, made if it was missing.

    Raises RolekitError when the place cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise RolekitError(
            f"rolekit cannot write to {folder} ({error.strerror or error}).",
            "Make it writable, or set ROLEKIT_HOME to a folder that is.",
        ) from error
    return folder


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A binary file that takes target's place only when the block ends well (NAME.part, then renamed).

    Raises RolekitError when the disk is full or the place cannot be written; target is then as it was.
    """
    ensure_dir(target.parent)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    if "\0" in target.name:
        raise RolekitError(f"{target.name!r} is no name for a file.", "Choose another.")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise RolekitError(
            f"{target} could not be written ({error.strerror or error}).",
            "Free some disk space or choose another place; nothing that was there has changed.",
        ) from error
    finally:
        with suppress(OSError):  # a name too long to open is too long to remove
            part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Put text (UTF-8) at target in one step: a reader sees the old file or the new one, never half."""
    with replacing(target) as file:
        file.write(text.encode("utf-8"))
