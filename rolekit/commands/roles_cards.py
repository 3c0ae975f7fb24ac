"""Character cards for `rolekit roles`: import with a trust sheet, export, and the sheet alone."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rolekit.commands.roles import refuse_to_replace
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, replacing, roles_dir
from rolekit.roles.cards.card import Card
from rolekit.roles.cards.from_role import card_of
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.to_role import role_of
from rolekit.roles.cards.trust import lines_of, trust_sheet
from rolekit.roles.cards.writing import Version, write_card
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.roles.names import slug_of
from rolekit.text import one_line, sanitize

KEPT = "cards"
"""The folder beside the user's roles where the originals are kept."""


def import_card(file: Path, *, force: bool, as_json: bool) -> None:
    """Make a role of a card, keep the card beside it, and say what it would put into prompts."""
    card = read_card(file)
    made = role_of(card)
    slug = slug_of(made.role.name)
    kept = f"{KEPT}/{slug}{file.suffix.lower()}"
    if not force:
        refuse_to_replace(
            roles_dir() / f"{slug}.toml", "Rename the one you have, or replace it with --force."
        )
    sheet = trust_sheet(card)
    for line in (*lines_of(sheet), *(f"  Note: {notice}" for notice in made.notices)):
        print(sanitize(line), file=sys.stderr)
    _keep(file, roles_dir() / kept)
    role = made.role.model_copy(update={"card": kept})
    path = RoleLibrary().save(role, slug, overwrite=force)
    row = {"role": role.name, "slug": slug, "path": str(path), "card": str(roles_dir() / kept)}
    print(json.dumps({**row, "trust": asdict(sheet)}, ensure_ascii=False) if as_json else sanitize(str(path)))


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


def export_card(entry: Entry, target: Path, version: Version | None) -> None:
    """Write a role as a card; one that was made of a card keeps all that the card had."""
    write_card(card_for(entry), target, version)
    print(sanitize(str(target)))


def card_for(entry: Entry) -> Card:
    """The card of a role: its original with the role's own changes put in, or a new one."""
    role = entry.loaded()
    if entry.path.suffix.lower() != ".toml":
        return read_card(entry.path)
    original = entry.path.parent / role.card if role.card else None
    if original is not None and original.is_file():
        return card_of(role, read_card(original))
    return card_of(role, None)


def print_trust(file: Path, *, as_json: bool) -> None:
    """Print the trust sheet of a card."""
    card = read_card(file)
    sheet, notices = trust_sheet(card), role_of(card).notices
    if as_json:
        row: dict[str, Any] = asdict(sheet)
        print(json.dumps({**row, "notices": [*sheet.notices, *notices]}, ensure_ascii=False))
        return
    for line in (*lines_of(sheet), *(f"  Note: {notice}" for notice in notices)):
        print(sanitize(line))
