"""Character cards for `rolekit roles`: import with a trust sheet, export, and the sheet alone."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rolekit.commands.roles import refuse_to_replace
from rolekit.paths import roles_dir
from rolekit.roles.cards.card import Card
from rolekit.roles.cards.from_role import card_of
from rolekit.roles.cards.importing import look_at, take_in
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.to_role import role_of
from rolekit.roles.cards.trust import lines_of, trust_sheet
from rolekit.roles.cards.writing import Version, write_card
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.text import sanitize


def import_card(file: Path, *, force: bool, as_json: bool) -> None:
    """Make a role of a card, keep the card beside it, and say what it would put into prompts."""
    prospect = look_at(file)
    if not force:
        refuse_to_replace(
            roles_dir() / f"{prospect.slug}.toml", "Rename the one you have, or replace it with --force."
        )
    for line in prospect.lines:
        print(sanitize(line), file=sys.stderr)
    path, kept = take_in(prospect, RoleLibrary(), overwrite=force)
    row = {"role": prospect.role.name, "slug": prospect.slug, "path": str(path), "card": str(kept)}
    whole = {**row, "trust": asdict(prospect.sheet)}
    print(json.dumps(whole, ensure_ascii=False) if as_json else sanitize(str(path)))


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
