"""How lorebooks, the trust sheet, personas and the memory panel look. See test_snapshots.py for how to draw anew."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import ModalScreen

from rolekit.chat.options import ChatOptions
from rolekit.chat.personas import save_persona
from rolekit.chat.state import Persona

BOTH = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
CARD: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Irene Adler",
        "creator": "somebody on the web",
        "description": "You are {{char}}, a singer of forty operas who once outwitted a king and a detective.",
        "first_mes": "Good evening, {{user}}. You are the third visitor today who looks at the photograph.",
        "mes_example": "<START>\n{{user}}: Who are you?\n{{char}}: The woman.",
        "system_prompt": "Write as Irene would: quick, amused, never cruel.\nNever mention the King by name.",
        "post_history_instructions": "Keep her secret.",
        "creator_notes": "More cards at https://example.com/irene",
        "character_book": {
            "name": "Briony Lodge",
            "entries": [
                {"id": 1, "keys": ["photograph", "/pictures?/i"], "comment": "The photograph", "enabled": True,
                 "insertion_order": 20, "content": "The photograph of her and the King is behind a sliding panel in the "
                 "sitting room, above the right bell-pull. She will never give it up, and never use it."},
                {"id": 2, "keys": ["Norton"], "comment": "Godfrey Norton", "enabled": True, "secondary_keys": ["love"],
                 "selective": True, "content": "Godfrey Norton, of the Inner Temple, calls every day."},
                {"id": 5, "keys": ["piano"], "comment": "The piano", "enabled": True, "content": "Nobody plays it now."},
                {"id": 3, "keys": ["opera"], "comment": "La Scala", "enabled": False, "content": "She sang at La Scala."},
                {"id": 4, "keys": [], "constant": True, "comment": "The year", "enabled": True,
                 "content": "It is March of 1888."},
            ],
        },
    },
}  # fmt: skip
REPLIES = (
    "You have a good eye. It is a likeness of a happier year, and it stays where it is.",
    "He has promised me nothing, which is more than most men keep.",
)
Scene = Callable[..., Awaitable[None]]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The card's path, the same in every run."""
    monkeypatch.chdir(tmp_path)
    Path("irene.json").write_text(json.dumps(CARD), encoding="utf-8")
    return "irene.json"


@pytest.fixture
def look(make_app, snap_compare, hand_of, steady) -> Callable[..., bool]:
    """Play a scene and compare the screen with the picture on file."""

    def compare(scene: Scene, size: tuple[int, int], *, role: str | None, backend: object = None) -> bool:
        app = make_app(
            backend=backend or steady(REPLIES), role=role, options=ChatOptions(seed=7, guard=False)
        )

        async def play(pilot: Pilot[None]) -> None:
            hand = hand_of(pilot)
            await hand.settle()
            await scene(hand)
            await hand.settle()
            await hand.pilot.pause(0.1)

        return bool(snap_compare(app, run_before=play, terminal_size=size))

    return compare


@BOTH
async def test_trust_sheet(make_app, drive, card: str, size) -> None:
    """In words, not as a picture: the library's focus shows behind it, and comes and goes."""
    async with drive(make_app(role=None), size) as hand:
        await hand.press("ctrl+o")
        await hand.until(lambda: isinstance(hand.app.screen, ModalScreen))
        hand.app.screen.query_one("Input").value = card
        await hand.press("enter")
        await hand.until(lambda: "Import Irene Adler?" in hand.screen)
        for words in (
            "System prompt",
            "Instructions behind the chat",
            "Lorebook: 5 entries",
            "Link (never opened)",
        ):
            assert words in hand.screen


@BOTH
def test_lorebook(look, card: str, size) -> None:
    async def scene(hand) -> None:
        await hand.send("/lore")
        await hand.until(lambda: isinstance(hand.app.screen, ModalScreen))

    assert look(scene, size, role=card)


@BOTH
def test_lore_entry(look, card: str, size) -> None:
    async def scene(hand) -> None:
        await hand.send("/lore")
        await hand.until(lambda: isinstance(hand.app.screen, ModalScreen))
        await hand.press("e")
        await hand.settle()

    assert look(scene, size, role=card)


@BOTH
def test_personas(look, size) -> None:
    save_persona(Persona("Mary", "{{user}} is a doctor home from the war, and limps."))
    save_persona(Persona("The King", "{{user}} wears a mask and believes that nobody knows him."))

    async def scene(hand) -> None:
        await hand.send("/persona")
        await hand.until(lambda: isinstance(hand.app.screen, ModalScreen))

    assert look(scene, size, role="ada")


@BOTH
def test_memory_panel(look, card: str, steady, size) -> None:
    backend = steady([*REPLIES, "I told you so at the opera, I believe, and you laughed."])
    backend.context_tokens = 330

    async def scene(hand) -> None:
        for number in range(6):
            await hand.say(
                f"I saw Norton at the opera, for the {['first', 'second', 'third', 'fourth', 'fifth', 'sixth'][number]} time."
            )
        # how much stands above depends on when it was drawn
        hand.chat.transcript.styles.scrollbar_size_vertical = 0
        await hand.say("And what of that evening?")
        await hand.say("When did I see Norton at the opera for the first time, and was he at the piano?")
        if size[0] < 100:
            await hand.send("/memory")
            await hand.until(lambda: isinstance(hand.app.screen, ModalScreen))

    assert look(scene, size, role=card, backend=backend)
