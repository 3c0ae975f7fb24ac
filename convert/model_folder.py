"""A Hugging Face model folder: its configuration files, read once and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.text import one_line

_MAX_JSON_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What stands beside the weights; a file that is not there is an empty table."""

    path: Path
    config: Mapping[str, Any]
    """config.json; a text model nested in it (text_config) is lifted to the top."""
    generation_config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]

    @property
    def class_name(self) -> str:
        """The transformers class the weights belong to: LlamaForCausalLM."""
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    def file(self, name: str) -> Path | None:
        """The path of a file of this folder; None when it is not there."""
        path = self.path / name
        return path if path.is_file() else None


def open_folder(path: Path) -> ModelFolder:
    """The configuration of the Hugging Face model in path.

    Raises RolekitError when config.json is missing, or a file cannot be read.
    """
    if not (path / "config.json").is_file():
        raise RolekitError(
            f"{path} has no config.json.", "Name a Hugging Face model's folder or a .gguf file."
        )
    config = read_json(path / "config.json")
    nested = config.get("text_config")
    if isinstance(nested, dict):
        config = {**config, **nested, "architectures": config.get("architectures")}
    return ModelFolder(
        path, config, read_json(path / "generation_config.json"), read_json(path / "tokenizer_config.json")
    )


def with_tokenizer_of(folder: ModelFolder, adapter: Path) -> ModelFolder:
    """The folder with the tokenizer that was saved beside an adapter, which knows the tokens added in training.

    Where the adapter has none the folder stays as it is; a chat template that it lacks is the folder's.
    """
    if not (adapter / "tokenizer.json").is_file():
        return folder
    settings = {**folder.tokenizer_config, **read_json(adapter / "tokenizer_config.json")}
    template = folder.file("chat_template.jinja")
    if template is not None and "chat_template" not in read_json(adapter / "tokenizer_config.json"):
        settings["chat_template"] = template.read_text(encoding="utf-8", errors="replace")
    return ModelFolder(adapter, folder.config, folder.generation_config, settings)


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file; empty when there is no such file.

    Raises RolekitError when it is no table or cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise RolekitError(f"{path.name} is far too large.", "Fetch the model's files again.")
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RolekitError(
            f"{path.name} is no JSON text ({one_line(str(error))}).", "Fetch the model's files again."
        ) from error
    except OSError as error:
        raise RolekitError(
            f"{path} could not be read ({error.strerror}).", "Check its permissions."
        ) from error
    if not isinstance(data, dict):
        raise RolekitError(f"{path.name} holds no table.", "Fetch the model's files again.")
    return data
