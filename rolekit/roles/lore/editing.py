"""Changing lorebooks where they stand: an entry's keys, text and switch; every other key of the file stays as it is."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.paths import replacing
from rolekit.roles.cards.card import CARD_SUFFIXES, Card
from rolekit.roles.cards.json_text import card_json, parse_card_json
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.writing import write_card
from rolekit.roles.lore.book import Book, LoreEntry
from rolekit.roles.lore.reading import book_of, read_book
from rolekit.roles.role import Role
from rolekit.text import one_line

_UNWRITABLE = (".yaml", ".yml", ".webp")


@dataclass(frozen=True, slots=True)
class Fields:
    """What a program calls the parts of an entry that a person changes."""

    keys: str
    secondary: str
    content: str
    switch: str
    """Empty: its entries cannot be switched off."""
    off: bool = False
    """The value of the switch that means off."""
    joined: bool = False
    """Keys are one text between commas."""
    name: str = "name"


_CARD = Fields("keys", "secondary_keys", "content", "enabled")
_SILLYTAVERN = Fields("key", "keysecondary", "content", "disable", off=True, name="comment")
_AGNAI = Fields("keywords", "secondaryKeys", "entry", "enabled")
_RISU = Fields("key", "secondkey", "content", "", joined=True, name="comment")
_NOVELAI = Fields("keys", "", "text", "enabled", name="displayName")


@dataclass(frozen=True, slots=True)
class OpenBook:
    """A lorebook and the file that it stands in."""

    path: Path
    book: Book
    fields: Fields
    rows: Sequence[Mapping[str, Any]]
    """The entries as the file has them, in the order of book.entries."""
    locked: str = ""
    """Why it cannot be changed here; empty: it can."""


def open_books(role: Role) -> tuple[list[OpenBook], list[str]]:
    """The books of a role, and a sentence for each file that cannot be read."""
    books, notices = [], []
    for path in [Path(name) for name in (role.card, *role.lorebooks) if name]:
        try:
            book = _open(path)
        except RolekitError as error:
            notices.append(error.what_happened)
            continue
        if book is not None:
            books.append(book)
    return books, notices


def _open(path: Path) -> OpenBook | None:
    if path.suffix.lower() in CARD_SUFFIXES and (card := _card(path)) is not None:
        raw = card.data.get("character_book")
        if not isinstance(raw, dict) or not raw:
            return None
        locked = "its card is no .png, .json or .charx" if path.suffix.lower() in _UNWRITABLE else ""
        return _opened(path, book_of(raw, path.stem), raw, locked)
    book = read_book(path)
    return _opened(path, book, _payload(path), "")


def _card(path: Path) -> Card | None:
    """The card in a file; None where it is a lorebook of its own."""
    if path.suffix.lower() != ".json":
        return read_card(path)
    try:
        return read_card(path)
    except RolekitError:
        read_book(path)  # raises what is wrong with it as a book
        return None


def _opened(path: Path, book: Book, payload: Mapping[str, Any], locked: str) -> OpenBook:
    fields, rows = rows_in(payload)
    if len(rows) != len(book.entries):
        locked = locked or "it has entries that could not be read one by one"
        rows = rows[: len(book.entries)]
    return OpenBook(path, book, fields, rows, locked)


def rows_in(payload: Mapping[str, Any]) -> tuple[Fields, list[dict[str, Any]]]:
    """The entries of a lorebook's JSON object as they stand in it, and what their parts are called."""
    inner = payload.get("data")
    if isinstance(inner, dict) and str(payload.get("spec", "")).startswith("lorebook"):
        return _CARD, _dicts(inner.get("entries"))
    if payload.get("type") == "risu" and isinstance(inner, list):
        return _RISU, _dicts(inner)
    rows = _dicts(payload.get("entries"))
    if "lorebookVersion" in payload:
        return _NOVELAI, rows
    if payload.get("kind") == "memory":
        return _AGNAI, rows
    return _SILLYTAVERN if any("key" in row for row in rows) else _CARD, rows


