"""A LoRA adapter in no package's format, and what reading one from any of them has in common."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.text import one_line
from rolekit.train.tensors import Tensor


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
