"""config.json, asked for its numbers: what is missing or odd ends in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolekit.errors import RolekitError
from rolekit.text import one_line

LLAMA_CPP = "Convert it with llama.cpp's convert_hf_to_gguf.py."
_MAX_SIZE = 1 << 31


@dataclass(frozen=True, slots=True)
class Config:
    """A model's config.json, with the text model's part at the top."""

    values: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """The value under name; default when it is missing or null."""
        value = self.values.get(name)
        return default if value is None else value

    def size(self, *names: str, default: int | None = None) -> int:
        """The positive whole number under the first of names that is there.

        Raises RolekitError when none is, or it is no such number.
        """
        for name in names:
            value = self.values.get(name)
            if value is not None:
                if type(value) is not int or not 0 < value < _MAX_SIZE:
                    raise self._odd(name, "a positive whole number")
                return value
        if default is None:
            raise RolekitError(f"config.json lacks {names[0]}.", "Fetch the model's files again.")
        return default

    def number(self, *names: str, default: float | None = None) -> float:
        """The finite number under the first of names that is there. Raises RolekitError as `size` does."""
        for name in names:
            value = self.values.get(name)
            if value is not None:
                return number(value, name)
        if default is None:
            raise RolekitError(f"config.json lacks {names[0]}.", "Fetch the model's files again.")
        return default

    def table(self, name: str) -> Mapping[str, Any]:
        """The table under name; empty when it is missing or something else."""
        value = self.values.get(name)
        return value if isinstance(value, dict) else {}

    def texts(self, name: str) -> tuple[str, ...]:
        """The list of texts under name; empty when it is missing."""
        value = self.values.get(name)
        return tuple(map(str, value)) if isinstance(value, list) else ()

    def refuse(self, name: str, *, unless: Sequence[Any], why: str) -> None:
        """Raise RolekitError when the value under name is there and none of `unless`."""
        value = self.values.get(name)
        if value is not None and value not in unless:
            raise RolekitError(
                f"config.json sets {name} to {one_line(str(value))}, and {why}.",
                "It cannot become a GGUF file.",
            )

    def _odd(self, name: str, wanted: str) -> RolekitError:
        return RolekitError(
            f"config.json sets {name} to {one_line(str(self.values[name]))}, which is not {wanted}.",
            "Fetch the model's files again.",
        )


def number(value: Any, name: str) -> float:
    """value as a finite float. Raises RolekitError, naming it, when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RolekitError(
            f"config.json sets {name} to {one_line(str(value))}, which is not a number.",
            "Fetch the model's files again.",
        )
    return float(value)
