"""Chat templates: the model's own, one of rolekit's, or the user's file; never a guess."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekit.engine.sandbox import MAX_SOURCE_CHARACTERS, TEMPLATE_FAULTS, TemplateEnvironment
from rolekit.errors import RolekitError
from rolekit.paths import expanded
from rolekit.text import one_line

if TYPE_CHECKING:
    from jinja2 import Template

    from rolekit.engine.gguf_header import GgufHeader


class CannotRender(Exception):
    """A template refuses these messages; another way of putting them may work."""


class ChatTemplate:
    """A chat template, compiled in the sandbox when it is first rendered."""

    def __init__(self, source: str, name: str) -> None:
        """source: Jinja, as the GGUF or the file has it; nothing is compiled yet, so nothing can fail."""
        self.source = source
        self.name = name
        """For messages: a built-in name, a file, or whose GGUF it came from."""
        self._environment = TemplateEnvironment()
        self._lock = threading.Lock()

    @cached_property
    def _template(self) -> Template:
        if len(self.source) > MAX_SOURCE_CHARACTERS:
            raise self._unusable("it is too long for a chat template")
        try:
            self._environment.budget.refill(0)
            return self._environment.from_string(self.source)
        except TEMPLATE_FAULTS as error:
            raise self._unusable(one_line(str(error), 200) or type(error).__name__) from error

    def _unusable(self, reason: str) -> RolekitError:
        return RolekitError(
            f"The chat template of {self.name} cannot be used: {reason.rstrip('.')}.",
            f"Choose another with --chat-template: {', '.join(template_names())}, or a .jinja file.",
        )

    def render(self, messages: Sequence[Mapping[str, str]], variables: Mapping[str, Any]) -> str:
        """The prompt's text for messages ({"role", "content"} each), with variables visible to the template.

        Raises CannotRender with the template's own reason, RolekitError when it is no valid template at all.
        """
        template = self._template
        values = {"messages": list(messages), "tools": None, "documents": None, **variables}
        with self._lock:
            self._environment.budget.refill(len(messages))
            try:
                context = template.new_context(values)
                return self._environment.concat(template.root_render_func(context))
            except TEMPLATE_FAULTS as error:
                raise CannotRender(one_line(str(error), 200) or type(error).__name__) from error

    def no_way(self, reason: str) -> RolekitError:
        """The error for messages that the template takes in no form."""
        return self._unusable(reason)


def template_names() -> list[str]:
    """The names that --chat-template knows, in alphabetical order."""
    folder = resources.files("rolekit.engine").joinpath("templates")
    return sorted(
        item.name.removesuffix(".jinja") for item in folder.iterdir() if item.name.endswith(".jinja")
    )


def load_template(choice: str | None, header: GgufHeader) -> ChatTemplate:
    """The chosen chat template (a name, or a .jinja file), else the one in the model's GGUF header.

    Raises RolekitError when the model has none and none was chosen, or the choice is unknown or unreadable.
    """
    if choice is not None:
        return named_template(choice)
    source = header.text("tokenizer.chat_template") or header.text("tokenizer.chat_template.default")
    if source.strip():
        return ChatTemplate(source, header.text("general.name") or "this model")
    raise RolekitError(
        "This model carries no chat template, and guessing one would spoil its answers.",
        f"Name the right one with --chat-template: {', '.join(template_names())}, or a .jinja file.",
    )


def named_template(choice: str) -> ChatTemplate:
    """The chat template of that name, or in that .jinja file.

    Raises RolekitError when there is none, or the file is unreadable.
    """
    names = template_names()
    if choice in names:
        folder = resources.files("rolekit.engine").joinpath("templates")
        return ChatTemplate(folder.joinpath(f"{choice}.jinja").read_text("utf-8"), choice)
    path = expanded(choice)
    if os.path.isfile(path):
        return ChatTemplate(_read(path), path.name)
    near = difflib.get_close_matches(choice.lower(), names, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise RolekitError(
        f"There is no chat template {one_line(choice)!r}.",
        f"{hint}Choose {', '.join(names)}, or a .jinja file.",
    )


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_SOURCE_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RolekitError(
            f"The chat template {path} could not be read ({reason}).", "Choose a .jinja text file."
        ) from error
