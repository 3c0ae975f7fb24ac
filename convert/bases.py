"""What BASE on the command line stands for: a Hugging Face folder, or a GGUF file."""

from __future__ import annotations

import os
from pathlib import Path

from rolekit.engine.references import resolve
from rolekit.errors import RolekitError
from rolekit.paths import expanded


def resolve_base(ref: str) -> Path:
    """The folder or the GGUF file that ref names: a path, `starter`, hf:owner/repo once it is fetched.

    Raises RolekitError, with what to do, where there is none.
    """
    path = expanded(ref)
    if not os.path.isdir(path):
        return resolve(ref)
    if (path / "config.json").is_file():
        return path
    if any(path.glob("adapter_model.*")) or (path / "adapter_config.json").is_file():
        raise RolekitError(
            f"{path} is an adapter, not a base model.",
            f"Name the base it was trained on: rolekit convert BASE --adapter {path} --out FILE.gguf.",
        )
    if any(path.glob("*.safetensors")):
        raise RolekitError(
            f"{path} has weights but no config.json.",
            "Fetch the model's whole folder; config.json belongs to it.",
        )
    return resolve(ref)
