"""The files that go with a converted model: an Ollama Modelfile and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rolekit.convert.modelfile import modelfile, turns_of
from rolekit.engine.gguf_header import read_header
from rolekit.engine.presets import load_preset
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template
from rolekit.engine.vocabulary import open_vocabulary
from rolekit.errors import RolekitError
from rolekit.paths import write_text
from rolekit.roles.block import role_block
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Role

_DEFAULT_USER = "You"


def known_role(name: str) -> Role | None:
    """The library's role of that name; None where it has none, or the name is empty."""
    if not name:
        return None
    try:
        return RoleLibrary().find(name).loaded()
    except RolekitError:
        return None


def modelfile_of(
    model: Path, role: Role | None, *, licence: str = "", adapter: Path | None = None, preset: str = "default"
) -> str:
    """The text of a Modelfile for a finished GGUF file.

    Raises RolekitError when its chat template cannot put a plain conversation.
    """
    template = load_template(None, read_header(model))
    with open_vocabulary(model) as vocabulary:
        return modelfile(
            model,
            turns_of(template, vocabulary),
            Prompter(template, vocabulary),
            load_preset(preset),
            system=role_block(role, _DEFAULT_USER) if role else "",
            adapter=adapter,
            licence=licence,
        )


def write_new(texts: Mapping[Path, str]) -> tuple[list[Path], list[Path]]:
    """Write each text where there is no file yet; the paths written, and those that somebody else's text holds.

    A file that already says the same counts as written.
    """
    written, kept = [], []
    for path, text in texts.items():
        try:
            there = path.read_text(encoding="utf-8") if path.exists() else None
        except (OSError, UnicodeDecodeError):
            there = ""
        if there is not None and there != text:
            kept.append(path)
            continue
        write_text(path, text)
        written.append(path)
    return written, kept