def _dicts(entries: object) -> list[dict[str, Any]]:
    rows = list(entries.values()) if isinstance(entries, dict) else entries
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def switched(book: OpenBook, index: int) -> dict[str, Any]:
    """The entry's row, switched on where it was off and off where it was on. Raises RolekitError where it has no switch."""
    fields = book.fields
    if not fields.switch:
        raise RolekitError("Entries of a RisuAI lorebook have no switch.", "Remove its keys instead.")
    on = book.book.entries[index].enabled
    return {**book.rows[index], fields.switch: fields.off if on else not fields.off}


def reworded(
    book: OpenBook, index: int, *, keys: Sequence[str], secondary: Sequence[str], content: str
) -> dict[str, Any]:
    """The entry's row with other keys and another text; a list stays a list, and what did not change stays as it was."""
    fields, entry, row = book.fields, book.book.entries[index], dict(book.rows[index])
    if tuple(keys) != entry.keys:
        row[fields.keys] = ",".join(keys) if fields.joined else list(keys)
    if tuple(secondary) != entry.secondary_keys and fields.secondary:
        row[fields.secondary] = ",".join(secondary) if fields.joined else list(secondary)
    if content != raw_content(book, index):
        row[fields.content] = content
    return row


def raw_content(book: OpenBook, index: int) -> str:
    """The entry's text as the file has it, decorators included."""
    text = book.rows[index].get(book.fields.content)
    return text if isinstance(text, str) else book.book.entries[index].content


def row_text(book: OpenBook, index: int) -> str:
    """The whole entry as JSON, for an editor."""
    return json.dumps(book.rows[index], ensure_ascii=False, indent=2) + "\n"


def row_of(text: str) -> dict[str, Any]:
    """The entry that a person wrote as JSON. Raises RolekitError where it is none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RolekitError(
            f"The entry is not valid JSON ({one_line(str(error), 100)}).", "Nothing was changed; try again."
        ) from error
    if not isinstance(row, dict):
        raise RolekitError("The entry is not a JSON object.", "Nothing was changed; try again.")
    return row


def save_row(book: OpenBook, index: int, row: Mapping[str, Any]) -> OpenBook:
    """Write the file with one entry replaced, and read it again.

    Before the first change a copy is kept beside it (NAME.original.ENDING). Raises RolekitError when the file has
    changed since it was read, or cannot be written.
    """
    if book.locked:
        raise RolekitError(
            f"{one_line(book.path.name)} cannot be changed here: {book.locked}.", "Export it first."
        )
    card = _card(book.path) if book.path.suffix.lower() in CARD_SUFFIXES else None
    payload = copy.deepcopy(dict(card.payload)) if card is not None else _payload(book.path)
    found = rows_in(_book_in(card, payload))[1]
    if found != list(book.rows):
        raise RolekitError(f"{one_line(book.path.name)} has changed meanwhile.", "Open the lorebook again.")
    found[index].clear()
    found[index].update(row)
    _keep_original(book.path)
    if card is not None:
        write_card(replace(card, payload=payload), book.path)
    else:
        with replacing(book.path) as file:
            file.write(card_json(payload))
    changed = _open(book.path)
    assert changed is not None
    return changed


def _book_in(card: Card | None, payload: dict[str, Any]) -> dict[str, Any]:
    """The lorebook's object within a file's."""
    if card is None:
        return payload
    book = replace(card, payload=payload).data["character_book"]
    assert isinstance(book, dict)
    return book


def _payload(path: Path) -> dict[str, Any]:
    return parse_card_json(path.read_bytes())[0]


def _keep_original(path: Path) -> None:
    kept = path.with_name(f"{path.stem}.original{path.suffix}")
    if kept.exists():
        return
    try:
        shutil.copyfile(path, kept)
    except OSError as error:
        raise RolekitError(
            f"{one_line(path.name)} could not be copied before the change ({error.strerror}).",
            "Nothing was changed; check its folder.",
        ) from error


def entry_line(entry: LoreEntry) -> str:
    """What fires the entry, in a few words."""
    if entry.constant:
        return "always"
    return ", ".join(one_line(key, 40) for key in entry.keys) or "no key"
