"""A stranger's card on its way into the library: looked at first, then taken in, the original kept beside the role."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, replacing, roles_dir
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.to_role import role_of
from rolekit.roles.cards.trust import TrustSheet, lines_of, trust_sheet
from rolekit.roles.library import RoleLibrary
from rolekit.roles.names import slug_of
from rolekit.roles.role import Role
from rolekit.text import one_line

KEPT = "cards"
"""The folder beside the user's roles where the originals are kept."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """A card that has been read and not yet taken in."""

    file: Path
    role: Role
    slug: str
    sheet: TrustSheet
    notices: tuple[str, ...]
    """What the role cannot say as the card did."""

    @property
    def taken(self) -> bool:
        """Whether the user has a role in that file already."""
        return (roles_dir() / f"{self.slug}.toml").exists()

    @property
    def lines(self) -> list[str]:
        """The trust sheet and the notices, as lines for a person."""
        return [*lines_of(self.sheet), *(f"  Note: {notice}" for notice in self.notices)]


def look_at(file: Path) -> Prospect:
    """What a card would bring along. Nothing is written or fetched. Raises RolekitError where there is no card."""
    card = read_card(file)
    made = role_of(card)
    return Prospect(file, made.role, slug_of(made.role.name), trust_sheet(card), made.notices)


def take_in(prospect: Prospect, library: RoleLibrary, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Make a role of the card: the role's file, and the kept original's.

    Raises RolekitError when the name is taken (without overwrite), or a file cannot be written.
    """
    if prospect.taken and not overwrite:
        raise RolekitError(
            f"You already have a role in {one_line(str(roles_dir() / f'{prospect.slug}.toml'), 300)}.",
            "Rename the one you have, or import over it.",
        )
    kept = f"{KEPT}/{prospect.slug}{prospect.file.suffix.lower()}"
    _keep(prospect.file, roles_dir() / kept)
    role = prospect.role.model_copy(update={"card": kept})
    return library.save(role, prospect.slug, overwrite=overwrite), roles_dir() / kept


def _keep(source: Path, target: Path) -> None:
    """Copy the original, byte for byte."""
    ensure_dir(target.parent)
    if target.exists() and target.samefile(source):
        return
    try:
        with source.open("rb") as original, replacing(target) as copy:
            shutil.copyfileobj(original, copy)
    except OSError as error:
        raise RolekitError(
            f"The card {one_line(source.name)} could not be copied ({error.strerror}).", "Check its place."
        ) from error
