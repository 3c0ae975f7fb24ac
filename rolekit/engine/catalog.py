"""Which models there are: those on this machine, and open ones worth fetching."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rolekit.engine.inspect import quantization
from rolekit.engine.references import pulled_files, ref_of, resolve, shard_names
from rolekit.engine.starter import find_starter
from rolekit.errors import RolekitError
from rolekit.paths import models_dir


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine. fault is empty, or says why it cannot be used."""

    ref: str
    path: Path
    file_bytes: int
    quantization: str
    is_default: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Recommended:
    """An open model that plays roles well; the fields are explained in recommended.toml."""

    ref: str
    file: str
    name: str
    parameters: str
    licence: str
    file_bytes: int
    memory_bytes: int
    machine_gb: int
    languages: tuple[str, ...]
    good_for: str


def local_models(default: str) -> list[LocalModel]:
    """The starter, everything pulled, and the default where it lies elsewhere. default: config.toml's model."""
    chosen, fault = _chosen(default)
    models = []
    if (starter := find_starter()) is not None:
        models.append(_local("starter", starter, is_default=not default or default == "starter"))
    models += [_local(ref_of(path), path, is_default=path == chosen) for path in pulled_files()]
    if default and not any(model.is_default for model in models):
        path = chosen or Path(default)
        models.append(
            LocalModel(default, path, _size(path), "", True, fault) if fault else _local(default, path, True)
        )
    return models


def recommended() -> list[Recommended]:
    """The short table of models worth fetching, the smallest first."""
    text = files("rolekit.engine").joinpath("recommended.toml").read_text(encoding="utf-8")
    return [
        Recommended(**{**row, "languages": tuple(row["languages"])}) for row in tomllib.loads(text)["model"]
    ]


def remove_files(path: Path) -> list[Path]:
    """What removing the pulled model at path deletes: every part of it.

    Raises RolekitError for anything that does not lie in rolekit's models folder.
    """
    folder = models_dir().resolve()
    if not path.parent.resolve().is_relative_to(folder):
        raise RolekitError(
            f"{path} is not in rolekit's models folder, so rolekit does not remove it.",
            "Delete the file yourself if you want to.",
        )
    return [path.with_name(name) for name in shard_names(path.name) if path.with_name(name).is_file()]


def delete(paths: list[Path]) -> None:
    """Delete the files, and the folders that are empty then.

    Raises RolekitError when the disk refuses.
    """
    try:
        for path in paths:
            path.unlink()
            for folder in path.parents:
                if folder == models_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()
    except OSError as error:
        raise RolekitError(
            f"{error.filename} could not be removed ({error.strerror}).", "Check its permissions."
        ) from error


def _chosen(default: str) -> tuple[Path | None, str]:
    if not default or default == "starter":
        return None, ""
    try:
        return resolve(default), ""
    except RolekitError as error:
        return None, error.what_happened


def _local(ref: str, path: Path, is_default: bool) -> LocalModel:
    try:
        kind, fault = quantization(path), ""
    except RolekitError as error:
        kind, fault = "", error.what_happened
    total = sum(_size(path.with_name(name)) for name in shard_names(path.name))
    return LocalModel(ref, path, total, kind, is_default, fault)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
