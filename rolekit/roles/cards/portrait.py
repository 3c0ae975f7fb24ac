"""The picture of a role: the one that carries its card, or the icon inside."""

from __future__ import annotations

from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.roles.cards.card import CARD_SUFFIXES, Asset, Card
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.writing import asset_path
from rolekit.roles.role import Role


def portrait_of(role: Role) -> bytes | None:
    """The bytes of the role's picture, whatever its format; None where its card has none, or cannot be read."""
    path = Path(role.card) if role.card else None
    if path is None or path.suffix.lower() not in CARD_SUFFIXES:
        return None
    try:
        found = picture_in(read_card(path))
        return found.read() if found is not None else None
    except RolekitError:
        return None


def picture_in(card: Card) -> Asset | None:
    """The main icon among the card's embedded files (V3 `assets`), else the picture the card stands in."""
    rows = card.data.get("assets")
    icons = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and row.get("type") == "icon"
    ]
    for row in sorted(icons, key=lambda row: row.get("name") != "main"):
        asset = card.assets.get(asset_path(row.get("uri")) or "")
        if asset is not None:
            return asset
    return card.image
