"""The role library on the screen."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.paths import roles_dir
from rolekit.tui.ask import AskScreen
from rolekit.tui.chat_screen import ChatScreen
from rolekit.tui.editing import editor_command
from rolekit.tui.roles_screen import RolesScreen


def highlighted(app: object) -> str:
    assert isinstance(app.screen, RolesScreen)  # type: ignore[attr-defined]
    chosen = app.screen.chosen  # type: ignore[attr-defined]
    return chosen.slug if chosen else ""


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An $EDITOR that notes which file it was given."""
    log = tmp_path / "edited"
    script = tmp_path / "editor.sh"
    script.write_text(f'#!/bin/sh\necho "$1" >> {log}\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("VISUAL", str(script))
    return log


async def test_typing_searches_and_enter_talks(make_app, drive) -> None:
    async with drive(make_app(role=None)) as hand:
        assert "Sherlock Holmes" in hand.screen
        await hand.press(*"sherl")
        await hand.settle()
        assert highlighted(hand.app) == "sherlock-holmes"
        assert "detective" in hand.screen
        await hand.press("enter")
        await hand.settle()
        assert isinstance(hand.app.screen, ChatScreen)
        assert hand.texts[0].startswith("Come in")


async def test_the_page_shows_greeting_description_and_dialogue(make_app, drive) -> None:
    async with drive(make_app(role=None)) as hand:
        await hand.press(*"mathem", *"atics ada")
        await hand.settle()
        assert highlighted(hand.app) == "ada"
        for words in (
            "Good evening. Mind the",
            "You are Ada Lovelace",
            "What is it?",
            "An engine, dear.",
            "yours",
        ):
            assert words in hand.screen


async def test_nobody_found_says_what_to_do(make_app, drive) -> None:
    async with drive(make_app(role=None)) as hand:
        await hand.press(*"xyzzy")
        await hand.settle()
        assert "Nobody of that name." in hand.screen
        await hand.press("enter")
        assert isinstance(hand.app.screen, RolesScreen)


async def test_enter_goes_on_with_the_last_chat_and_c_begins_another(make_app, drive, store) -> None:
    async with drive(make_app()) as hand:
        await hand.say("Hi")
        await hand.press("f2")
        await hand.press(*"ada")
        await hand.settle()
        await hand.press("down", "enter")
        await hand.settle()
        assert hand.texts[1:] == ["Hi", "Indeed."]
        await hand.press("f2", "c")
        await hand.settle()
        assert len(hand.texts) == 1
        assert len(store.conversations()) == 2


async def test_a_faulty_file_is_shown_with_its_faults(make_app, drive) -> None:
    app = make_app(role=None)
    (roles_dir() / "broken.toml").write_text('name = "Broken"\ndescriptoin = "x"\n', encoding="utf-8")
    async with drive(app) as hand:
        await hand.press(*"broken")
        await hand.settle()
        assert "has faults" in hand.screen
        assert "descriptoin" in hand.screen
        await hand.press("enter")
        await hand.settle()
        assert isinstance(hand.app.screen, RolesScreen)


async def test_new_asks_for_a_name_and_writes_a_file(make_app, drive, editor: Path) -> None:
    async with drive(make_app(role=None)) as hand:
        await hand.press("ctrl+n")
        await hand.pilot.pause()
        assert isinstance(hand.app.screen, AskScreen)
        await hand.press(*"Puck", "enter")
        await hand.settle()
        await hand.pilot.pause()
        assert highlighted(hand.app) == "puck"
        assert (roles_dir() / "puck.toml").exists()


async def test_editing_a_bundled_role_copies_it_first(make_app, drive, editor: Path) -> None:
    async with drive(make_app(role=None)) as hand:
        await hand.press(*"sherlock", "down", "e")
        await hand.settle()
        copy = roles_dir() / "sherlock-holmes.toml"
        assert "# Sherlock Holmes" in copy.read_text(encoding="utf-8")
        assert highlighted(hand.app) == "sherlock-holmes"
        assert "yours · en" in hand.screen
        assert not os.access(editor, os.F_OK), "without a terminal there is nothing to lend to an editor"
        assert "cannot be lent" in hand.screen


async def test_ctrl_e_edits_while_searching(make_app, drive, editor: Path) -> None:
    async with drive(make_app(role=None)) as hand:
        await hand.press(*"sherlock", "ctrl+e")
        await hand.settle()
        assert (roles_dir() / "sherlock-holmes.toml").exists()


def test_an_editor_with_half_a_quote_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "vi '")
    with pytest.raises(RolekitError, match="cannot be understood"):
        editor_command()


async def test_help_belongs_to_what_has_the_focus(make_app, drive) -> None:
    async with drive(make_app(role=None)) as hand:
        await hand.press("f1")
        await hand.settle()
        assert "The role library" in hand.screen
        await hand.press("escape", "f3", "f1")
        await hand.settle()
        assert "Writing" in hand.screen
        await hand.press("escape", "ctrl+b", "f1")
        await hand.settle()
        assert "Conversations" in hand.screen


async def test_a_model_that_fails_is_told_here_too(make_app, drive) -> None:
    from rolekit.errors import RolekitError

    def open_backend() -> object:
        raise RolekitError("The model file has moved.", "Put it back.")

    async with drive(make_app(role=None, open_backend=open_backend)) as hand:
        assert "The model file" in hand.screen
