"""The small parts behind the screens."""

from __future__ import annotations

import asyncio
import json
from datetime import date, datetime
from pathlib import Path

import pytest

from rolekit.config import load_config
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError
from rolekit.messages import Progress, Stats
from rolekit.tui.drafts import Drafts
from rolekit.tui.model import Model
from rolekit.tui.prose import blocks
from rolekit.tui.sessions import day_name
from rolekit.tui.status import Hints, StatusLine, bar, figures


def test_days_have_names() -> None:
    today = date(2026, 3, 2)
    assert day_name(datetime(2026, 3, 2, 0, 1).timestamp(), today) == "Today"
    assert day_name(datetime(2026, 3, 1, 23, 59).timestamp(), today) == "Yesterday"
    assert day_name(datetime(2026, 2, 9, 12, 0).timestamp(), today) == "9 February 2026"


def test_figures_as_the_wireframe_has_them() -> None:
    stats = Stats(6253, 6212, 41, 62, 0.4, 1.4)
    assert figures(stats, 16_600, 80) == (
        "evaluated 41 · reused 6\u202f212 · first token 0.40 s · 61 tok/s · context 38 %"
    )
    assert figures(stats, 16_600, 120).endswith("context ▓▓▓░░░░░ 38 %")
    assert figures(stats, 16_600, 30) == "61 tok/s · context 38 %"
    assert figures(Stats(), 0, 80) == "evaluated 0 · reused 0"


def test_a_bar_stays_within_its_cells() -> None:
    assert [bar(part, 4) for part in (-1, 0, 0.5, 1, 9)] == ["░░░░", "░░░░", "▓▓░░", "▓▓▓▓", "▓▓▓▓"]


def test_markdown_becomes_few_blocks() -> None:
    text = "*Hm.* One\ntwo.\n\nThree <sigh> &amp;\n\n1. a\n2. b\n   - c\n\n> quoted\n\n```\ncode *as* is\n```"
    found = [(block.kind, block.depth, block.marker, block.content.plain) for block in blocks(text)]
    assert found == [
        ("prose", 0, "", "Hm. One\ntwo.\n\nThree <sigh> &amp;"),
        ("item", 0, "1.", "a"),
        ("item", 0, "2.", "b"),
        ("item", 1, "•", "c"),
        ("quote", 0, "", "quoted"),
        ("code", 0, "", "code *as* is"),
    ]


def test_drafts_are_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    drafts = Drafts(path)
    drafts.put("a", "half a thought")
    drafts.put("b", "另一个")
    assert Drafts(path).get("a") == "half a thought"
    drafts.put("a", "  ")
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": "另一个"}
    path.write_text("[damaged", encoding="utf-8")
    assert Drafts(path).get("b") == ""


async def test_a_model_is_waited_for_and_replaced() -> None:
    first, second = ScriptedBackend(["one"]), ScriptedBackend(["two"])
    model = Model(lambda: first)
    waiting = asyncio.create_task(model.ready())
    await asyncio.sleep(0)
    assert model.loading
    assert not waiting.done()
    await model.load()
    assert await waiting is first

    def broken() -> ScriptedBackend:
        raise RolekitError("It is gone.", "Find it.")

    await model.load(broken)
    assert model.error is not None
    assert await model.ready() is first
    await model.load(lambda: second)
    assert first.closed
    assert await model.ready() is second
    await model.close()
    assert second.closed


async def test_prefill_shows_its_progress(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        status = hand.chat.query_one(StatusLine)
        status.progress = Progress(512, 1204)
        await hand.pilot.pause()
        assert "reading ▓▓▓░░░░░ 512 of 1\u202f204 tokens" in hand.screen


async def test_keys_are_never_cut_in_half(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        for width in range(30, 121, 7):
            await hand.pilot.resize_terminal(width, 24)
            await hand.pilot.pause()
            shown = str(hand.chat.query_one(Hints).render())
            assert shown.split(" · ")[-1] in {
                f"{key} {meaning}" for key, meaning in hand.chat.query_one(Hints).keys
            }


async def test_a_theme_is_kept(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.press("ctrl+p", *"contrast")
        await hand.pilot.pause(0.4)
        await hand.press("enter")
        await hand.until(lambda: hand.app.theme == "rolekit-contrast")
    assert load_config().theme == "rolekit-contrast"


async def test_conversations_are_searched_resumed_renamed_and_begun(make_app, drive, store) -> None:
    async with drive(make_app(), size=(120, 40)) as hand:
        await hand.say("About the punched cards")
        await hand.press("ctrl+b", "ctrl+b", "down", "n")
        await hand.settle()
        assert len(hand.texts) == 1
        await hand.say("Something else entirely")
        await hand.press("ctrl+b", "ctrl+b", *"about")
        await hand.settle()
        assert "Something else" not in hand.screen.split("search")[-1]
        await hand.press("enter")
        await hand.settle()
        assert hand.texts[1] == "About the punched cards"
        await hand.press("ctrl+b", "ctrl+b")
        await hand.settle()
        await hand.press("down", "r")
        await hand.pilot.pause()
        await hand.press("ctrl+a", "ctrl+k", *"Cards", "enter")
        await hand.settle()
        await hand.pilot.pause()
        assert store.find("x") is None
        assert "Cards" in [info.title for info in store.conversations()]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_conversations_fold(make_app, drive, size) -> None:
    async with drive(make_app(), size=size) as hand:
        wide = size[0] >= 100
        assert ("search conversations" in hand.screen) is wide
        await hand.press("ctrl+b")
        await hand.settle()
        assert ("search conversations" in hand.screen) is not wide
        await hand.press("ctrl+b")
        await hand.settle()
        assert ("search conversations" in hand.screen) is wide
