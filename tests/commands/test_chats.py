"""Chats brought in from files: SillyTavern's and our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rolekit.chat.casting import find_players
from rolekit.chat.export import write_export
from rolekit.chat.nodes import Draft, insert, set_head
from rolekit.chat.store import Store
from rolekit.commands.chats import import_chat
from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary


def exported(path: Path, slug: str = "sherlock-holmes") -> None:
    """A chat of two messages in path."""
    with Store(path.with_name("other.db")) as store:
        info = store.create(role_slug=slug, role_name="Sherlock Holmes", user="Ann", title="Rain")
        with store.database.writing() as connection:
            first = insert(connection, info.id, None, Draft("user", "Is it raining?"))
            head = insert(connection, info.id, first, Draft("assistant", "Elementary."))
            set_head(connection, info.id, head)
        write_export(store, info.id, path)


def test_our_own_json_comes_back_with_its_role(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(tmp_path / "chat.json")
    with Store() as store:
        (player,), conversation = import_chat(store, RoleLibrary(), (), tmp_path / "chat.json")
        assert player.slug == "sherlock-holmes"
        assert [node.text for node in store.path(conversation)] == ["Is it raining?", "Elementary."]
    assert "read 2 messages from chat.json" in capsys.readouterr().err


def test_a_json_of_another_role_brings_nothing(tmp_path: Path) -> None:
    library = RoleLibrary()
    exported(tmp_path / "chat.json")
    exported(tmp_path / "nobody.json", "zzzz-nobody-of-that-name")
    with Store() as store:
        with pytest.raises(RolekitError, match="is a chat with Sherlock Holmes"):
            import_chat(store, library, find_players(library, ["alice"]), tmp_path / "chat.json")
        with pytest.raises(RolekitError, match="No role is called"):
            import_chat(store, library, (), tmp_path / "nobody.json")
        assert store.conversations() == []


def test_sillytavern_s_lines_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"character_name": "Sherlock Holmes"}, {"name": "You", "is_user": True, "mes": "Rain?"}, "odd"]
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with Store() as store:
        (player,), conversation = import_chat(store, RoleLibrary(), (), path)
        assert (player.slug, len(store.path(conversation))) == ("sherlock-holmes", 1)
    assert "read 1 messages in 1 versions from chat.jsonl, 1 lines set apart" in capsys.readouterr().err
