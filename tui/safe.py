"""From a stranger's text to something the screen may draw: cleaned once, and never read as markup."""

from __future__ import annotations

from rich.cells import set_cell_size
from textual.content import Content

from rolekit.errors import RolekitError
from rolekit.text import one_line, sanitize


def plain(text: str) -> str:
    """The text as it may be drawn, several lines allowed; tabs become blanks, for Textual measures them wrongly."""
    return sanitize(text).expandtabs(4)


def content(text: str, style: str = "") -> Content:
    """What plain() gives, ready to be drawn in a style."""
    return Content.styled(plain(text), style) if style else Content(plain(text))


def line(text: str, style: str = "", limit: int = 80) -> Content:
    """The text on one line, cut after limit characters."""
    flat = one_line(text, limit)
    return Content.styled(flat, style) if style else Content(flat)


def cells(text: str, width: int) -> str:
    """One line of exactly width terminal cells: cut with an ellipsis or filled with blanks, CJK and emoji counted."""
    from rich.cells import cell_len

    flat = one_line(text, max(1, width))
    if cell_len(flat) > width:
        return set_cell_size(flat, max(0, width - 1)) + "…"
    return set_cell_size(flat, width)


def sentence(error: RolekitError) -> str:
    """What an error says, on one line."""
    return one_line(str(error), 400)
