"""A role's picture: as pixels where the terminal is known to draw them, else as coloured half cells, else not at all."""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import sys
from collections.abc import Mapping
from typing import Any

from textual import work
from textual.color import Color
from textual.containers import Container
from textual.content import Content
from textual.style import Style
from textual.widget import Widget
from textual.widgets import Static

from rolekit.roles.cards.portrait import portrait_of
from rolekit.roles.role import Role

MAX_BYTES = 32 << 20
MAX_PIXELS = 24_000_000
"""A larger picture is not decoded: 96 MiB as it is."""
COLUMNS, ROWS = 32, 16
"""Cells that a portrait takes at most."""
_FORMATS = ("PNG", "JPEG", "WEBP")
_PROGRAMS = ("kitty", "ghostty", "wezterm", "foot", "contour", "mlterm", "iterm")
"""Terminals that draw pixels. Others are not asked: an answer that comes late would be read as keys."""


def decoded(data: bytes) -> Any:
    """The picture (PIL.Image.Image, RGB, at most COLUMNS x 2 ROWS points times 16), or None where it is no sound picture.

    Only the header of a picture beyond the limits is read; frames after the first are not.
    """
    if len(data) > MAX_BYTES:
        return None
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS or min(picture.size) < 1:
                return None
            picture.draft("RGB", (COLUMNS * 16, ROWS * 32))
            small = picture.convert("RGBA")
            small.thumbnail((COLUMNS * 16, ROWS * 32))
            ground = Image.new("RGBA", small.size, (24, 24, 28, 255))
            return Image.alpha_composite(ground, small).convert("RGB")
    except (
        UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError,
        OverflowError, MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning,
    ):  # fmt: skip
        return None


def half_cells(picture: Any, columns: int = COLUMNS, rows: int = ROWS) -> Content:
    """The picture out of upper half blocks: two points a cell, above and below."""
    from PIL import Image

    scale = min(columns / picture.width, 2 * rows / picture.height)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    height += height % 2
    points = picture.resize((width, height), Image.Resampling.LANCZOS).load()
    lines = []
    for y in range(0, height, 2):
        cells = [
            Content.styled("▀", Style(foreground=Color(*points[x, y]), background=Color(*points[x, y + 1])))
            for x in range(width)
        ]
        lines.append(Content("").join(cells))
    return Content("\n").join(lines)


def draws_pixels(environment: Mapping[str, str]) -> bool:
    """Whether the terminal is one that is known to draw pictures."""
    if "TMUX" in environment or "STY" in environment:
        return False
    name = f"{environment.get('TERM', '')} {environment.get('TERM_PROGRAM', '')}".lower()
    return "KITTY_WINDOW_ID" in environment or any(program in name for program in _PROGRAMS)


def ask_terminal() -> None:
    """Find out how the terminal draws pictures. Has to happen before the app takes the keyboard."""
    if draws_pixels(os.environ):
        importlib.import_module("textual_image.widget")


class Portrait(Container):
    """The picture of a role, at most COLUMNS x ROWS cells; no place is taken where there is none to show."""

    def show(self, role: Role | None) -> None:
        """Show the picture of another role's card."""
        self._load(role)

    @work(exclusive=True, group="portrait")
    async def _load(self, role: Role | None) -> None:
        data = await asyncio.to_thread(portrait_of, role) if role is not None and role.card else None
        picture = await asyncio.to_thread(decoded, data) if data is not None and self._has_colours else None
        await self.remove_children()
        self.display = picture is not None
        if picture is not None:
            await self.mount(_pixels(picture) or Static(half_cells(picture), markup=False))

    @property
    def _has_colours(self) -> bool:
        """With sixteen colours or none a picture is only noise."""
        return not self.app.no_color and self.app.console.color_system in ("truecolor", "256", "windows")


def _pixels(picture: Any) -> Widget | None:
    """The picture as a widget that draws pixels; None where the terminal does not, or did not answer."""
    asked = sys.modules.get("textual_image.widget")
    if asked is None or (asked.Image is not asked.SixelImage and not _is_kitty(asked.Image)):
        return None
    widget: Widget = asked.Image(picture)
    scale = min(COLUMNS / picture.width, 2 * ROWS / picture.height)
    widget.styles.width = max(1, round(picture.width * scale))
    widget.styles.height = max(1, round(picture.height * scale / 2))
    return widget


def _is_kitty(kind: Any) -> bool:
    """Whether that is textual-image's own choice, and kitty's protocol is what it chose."""
    protocol = importlib.import_module("textual_image.renderable.tgp").Image
    return bool(kind._Renderable is protocol)
