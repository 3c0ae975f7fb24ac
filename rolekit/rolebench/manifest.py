"""What a folder of data was made from: every file with its size and sha256, in manifest.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rolekit import __version__
from rolekit.paths import file_sha256, write_text

MANIFEST = "manifest.json"


def file_entry(file: Path, folder: Path) -> dict[str, Any]:
    """The file's place within the folder, its size and its hash."""
    place = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name
    return {"path": place, "bytes": file.stat().st_size, "sha256": file_sha256(file)}


def write_manifest(target: Path, made_by: str, files: Iterable[dict[str, Any]], **more: Any) -> None:
    """Put a manifest at target; the same content gives the same bytes, so there is no date in it."""
    content = {"made_by": f"rolekit {__version__} {made_by}", "files": list(files), **more}
    write_text(target, json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> Mapping[str, Any] | None:
    """The folder's manifest; None where there is none that can be read."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("files"), list) else None


def changed_files(folder: Path) -> list[str]:
    """Files that are not what the folder's manifest says: changed, or gone."""
    manifest = read_manifest(folder)
    if manifest is None:
        return []
    changed = []
    for entry in manifest["files"]:
        file = folder / str(entry.get("path"))
        if not file.is_file() or file_entry(file, folder)["sha256"] != entry.get("sha256"):
            changed.append(str(entry.get("path")))
    return changed
