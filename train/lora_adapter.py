"""A LoRA adapter in no package's format, and what reading one from any of them has in common."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import regex  # type: ignore[import-untyped, unused-ignore]

from rolekit.errors import RolekitError
from rolekit.text import one_line
from rolekit.train.tensors import Tensor

_PATTERN_SECONDS = 1.0
Format = Literal["peft", "mlx"]
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILES: dict[Format, str] = {"peft": "adapter_model.safetensors", "mlx": "adapters.safetensors"}


@dataclass(frozen=True, slots=True)
class LoraModule:
    """What an adapter adds to one linear layer: y += scale * b @ (a @ x)."""

    path: str
    """The layer's module path in the model, such as model.layers.0.self_attn.q_proj."""
    a: Tensor
    """(rank, inputs)"""
    b: Tensor
    """(outputs, rank)"""
    scale: float
    magnitude: Tensor | None = None
    """(outputs,): DoRA's learned row norms; None without DoRA."""

    @property
    def rank(self) -> int:
        """The number of rows of a."""
        return self.a.shape[0]


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """An adapter in no format: its modules sorted by path, and what both formats say about them."""

    modules: tuple[LoraModule, ...]
    base: str = ""
    """The base model as the adapter's file names it; empty where it does not."""
    dropout: float = 0.0

    @property
    def dora(self) -> bool:
        """Whether it is a DoRA adapter."""
        return any(module.magnitude is not None for module in self.modules)


def format_of(folder: Path) -> Format:
    """Which package's adapter lies in folder.

    Raises RolekitError when it is none, or a pickled one.
    """
    found = [name for name, file in WEIGHTS_FILES.items() if (folder / file).is_file()]
    if len(found) == 1:
        return found[0]
    if len(found) == 2:
        raise RolekitError(
            f"{folder} holds a peft adapter and an mlx-lm adapter.",
            "Move one of them to a folder of its own.",
        )
    if (folder / "adapter_model.bin").is_file():
        raise RolekitError(
            f"{folder} holds a pickled adapter (adapter_model.bin), which can run any code when it is read.",
            "Save it as safetensors with the program that made it.",
        )
    raise RolekitError(
        f"{folder} holds no adapter.",
        f"Name a folder with {' or '.join(WEIGHTS_FILES.values())} in it.",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's settings.

    Raises RolekitError when the file is missing or no JSON object.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}).", "An adapter needs it beside its weights."
        ) from error
    except ValueError as error:
        raise RolekitError(
            f"{path} is no JSON ({one_line(str(error))}).", "Copy the adapter again."
        ) from error
    if not isinstance(config, dict):
        raise RolekitError(f"{path} holds no settings.", "Copy the adapter again.")
    return config


def number(config: Mapping[str, Any], key: str, where: str) -> float:
    """The number that config has for key.

    Raises RolekitError when it is none.
    """
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RolekitError(
            f"{where} says {key} = {one_line(json.dumps(value))}, which is no number.",
            "Copy the adapter again, or correct the file.",
        )
    return float(value)


def refuse(folder: Path, reasons: list[str], package: str) -> None:
    """Raise RolekitError with all reasons, if there are any."""
    if reasons:
        raise RolekitError(
            f"{folder} cannot be expressed as an adapter of {package}: {'; '.join(reasons)}.",
            "Merge it into its base instead (`rolekit convert BASE --adapter DIR`).",
        )


def in_order(path: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts layer 10 behind layer 9."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in path.split("."))


def matching(patterns: Mapping[str, float], path: str, otherwise: float) -> float:
    """What the first pattern that matches the end of a module path says, as in peft's rank_pattern.

    Raises RolekitError for a pattern that is no regular expression, or takes for ever.
    """
    for pattern, value in patterns.items():
        try:
            found = regex.match(rf"(.*\.)?({pattern})$", path, timeout=_PATTERN_SECONDS)
        except (regex.error, TimeoutError) as error:
            raise RolekitError(
                f"{one_line(pattern)!r} cannot be used as a pattern ({error}).",
                "Correct the adapter's rank and alpha patterns.",
            ) from error
        if found:
            return value
    return otherwise
