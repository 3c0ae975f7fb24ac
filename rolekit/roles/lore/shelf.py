"""The lorebooks a role brings along: the one in its card, and the files it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.roles.lore.book import Book, Conditions, LoreEntry, Timing
from rolekit.roles.lore.firing import Line, LoreOptions, Moment, Told, fire
from rolekit.roles.lore.reading import book_of, read_book
from rolekit.roles.role import Role


@dataclass(frozen=True, slots=True)
class Shelf:
    """Books, nearest first, and what could not be read of them."""

    books: tuple[Book, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def changing(self) -> tuple[Book, ...]:
        """The books without what is always told."""
        return tuple(_only(book, constant=False) for book in self.books)

    @property
    def constant(self) -> tuple[Book, ...]:
        """What is always told, whatever is said: it belongs to the role block."""
        return tuple(_only(book, constant=True) for book in self.books)

    def always(
        self, options: LoreOptions, count_tokens: Callable[[str], int], expand: Callable[[str], str]
    ) -> tuple[Told, ...]:
        """The entries of the role block, in their order, within the budget."""
        return fire(self.constant, Moment([Line("", "")]), options, count_tokens, expand).told


def shelf_of(role: Role) -> Shelf:
    """The role's own books. A file that cannot be read is told in a notice; it never keeps anybody from talking."""
    books: list[Book] = []
    notices: list[str] = []
    for path in map(Path, (role.card, *role.lorebooks)):
        if str(path) == ".":
            continue
        try:
            book = _card_book(path, role.name) if str(path) == role.card else read_book(path)
        except RolekitError as error:
            notices.append(error.what_happened)
            continue
        if book is not None:
            books.append(book)
            notices += book.notices
    return Shelf(tuple(_distinct(books)), tuple(notices))


def _card_book(path: Path, name: str) -> Book | None:
    from rolekit.roles.cards.reading import read_card
    from rolekit.roles.cards.sheet import sheet_of

    raw = sheet_of(read_card(path)).book
    return book_of(raw, name) if raw else None


def _distinct(books: Sequence[Book]) -> list[Book]:
    """Books with names of their own: an entry is known by `book/uid`."""
    seen: dict[str, int] = {}
    named = []
    for book in books:
        number = seen[book.name] = seen.get(book.name, 0) + 1
        named.append(
            book
            if number == 1
            else Book(
                f"{book.name} ({number})", book.entries, book.scan_depth, book.token_budget, book.recursive
            )
        )
    return named


def _only(book: Book, *, constant: bool) -> Book:
    entries = tuple(entry for entry in book.entries if _is_constant(entry) is constant)
    return Book(book.name, entries, book.scan_depth, book.token_budget, book.recursive)


def _is_constant(entry: LoreEntry) -> bool:
    """Whether nothing that happens in a chat could change that the entry is told, and where."""
    plain = entry.conditions == Conditions() and entry.timing == Timing()
    alone = not entry.grouping.names and entry.probability >= 100 and not entry.recursion.delay_level
    return entry.enabled and entry.constant and plain and alone and entry.place in ("before", "after")
