"""A character card as its file has it: every key, every embedded file, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rolekit.errors import RolekitError
from rolekit.text import one_line, size

Dialect = Literal["v1", "v2", "v3", "pygmalion", "yaml"]
Container = Literal["json", "yaml", "png", "charx", "jpeg+charx"]

CARD_SUFFIXES = frozenset({".png", ".apng", ".json", ".charx", ".jpg", ".jpeg", ".webp", ".yaml", ".yml"})
"""What a card's file may end in; what it holds decides."""
MAX_CARD_BYTES = 16 << 20
"""The longest JSON text of a card, also after inflating."""
MAX_ASSET_BYTES = 64 << 20
"""The largest embedded file that is read."""
MAX_ASSETS = 5000


@dataclass(frozen=True, slots=True)
class Asset:
    """An embedded file (a portrait, an expression, a sound); its bytes are fetched only when asked for."""

    path: str
    """What the card's URIs call it, without their scheme."""
    size: int
    fetch: Callable[[], bytes] = field(repr=False, compare=False)

    def read(self) -> bytes:
        """The bytes. Raises RolekitError when they are damaged or the file has gone."""
        if self.size > MAX_ASSET_BYTES:
            raise RolekitError(
                f"The embedded file {one_line(self.path)} has {size(self.size)}.",
                f"Only files up to {size(MAX_ASSET_BYTES)} are read; make it smaller.",
            )
        return self.fetch()


@dataclass(frozen=True, slots=True)
class Card:
    """What a card file holds. `payload` is its JSON object as it stands; nothing is renamed, added or dropped."""

    payload: Mapping[str, Any]
    dialect: Dialect
    container: Container
    origin: Path
    """The file it was read from; its picture and assets are still there."""
    assets: Mapping[str, Asset] = field(default_factory=dict)
    extra_files: Mapping[str, Asset] = field(default_factory=dict)
    """Files of a CharX archive that no rule names (another program's own); kept on export."""
    image: Asset | None = None
    """The picture that carries the card: PNG or JPEG bytes, without the card in them."""
    notices: tuple[str, ...] = ()
    """What had to be guessed, repaired or left alone while reading, one sentence each."""

    @property
    def data(self) -> Mapping[str, Any]:
        """The card's fields: `data` of V2 and V3, the object itself of the older dialects."""
        inner = self.payload.get("data")
        return inner if self.dialect in ("v2", "v3") and isinstance(inner, dict) else self.payload
