"""An adapter's folder, as peft and mlx-lm write it: which of the two it is, its settings, and what scales its change.

Source: peft 0.21 (LoraConfig, tuners/lora) and mlx-lm 0.32 (tuner/utils.load_adapters).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from rolekit.errors import RolekitError
from rolekit.text import one_line

Format = Literal["peft", "mlx"]
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILES: dict[Format, str] = {"peft": "adapter_model.safetensors", "mlx": "adapters.safetensors"}
_MAX_CONFIG_BYTES = 16 << 20
_PATTERN_SECONDS = 1.0
_AGAIN = "Copy it from where the adapter was trained."

T = TypeVar("T")


def format_of(folder: Path) -> Format:
    """Which package's adapter lies in folder.

    Raises RolekitError when it is none, both, or a pickled one.
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
            "Save it again with PEFT's save_pretrained(…, safe_serialization=True).",
        )
    raise RolekitError(
        f"{folder} holds no adapter.",
        f"Name a folder that training wrote, with {' or '.join(WEIGHTS_FILES.values())} in it.",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's settings.

    Raises RolekitError when the file is missing, too long or no JSON object.
    """
    path = folder / CONFIG_FILE
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError("it is too long")
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}): without it nobody knows the adapter's scale.",
            _AGAIN,
        ) from error
    except (ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "it is no JSON text"
        raise RolekitError(f"{path} is damaged: {reason}.", _AGAIN) from error
    if not isinstance(config, dict):
        raise RolekitError(f"{path} is no table of settings.", _AGAIN)
    return config


def pattern_table(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """peft's rank_pattern or alpha_pattern; empty where the settings have none.

    Raises RolekitError when it is no table.
    """
    found = config.get(key) or {}
    if not isinstance(found, dict):
        raise RolekitError(f"{CONFIG_FILE} has a {key} that is no table.", _AGAIN)
    return found


def matching(patterns: Mapping[str, T], path: str, otherwise: T) -> T:
    """What the first pattern that matches the end of a module path says, as in peft's rank_pattern.

    Raises RolekitError for a stranger's pattern that is no regular expression, or takes for ever.
    """
    import regex  # type: ignore[import-untyped, unused-ignore]

    for pattern, value in patterns.items():
        try:
            found = regex.match(rf"(.*\.)?({pattern})$", path, timeout=_PATTERN_SECONDS)
        except (regex.error, TimeoutError) as error:
            raise RolekitError(
                f"The adapter's pattern {one_line(pattern)!r} is no usable expression.",
                f"Correct rank_pattern and alpha_pattern, in the recipe or in the adapter's {CONFIG_FILE}.",
            ) from error
        if found:
            return value
    return otherwise


def lora_scale(config: Mapping[str, Any], rank: int, alpha: float) -> float:
    """What peft multiplies B·A by: alpha / rank, or alpha / sqrt(rank) for rsLoRA."""
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
