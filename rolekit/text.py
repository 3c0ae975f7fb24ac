"""Text at the boundary: what may reach a terminal, and how numbers and sizes are written."""

from __future__ import annotations


def _replacements() -> dict[int, str | None]:
    table: dict[int, str | None] = {code: chr(0x2400 + code) for code in range(0x20)}
    table |= {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): None, 0x7F: "\u2421"}
    table |= dict.fromkeys(range(0x80, 0xA0), "\ufffd")
    table |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x061C])
    table |= dict.fromkeys([0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)])
    table |= {0x2028: "\n", 0x2029: "\n", 0x85: "\n"}
    table |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    return table


_REPLACEMENTS = _replacements()


def sanitize(text: str) -> str:
    """Text that is safe to print: no C0, C1, bidi override or tag character is left, escapes become visible.

    Works character by character, so a stream may be cleaned piece by piece. Newline and tab stay. What is
    stored on disk stays raw; this is for terminals and for prompts built from strangers' files.
    """
    return text.translate(_REPLACEMENTS)


def one_line(text: str, limit: int = 80) -> str:
    """Sanitized text on one line, cut with an ellipsis after limit characters."""
    flat = " ".join(sanitize(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def count(number: int) -> str:
    """A whole number with thin gaps between thousands: 6 212."""
    return f"{number:,}".replace(",", "\u202f")


def size(bytes_: int) -> str:
    """A size in binary units, two or three digits: 98 MiB."""
    value = float(bytes_)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
