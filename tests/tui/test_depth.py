"""What cards bring into the app: import with its trust sheet, lorebooks, personas, and what is remembered."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from textual.widgets import TextArea

from rolekit.chat.moderation import load_moderation
from rolekit.chat.options import ChatOptions
from rolekit.chat.personas import load_personas
from rolekit.chat.state import Persona
from rolekit.paths import roles_dir
from rolekit.roles.cards.card import Asset, Card
from rolekit.roles.cards.reading import read_card
from rolekit.roles.cards.writing import write_card
from rolekit.tui.lines_screen import LinesScreen
from rolekit.tui.lore_screen import LoreScreen
from rolekit.tui.memory_panel import MemoryPanel
from rolekit.tui.persona_screen import PersonaScreen
from rolekit.tui.portrait import (
    COLUMNS,
    MAX_PIXELS,
    ROWS,
    Portrait,
    _pixels,
    decoded,
    draws_pixels,
    half_cells,
)
from rolekit.tui.roles_screen import RolesScreen
from rolekit.tui.trust_screen import TrustScreen

ENTRIES = [
    {
        "id": 1,
        "keys": ["fog"],
        "content": "Fog lies on the river.",
        "comment": "The fog",
        "enabled": True,
        "x": 1,
    },
    {"id": 2, "keys": ["rooms"], "content": "@@depth 0\nThe rooms are in Baker Street.", "enabled": False},
]


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 40)).save(target, kind)
    return target.getvalue()


def card_payload(text: str = "") -> dict[str, Any]:
    return {
        "spec": "chara_card_v2",
        "spec_version": "2.0",
        "data": {
            "name": f"Irene Adler{text}",
            "description": f"You are {{{{char}}}}.{text}",
            "first_mes": "Good evening.",
            "system_prompt": f"Sing.{text}",
            "creator_notes": "see https://example.com/x",
            "character_book": {
                "name": f"London{text}",
                "entries": [{**e, "content": e["content"] + text} for e in ENTRIES],
            },
        },
    }


@pytest.fixture
def card(tmp_path: Path) -> Callable[..., Path]:
    """A card with a portrait and a lorebook, in a PNG."""

    def write(text: str = "", data: bytes | None = None) -> Path:
        path = tmp_path / "irene.png"
        image = data or picture(60, 80)
        whole = Card(card_payload(text), "v2", "png", path, image=Asset("i", len(image), lambda: image))
        write_card(whole, path)
        return path

    return write


async def asked(hand, wanted: type) -> None:
    await hand.until(lambda: isinstance(hand.app.screen, wanted))
    await hand.pilot.pause()


async def import_by_path(hand, path: Path) -> None:
    await hand.press("ctrl+o")
    await hand.pilot.pause()
    hand.app.screen.query_one("Input").value = str(path)
    await hand.press("enter")
    await asked(hand, TrustScreen)


async def test_a_card_is_looked_at_before_it_is_taken_in(make_app, drive, card) -> None:
    path = card()
    async with drive(make_app(role=None)) as hand:
        await import_by_path(hand, path)
        seen = hand.screen
        assert "Import Irene Adler?" in seen
        assert "Sing." in seen
        assert "https://example.com/x" in seen
        assert not (roles_dir() / "irene-adler.toml").exists()
        await hand.press("escape")
        await asked(hand, RolesScreen)
        assert not (roles_dir() / "irene-adler.toml").exists()
        await import_by_path(hand, path)
        await hand.press("enter")
        await hand.until(lambda: (roles_dir() / "irene-adler.toml").exists())
        await asked(hand, RolesScreen)
        await hand.settle()
        await hand.pilot.pause()
        assert hand.app.screen.chosen.slug == "irene-adler"
        assert (roles_dir() / "cards" / "irene-adler.png").read_bytes() == path.read_bytes()
        portrait = hand.app.screen.query_one(Portrait)
        await hand.until(lambda: portrait.display)
        await hand.pilot.pause()
        assert "▀▀▀" in hand.screen


async def test_a_path_without_a_card_is_one_sentence(make_app, drive, tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(picture(4, 4))
    async with drive(make_app(role=None)) as hand:
        for name in ("plain.png", "gone.json", "\x00"):
            await hand.press("ctrl+o")
            await hand.pilot.pause()
            hand.app.screen.query_one("Input").value = str(tmp_path / name)
            await hand.press("enter")
            await asked(hand, RolesScreen)
            await hand.until(lambda: bool(hand.app._notifications))
            hand.app.clear_notifications()


async def test_lore_is_switched_and_edited_where_it_stands(make_app, drive, card) -> None:
    path = card()
    async with drive(make_app(role=str(path)), size=(120, 40)) as hand:
        await hand.say("/lore")
        await asked(hand, LoreScreen)
        assert "Fog lies on the river." in hand.screen
        await hand.press("space")
        await hand.pilot.pause()
        assert "○ The fog" in hand.screen
        await hand.press("e")
        await hand.pilot.pause()
        assert "keys, one a line" in hand.screen
        hand.app.screen.query_one("#keys", TextArea).text = "fog\n/mist,?/i"
        hand.app.screen.query_one("#content", TextArea).text = "Thick fog."
        await hand.press("ctrl+s")
        await asked(hand, LoreScreen)
        await hand.until(lambda: "Thick fog." in hand.screen)
        await hand.press("space")
        await hand.pilot.pause()
        await hand.press("escape")
        await hand.settle()
        assert "The next message uses the lorebook" in hand.notice
        await hand.say("I see mist, I think.")
        assert any(inset.text == "Thick fog." for inset in hand.chat.session.why().insets)
        assert "Lore fired" in hand.screen
        assert "• The fog" in hand.screen
    entry = read_card(path).data["character_book"]["entries"][0]
    assert {**entry, "keys": ["fog"], "content": "Fog lies on the river."} == ENTRIES[0]


async def test_a_role_without_lore_says_how_to_give_it_some(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.say("/lore")
        await asked(hand, LoreScreen)
        assert "lorebooks = [" in hand.screen
        await hand.press("space", "e", "j", "escape")
        await hand.settle()


async def test_a_lorebook_that_cannot_be_read_is_told(make_app, drive, ada) -> None:
    app = make_app()
    app.library.save(ada.model_copy(update={"lorebooks": ("gone.json",)}), "ada", overwrite=True)
    async with drive(app) as hand:
        assert "gone.json cannot be read" in hand.notice


async def test_personas_are_picked_made_and_kept_with_the_chat(make_app, drive, store) -> None:
    async with drive(make_app()) as hand:
        await hand.say("Hi")
        await hand.say("/persona")
        await asked(hand, PersonaScreen)
        assert "yourself, no persona" in hand.screen
        await hand.press("n")
        await hand.pilot.pause()
        await hand.press(*"Mary", "enter")
        await hand.pilot.pause()
        await hand.press(*"A doctor.", "enter")
        await hand.until(lambda: "A doctor." in hand.screen)
        await hand.press("enter")
        await hand.settle()
        assert "You are Mary" in hand.notice
        assert "Mary" in hand.screen
        assert hand.chat.session.state.persona == Persona("Mary", "A doctor.")
        assert load_personas() == (Persona("Mary", "A doctor."),)
    async with drive(make_app()) as hand:
        assert hand.chat.session.user == "Mary"


async def test_memory_shows_summaries_and_what_came_up(make_app, drive, steady) -> None:
    backend = steady(["Indeed. " * 12])
    backend.context_tokens = 300
    app = make_app(backend=backend, options=ChatOptions(seed=7, guard=False))
    async with drive(app, size=(120, 40)) as hand:
        panel = hand.chat.query_one(MemoryPanel)
        assert not panel.display
        for number in range(12):
            await hand.say(f"My cat Peach number {number} likes the cellar.")
        assert hand.chat.session.state.summaries
        assert "Remembered" in hand.screen
        assert "Summed up" in hand.screen
        await hand.send("/memory")
        await asked(hand, LinesScreen)
        assert "── messages " in hand.screen
        assert "in the prompt" in hand.screen


async def test_moderation_says_what_it_did(make_app, drive, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rules]]\nname = "numbers"\npattern = "[0-9]{3}"\naction = "redact"\n', encoding="utf-8"
    )
    options = ChatOptions(seed=7, guard=False, moderation=load_moderation(rules))
    async with drive(make_app(["It is 555, I think."], options=options)) as hand:
        await hand.say("What is your number?")
        assert "Moderation: “numbers” redacted 1 place of the reply" in hand.notice
        assert "555" not in hand.screen


async def test_it_is_all_in_the_palette_and_the_help(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        for words, wanted in (
            ("lorebooks", LoreScreen),
            ("persona", PersonaScreen),
            ("remembered", LinesScreen),
        ):
            await hand.press("ctrl+p", *words)
            await hand.pilot.pause(0.3)
            await hand.press("enter")
            await asked(hand, wanted)
            await hand.press("f1")
            await hand.pilot.pause()
            await hand.press("escape")
            await hand.pilot.pause()
            if isinstance(hand.app.screen, wanted):
                await hand.press("escape")
            await hand.settle()


def test_a_picture_is_bounded_before_it_is_decoded() -> None:
    assert decoded(b"") is None
    assert decoded(b"\x89PNG\r\n\x1a\n" + bytes(200)) is None
    assert decoded(picture(40, 30)[:60]) is None
    header = bytearray(picture(8, 8))
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    assert MAX_PIXELS < 60_000**2
    assert decoded(bytes(header)) is None
    for kind in ("PNG", "JPEG", "WEBP"):
        found = decoded(picture(2000, 900, kind))
        assert found is not None
        rows = half_cells(found).plain.splitlines()
        assert 1 <= len(rows) <= ROWS
        assert {len(row) for row in rows} == {COLUMNS}
        assert set("".join(rows)) == {"▀"}


def test_pixels_are_for_terminals_that_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = decoded(picture(60, 80))
    widget = importlib.import_module("textual_image.widget")
    assert _pixels(found) is None, "nobody answered in a test"
    for kind in (widget.TGPImage, widget.SixelImage):
        monkeypatch.setattr(widget, "Image", kind)
        drawn = _pixels(found)
        assert isinstance(drawn, kind)
        assert drawn.styles.width is not None
        assert drawn.styles.width.value <= COLUMNS


def test_only_terminals_that_are_known_are_asked_for_pixels() -> None:
    assert draws_pixels({"TERM": "xterm-kitty"})
    assert draws_pixels({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"})
    for plain in ({"TERM": "xterm-256color"}, {"TERM": "linux"}, {}, {"TERM": "xterm-kitty", "TMUX": "x"}):
        assert not draws_pixels(plain)


async def test_with_sixteen_colours_there_is_no_picture(make_app, drive, card, monkeypatch) -> None:
    path = card()
    monkeypatch.setenv("TERM", "linux")
    monkeypatch.setenv("COLORTERM", "")
    app = make_app(role=None)
    async with drive(app) as hand:
        await import_by_path(hand, path)
        await hand.press("enter")
        await hand.until(lambda: (roles_dir() / "irene-adler.toml").exists())
        await hand.settle()
        assert "▀" not in hand.screen
