"""Who plays: the Role behind a name of the data, and what shows how it talks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary
from rolekit.roles.names import fold
from rolekit.roles.role import Role
from rolekit.text import one_line

Source = Literal["library", "profiles", "name"]
_PARENTS = 4


@dataclass(frozen=True, slots=True)
class Cast:
    """A role of the data, and where its description comes from."""

    role: Role
    source: Source
    """library: a role file at hand; profiles: RoleBench's own descriptions; name: nothing but the name is known."""


class Casting:
    """Finds the Role for each name of a data set; the answer for a name is always the same."""

    def __init__(self, library: RoleLibrary, descriptions: Mapping[str, str]) -> None:
        """descriptions: RoleBench's own, by the data's role name (see read_descriptions)."""
        self._descriptions = descriptions
        self._known: dict[tuple[str, str], Role] = {}
        for entry in library.all():
            if entry.role is not None:
                for name in (entry.role.name, *entry.role.aliases):
                    self._known.setdefault((fold(name), _language(entry.role.language)), entry.role)
        self._casts: dict[tuple[str, str], Cast] = {}

    def cast(self, name: str, language: str) -> Cast:
        """The role of that name: RoleBench's description, else a role file of that name and language, else a mere name.

        RoleBench's own description comes first, so that figures can be compared with the paper's.
        """
        key = (name, language)
        if key not in self._casts:
            self._casts[key] = self._find(name, _language(language))
        return self._casts[key]

    def _find(self, name: str, language: str) -> Cast:
        if description := self._descriptions.get(name, "").strip():
            return Cast(Role(name=name, description=description, language=language), "profiles")
        known = self._known.get((fold(name), language)) if fold(name) else None
        if known is not None:
            return Cast(known, "library")
        description = f"你是{name}。" if language == "zh" else f"You are {name}."
        return Cast(Role(name=name[:200], description=description, language=language), "name")


def read_descriptions(data: Path) -> dict[str, str]:
    """RoleBench's role descriptions (profiles-*/desc.json) at or above data; empty where they were not fetched.

    Raises RolekitError when such a file is there and is no object of texts.
    """
    found: dict[str, str] = {}
    for folder in [data, *data.absolute().parents][: _PARENTS + 1]:
        for file in sorted(folder.glob("profiles-*/desc.json")) if folder.is_dir() else ():
            found = {**_read(file), **found}
    return found


def wanted_roles(asked: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    """The data's names for the roles that somebody asked for; case, accents and punctuation do not matter.

    Raises RolekitError naming the nearest ones where there is no such role.
    """
    names = list(dict.fromkeys(known))
    found = set()
    for name in asked:
        same = [one for one in names if one == name] or [
            one for one in names if fold(one) == fold(name) != ""
        ]
        if not same:
            raise RolekitError(
                f'The data has no role called "{one_line(name, 60)}".',
                f"The nearest are: {_nearest(name, names)}.",
            )
        found.update(same)
    return frozenset(found)


def _nearest(name: str, names: list[str]) -> str:
    from rapidfuzz import fuzz, process

    ranked = process.extract(fold(name), {one: fold(one) for one in names}, scorer=fuzz.WRatio, limit=3)
    return ", ".join(one_line(str(row[2]), 40) for row in ranked) or "none at all"


def _read(file: Path) -> dict[str, str]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RolekitError(
            f"{file} cannot be read ({error}).", "Fetch it again: rolekit data pull rolebench"
        ) from error
    if not isinstance(values, dict) or not all(isinstance(text, str) for text in values.values()):
        raise RolekitError(
            f"{file} is no table of descriptions.", "Fetch it again: rolekit data pull rolebench"
        )
    return values


def _language(tag: str) -> str:
    return tag.split("-")[0].lower()
