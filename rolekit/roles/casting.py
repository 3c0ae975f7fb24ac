"""The role behind a name in a data set: its profile where there is one, else nothing but the name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary
from rolekit.roles.names import fold
from rolekit.roles.role import Role


@dataclass(slots=True)
class Casting:
    """Finds roles by the exact names that data uses (case, accents and signs do not matter; no near misses)."""

    library: RoleLibrary = field(default_factory=RoleLibrary)
    nameless: set[str] = field(default_factory=set, init=False)
    """Names that were asked for and have no profile: their block says who they are and no more."""
    _known: dict[str, Role] = field(default_factory=dict, init=False)
    _found: dict[tuple[str, str], Role] = field(default_factory=dict, init=False)

    def role(self, name: str, language: str = "en") -> Role:
        """The role of that name or alias, from the user's own and the bundled ones; else a role made of the name.

        Raises RolekitError when the name is empty.
        """
        key = (name, language)
        if key not in self._found:
            if not name.strip():
                raise RolekitError("A row has no role.", 'Name it: --role, or role = "…" beside the path.')
            known = self._all().get(fold(name) or name)
            if known is None:
                self.nameless.add(name)
            self._found[key] = known or bare_role(name, language)
        return self._found[key]

    def _all(self) -> dict[str, Role]:
        if not self._known:
            entries = [entry.role for entry in self.library.all() if entry.role is not None]
            for names in (lambda role: role.aliases, lambda role: (role.name,)):
                self._known |= {fold(name) or name: role for role in entries for name in _texts(names(role))}
        return self._known


def bare_role(name: str, language: str = "en") -> Role:
    """A role of which nothing but the name is known."""
    description = f"你是{name}。" if language.startswith("zh") else f"You are {name}."
    return Role(name=name.strip()[:200], language=language, description=description)


def _texts(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.strip()]
