"""Role files in the user's own editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, roles_dir, write_text
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.roles.role import Example, Role


def editor_command() -> list[str]:
    """The user's editor: $VISUAL, $EDITOR, else one that is usually there. Raises RolekitError if there is none."""
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        words = shlex.split(chosen)
    except ValueError as error:  # a quote without its partner
        raise RolekitError(f"The editor {chosen!r} cannot be understood.", "Set EDITOR again.") from error
    if words:
        return words
    for name in ("nano", "vim", "vi", "notepad"):
        if shutil.which(name):
            return [name]
    raise RolekitError("No editor was found.", "Set the variable EDITOR to the one you like.")


def own_file(entry: Entry) -> Path:
    """The role's file among the user's own; a bundled one is copied there first, comments and all."""
    if not entry.bundled:
        return entry.path
    path = ensure_dir(roles_dir()) / entry.path.name
    if not path.exists():
        write_text(path, entry.path.read_text(encoding="utf-8"))
    return path


def first_draft(library: RoleLibrary, name: str) -> Path:
    """A file for a role called name, with something to write over in every field."""
    role = Role(
        name=name,
        description=f"You are {name}. Say here, in a few sentences, who that is and how they talk.",
        catchphrases=("A turn of phrase that makes the voice.",),
        facts=("Something that is true about this life.",),
        greeting="The first thing said in a new chat.",
        examples=(Example(user="Who are you?", reply=f"I am {name}."),),
    )
    return library.save(role)


def open_editor(app: App[Any], path: Path) -> None:
    """Give the terminal to the editor until it ends. Raises RolekitError where that cannot be done."""
    command = editor_command()
    failure: OSError | None = None
    try:
        with app.suspend():
            try:
                subprocess.run([*command, str(path)], check=False)
            except (
                OSError
            ) as error:  # raised from inside suspend(), it would leave the terminal lent for good
                failure = error
    except SuspendNotSupported as error:
        raise RolekitError(
            "This terminal cannot be lent to an editor.", f"Edit {path} yourself; the list follows."
        ) from error
    if failure is not None:
        raise RolekitError(
            f"The editor {command[0]} could not be started ({failure.strerror}).",
            "Set EDITOR to one that can.",
        ) from failure
