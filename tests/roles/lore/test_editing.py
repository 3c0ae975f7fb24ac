"""Changing a lorebook where it stands: what a person did not touch is the same afterwards, byte for byte in meaning."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from rolekit.errors import RolekitError
from rolekit.roles.cards.card import Card
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.writing import write_card
from rolekit.roles.lore.editing import (
    OpenBook,
    open_books,
    raw_content,
    reworded,
    row_of,
    row_text,
    rows_in,
    save_row,
    switched,
)  # fmt: skip
from rolekit.roles.role import Role

MORE = {"x-own": {"deep": [1, 2.5, None, "Ä"]}, "order": 7}
BOOKS: dict[str, dict[str, Any]] = {
    "sillytavern": {
        "entries": {
            "0": {"uid": 0, "key": ["fog"], "keysecondary": ["night"], "content": "Fog.", "disable": False, **MORE},
            "4": {"uid": 4, "key": ["rooms"], "content": "@@depth 2\nRooms.", "disable": True, **MORE},
        },
        "originalData": {"kept": True},
    },
    "v3": {"spec": "lorebook_v3", "data": {"name": "L", "entries": [
        {"keys": ["fog"], "content": "Fog.", "enabled": True, "extensions": MORE},
        {"keys": ["rooms"], "content": "@@depth 2\nRooms.", "enabled": False, **MORE},
    ]}},
    "agnai": {"kind": "memory", "name": "L", "entries": [
        {"keywords": ["fog"], "entry": "Fog.", "enabled": True, **MORE},
        {"keywords": ["rooms"], "entry": "Rooms.", "enabled": False, "weight": 3},
    ]},
    "novelai": {"lorebookVersion": 5, "entries": [
        {"keys": ["fog"], "text": "Fog.", "enabled": True, "contextConfig": MORE},
        {"keys": ["rooms"], "text": "Rooms.", "enabled": False},
    ], "settings": {"orderByKeyLocations": False}},
}  # fmt: skip
RISU = {"type": "risu", "ver": 1, "data": [{"key": "fog, mist", "content": "Fog.", "mode": "normal", **MORE}]}


def opened(path: Path) -> OpenBook:
    books, notices = open_books(Role(name="X", description="You are X.", lorebooks=(str(path),)))
    assert not notices
    return books[0]


@pytest.fixture
def write(tmp_path: Path):
    def put(payload: object, name: str = "book.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(payload), encoding="utf-8")
        return path

    return put


@pytest.mark.parametrize("dialect", BOOKS)
def test_a_switch_changes_its_own_key_alone(write, dialect: str) -> None:
    path = write(BOOKS[dialect])
    book = opened(path)
    assert [entry.enabled for entry in book.book.entries] == [True, False]
    for index in (0, 1):
        book = save_row(book, index, switched(book, index))
    assert [entry.enabled for entry in book.book.entries] == [False, True]
    wanted = copy.deepcopy(BOOKS[dialect])
    for row in rows_in(wanted)[1]:
        row[book.fields.switch] = not row[book.fields.switch]
    assert json.loads(path.read_text("utf-8")) == wanted
    assert json.loads(path.with_name("book.original.json").read_text("utf-8")) == BOOKS[dialect]


@pytest.mark.parametrize("dialect", BOOKS)
def test_new_words_change_keys_and_text_alone(write, dialect: str) -> None:
    path = write(BOOKS[dialect])
    book = opened(path)
    row = reworded(
        book, 0, keys=["fog", "/mist,?/i"], secondary=book.book.entries[0].secondary_keys, content="Mist."
    )
    book = save_row(book, 0, row)
    assert book.book.entries[0].keys == ("fog", "/mist,?/i")
    assert book.book.entries[0].content == "Mist."
    wanted = copy.deepcopy(BOOKS[dialect])
    rows_in(wanted)[1][0].update({book.fields.keys: ["fog", "/mist,?/i"], book.fields.content: "Mist."})
    assert json.loads(path.read_text("utf-8")) == wanted


def test_risu_keys_stay_one_text_and_have_no_switch(write) -> None:
    path = write(RISU)
    book = opened(path)
    with pytest.raises(RolekitError, match="no switch"):
        switched(book, 0)
    unchanged = reworded(book, 0, keys=["fog", "mist"], secondary=(), content="Fog.")
    assert unchanged == RISU["data"][0]  # type: ignore[index]
    book = save_row(book, 0, reworded(book, 0, keys=["smog"], secondary=(), content="Fog."))
    assert json.loads(path.read_text("utf-8"))["data"][0]["key"] == "smog"


@pytest.mark.parametrize("ending", ["png", "json", "charx"])
def test_a_book_in_a_card_keeps_the_card(tmp_path: Path, ending: str) -> None:
    data = {
        "name": "Holmes", "description": "You are Holmes.", "x": MORE, "character_book": {
            "name": "London", "x": 1, "entries": [{"id": 9, "keys": ["fog"], "content": "Fog.", "enabled": True, **MORE}],
        },
    }  # fmt: skip
    payload = {"spec": "chara_card_v3", "spec_version": "3.0", "data": data, "root": "kept"}
    path = tmp_path / f"holmes.{ending}"
    write_card(Card(payload, "v3", "json", path), path)
    before = read_card(path).payload
    books, _ = open_books(Role(name="Holmes", description="You are Holmes.", card=str(path)))
    save_row(books[0], 0, switched(books[0], 0))
    wanted = copy.deepcopy(dict(before))
    wanted["data"]["character_book"]["entries"][0]["enabled"] = False
    assert read_card(path).payload == wanted
    assert read_card(path.with_name(f"holmes.original.{ending}")).payload == before


def test_decorators_are_edited_and_the_whole_entry_as_json(write) -> None:
    path = write(BOOKS["sillytavern"])
    book = opened(path)
    assert book.book.entries[1].content == "Rooms."
    assert raw_content(book, 1) == "@@depth 2\nRooms."
    row = row_of(row_text(book, 1))
    assert row == BOOKS["sillytavern"]["entries"]["4"]
    for text in ("{", "[1]", "[" * 100_000):
        with pytest.raises(RolekitError, match="Nothing was changed"):
            row_of(text)


def test_a_file_that_changed_meanwhile_is_left_alone(write) -> None:
    path = write(BOOKS["agnai"])
    book = opened(path)
    other = copy.deepcopy(BOOKS["agnai"])
    other["entries"][0]["entry"] = "Somebody else's."
    write(other)
    with pytest.raises(RolekitError, match="changed meanwhile"):
        save_row(book, 0, switched(book, 0))
    assert json.loads(path.read_text("utf-8")) == other


def test_a_book_that_cannot_be_read_is_a_notice(write) -> None:
    path = write({"hello": 1})
    books, notices = open_books(
        Role(name="X", description="You are X.", lorebooks=(str(path), "/nowhere.json"))
    )
    assert not books
    assert len(notices) == 2
