"""Named sampling presets: the bundled presets.toml, and the user's own beside it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.messages import Sampling
from rolekit.paths import home

_ABOUT = "about"
_RANGES = {
    "temperature": (0, 5),
    "top_k": (0, 100_000),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "dry_multiplier": (0, 10),
    "dry_base": (1, 10),
    "dry_allowed_length": (1, 1000),
    "repeat_penalty": (0.5, 2),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "penalty_tokens": (0, 1_000_000),
    "mirostat_tau": (0, 20),
    "mirostat_eta": (0, 1),
}


def load_preset(name: str) -> Sampling:
    """The sampling called name; the user's presets.toml wins over the bundled one.

    Raises RolekitError naming all presets when there is none of that name, or all faults of the user's file.
    """
    tables = _tables()
    if name not in tables:
        near = difflib.get_close_matches(name, tables, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise RolekitError(f"There is no preset {name!r}.", f"{meant}Presets are: {', '.join(tables)}.")
    return tables[name][0]


def list_presets() -> dict[str, str]:
    """What each preset is for, in one sentence, by name; the bundled ones first.

    Raises RolekitError with all faults of the user's file.
    """
    return {name: about for name, (_, about) in _tables().items()}


def _tables() -> dict[str, tuple[Sampling, str]]:
    bundled = resources.files("rolekit.engine").joinpath("presets.toml").read_text(encoding="utf-8")
    presets = {name: _preset(table) for name, table in tomllib.loads(bundled).items()}
    path = home() / "presets.toml"
    tables = _read(path)
    faults = [fault for name, table in tables.items() for fault in _faults(name, table)]
    if faults:
        raise RolekitError(
            f"The presets in {path} have faults: {'; '.join(faults)}.", "Correct or remove them."
        )
    return presets | {name: _preset(table) for name, table in tables.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RolekitError(
            f"The presets in {path} cannot be read: {error}.", "Correct or remove it."
        ) from error


def _preset(table: Mapping[str, Any]) -> tuple[Sampling, str]:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    about = str(values.pop(_ABOUT, ""))
    return Sampling(**values), about


def _faults(name: str, table: object) -> list[str]:
    """Everything that is wrong with one preset of the user's."""
    if not isinstance(table, dict):
        return [f"{name} is no table; write [{name}] and keys below it"]
    known = {field.name for field in fields(Sampling)} | {_ABOUT}
    faults = []
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            faults.append(f"{name}.{key} is unknown" + (f", did you mean {near[0]}?" if near else ""))
        elif fault := _fault(key, value):
            faults.append(f"{name}.{key} {fault}")
    return faults


def _fault(key: str, value: object) -> str:
    """What is wrong with one value; empty where nothing is."""
    if key in (_ABOUT, "grammar"):
        return "" if isinstance(value, str) else "must be a text"
    if key == "dry_breakers":
        good = isinstance(value, list) and all(isinstance(text, str) and text for text in value)
        return "" if good else "must be a list of texts"
    whole = key in ("top_k", "dry_allowed_length", "penalty_tokens", "mirostat")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return f"must be a {'whole ' if whole else ''}number"
    if key == "mirostat":
        return "" if value in (0, 1, 2) else "must be 0, 1 or 2"
    low, high = _RANGES[key]
    return "" if low <= value <= high else f"must be between {low} and {high}"
