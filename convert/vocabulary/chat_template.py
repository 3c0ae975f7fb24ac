"""The chat template that goes into the file: transformers' own, without the tags that only training needs."""

from __future__ import annotations

import re

from rolekit.convert.metadata import MetaValue
from rolekit.convert.model_folder import ModelFolder, read_json
from rolekit.errors import RolekitError

_BEGIN = re.compile(r"\{%(?P<left>[-+]?)\s*generation\s*(?P<right>[-+]?)%\}")
_END = re.compile(r"\{%(?P<left>[-+]?)\s*endgeneration\s*(?P<right>[-+]?)%\}")
_NAME = re.compile(r"[a-z0-9_]{1,64}")
_MAX_BYTES = 1 << 20


def chat_templates(folder: ModelFolder) -> dict[str, str]:
    """Name to text of the model's templates; `default` is the one to chat with. Empty when it has none.

    chat_template.jinja wins over tokenizer_config.json, as in transformers.
    Raises RolekitError when a file cannot be read.
    """
    value = folder.tokenizer_config.get("chat_template") or read_json(folder.path / "chat_template.json").get(
        "chat_template"
    )
    found: dict[str, str] = {}
    if isinstance(value, str):
        found["default"] = value
    elif isinstance(value, list):
        for entry in value:
            if isinstance(entry, dict) and isinstance(entry.get("template"), str):
                found[str(entry.get("name"))] = entry["template"]
    file = folder.file("chat_template.jinja")
    if file is not None:
        found["default"] = _read(folder, "chat_template.jinja")
    for more in sorted((folder.path / "additional_chat_templates").glob("*.jinja")):
        found[more.stem] = _read(folder, f"additional_chat_templates/{more.name}")
    return {name: without_generation_tags(text) for name, text in found.items() if text.strip()}


def template_metadata(templates: dict[str, str]) -> dict[str, MetaValue]:
    """The templates as metadata: the default one, and others by their names."""
    keys: dict[str, MetaValue] = {}
    others = {name: text for name, text in templates.items() if name != "default" and _NAME.fullmatch(name)}
    if others:
        keys["tokenizer.chat_templates"] = tuple(others)
        keys |= {f"tokenizer.chat_template.{name}": text for name, text in others.items()}
    if "default" in templates:
        keys["tokenizer.chat_template"] = templates["default"]
    return keys


def without_generation_tags(template: str) -> str:
    """The template with {% generation %} blocks made plain: only training's masks know that tag.

    A block that is always shown takes its place, so that blanks around the tags are treated as before.
    """
    template = _BEGIN.sub(r"{%\g<left> if true \g<right>%}", template)
    return _END.sub(r"{%\g<left> endif \g<right>%}", template)


def _read(folder: ModelFolder, name: str) -> str:
    path = folder.path / name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RolekitError(f"{name} is far too large for a template.", "Fetch the model's files again.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RolekitError(
            f"{name} could not be read ({error}).", "Fetch the model's files again."
        ) from error
