"""How `rolekit roles` puts roles on a terminal: a table, and a page to read."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rolekit.roles.block import opening_messages
from rolekit.roles.library import Entry
from rolekit.roles.role import Role
from rolekit.text import one_line, sanitize

_PAGE_COLUMNS = 80
_PIPE_COLUMNS = 160
_EXAMPLES = 3


def print_table(entries: Sequence[Entry]) -> None:
    """Every entry on a line: slug, name, language, tags, and whose it is."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("Role", "Name", "Language", "Tags", "Source"):
        table.add_column(title, no_wrap=title not in ("Name", "Tags"), overflow="fold")
    for entry in entries:
        role = entry.role
        tags = ", ".join(role.tags) if role else "faulty, see `rolekit roles check`"
        cells = (
            one_line(entry.slug, 60),
            entry.title if role else "",
            role.language if role else "",
            one_line(tags, 200),
            "bundled" if entry.bundled else "yours",
        )
        table.add_row(*(Text(cell) for cell in cells))
    _console(_PIPE_COLUMNS).print(table)


def print_page(role: Role, slug: str) -> None:
    """A role to read: who it is, what it says first, how it talks, what it knows, where it comes from."""
    console = _console(_PAGE_COLUMNS)
    console.print(Rule(Text(one_line(role.name), style="bold"), align="left"))
    opening = opening_messages(role, "You")
    _paragraph(console, role.description.replace("{{char}}", role.name))
    if opening[-1].block == "greeting":
        _spoken(console, role.name, opening[-1].text)
    turns = [message.text for message in opening if message.block == "example"]
    for asked, answered in list(zip(turns[::2], turns[1::2], strict=True))[:_EXAMPLES]:
        _spoken(console, "You", asked)
        _spoken(console, role.name, answered)
    _bullets(console, "Turns of phrase", role.catchphrases)
    _bullets(console, "Facts", role.facts)
    _bullets(console, "To begin with", role.openers)
    _bullets(console, "Sources", role.sources)
    if role.origin:
        _paragraph(console, role.origin, style="dim")
    tags = ", ".join((role.language, *role.tags))
    console.print(Text(one_line(f"{slug} · {tags} · {len(role.examples)} examples", 300), style="dim"))


def _console(piped_columns: int) -> Console:
    """Standard output; a pipe gets lines of its own width, never a guess at a terminal's."""
    width = None if sys.stdout.isatty() else piped_columns
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    if piped_columns == _PAGE_COLUMNS:
        console.width = min(console.width, _PAGE_COLUMNS)
    return console


def _paragraph(console: Console, text: str, style: str = "") -> None:
    console.print(Text(sanitize(text).strip(), style=style))
    console.print()


def _spoken(console: Console, name: str, text: str) -> None:
    console.print(Text(one_line(name), style="bold"))
    console.print(Padding(Text(text), (0, 0, 1, 2)))


def _bullets(console: Console, title: str, items: Sequence[str]) -> None:
    if not items:
        return
    console.print(Text(title, style="bold"))
    for item in items:
        grid = Table.grid(padding=(0, 1))
        grid.add_row("  •", Text(" ".join(sanitize(item).split())))
        console.print(grid)
    console.print()
