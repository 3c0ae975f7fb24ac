"""A conversation in the app: every key a person presses, over scripted replies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.tui.context_screen import ContextScreen
from rolekit.tui.facts import Submitted
from rolekit.tui.help import HelpScreen

GREETING = "Good evening. Mind the punched cards."


async def test_a_message_is_answered(make_app, drive) -> None:
    async with drive(make_app(["*She smiles.* **Indeed**, it is."])) as hand:
        await hand.press(*"Hi", "enter")
        await hand.settle()
        assert hand.texts == [GREETING, "Hi", "*She smiles.* **Indeed**, it is."]
        assert "She smiles. Indeed, it is." in hand.screen
        assert (
            "evaluated 41 · reused 1\u202f212 · first token 0.38 s · 61 tok/s · context 32 %" in hand.screen
        )
        assert hand.typed == ""


async def test_an_empty_chat_begins_with_one_key(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        assert "2  Who taught you?" in hand.screen
        await hand.press("2")
        await hand.settle()
        assert hand.texts[1:] == ["Who taught you?", "Indeed."]
        assert "press a number" not in hand.screen
        await hand.press("2")
        assert hand.typed == "2"


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter", "alt+enter"])
async def test_line_breaks(make_app, drive, key: str) -> None:
    async with drive(make_app()) as hand:
        await hand.press("a", key, "b", "enter")
        await hand.settle()
        assert hand.texts[1] == "a\nb"


async def test_a_pasted_page_is_one_message(make_app, drive) -> None:
    page = "\r\n".join(f"line {number}" for number in range(200))
    async with drive(make_app()) as hand:
        await hand.paste(page)
        await hand.press("enter")
        await hand.settle()
        assert hand.texts == [GREETING, page.replace("\r\n", "\n"), "Indeed."]


async def test_a_megabyte_is_refused_in_one_sentence(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        hand.chat.box.composer.put("what I had")
        await hand.paste("x" * 2**20)
        assert hand.notice.startswith("That paste is 1.0 MiB long; a message takes at most 50")
        assert hand.typed == "what I had"


async def test_escape_stops_and_keeps_what_came(make_app, drive, steady) -> None:
    async with drive(make_app(backend=steady(["one two three four"], pause_after=2))) as hand:
        await hand.send("Count.")
        await hand.until(lambda: hand.texts[-1] == "one two ")
        assert "Ada Lovelace is writing · Esc stops" in hand.screen
        await hand.press("escape")
        await hand.settle()
        assert hand.texts[-1] == "one two "
        assert "Ada Lovelace · stopped" in hand.screen


async def test_escape_right_after_enter_is_not_lost(make_app, drive, steady) -> None:
    backend = steady(["one two three four"], pause_after=2)
    async with drive(make_app(backend=backend)) as hand:
        hand.chat.box.composer.put("Count.")
        hand.chat.box.composer.post_message(Submitted("Count."))
        await hand.until(lambda: hand.chat.replying)
        hand.chat.stop()
        await hand.settle()
        assert hand.texts[:2] == [GREETING, "Count."]
        assert not hand.chat.replying


async def test_a_full_disk_is_said_and_nothing_is_lost(make_app, drive, store, monkeypatch) -> None:
    from rolekit.chat.database import Database

    async with drive(make_app()) as hand:
        await hand.say("Hi")

        def full(self: Database) -> None:
            raise RolekitError("The disk is full.", "Free some space.")

        monkeypatch.setattr(Database, "writing", full)
        await hand.say("Are you there?")
        assert hand.notice.startswith("The disk is full.")
        assert hand.typed == "Are you there?"
        await hand.press("ctrl+r")
        await hand.settle()
        assert hand.texts == [GREETING, "Hi", "Indeed."]
        monkeypatch.undo()


async def test_typing_goes_on_while_a_reply_comes(make_app, drive, steady) -> None:
    backend = steady(["one two three", "four"], pause_after=1)
    async with drive(make_app(backend=backend)) as hand:
        await hand.send("Count.")
        await hand.until(lambda: hand.texts[-1] == "one ")
        await hand.press(*"next", "enter")
        assert hand.typed == "next"
        assert "still answering" in hand.notice
        backend.released.set()
        await hand.settle()
        assert hand.texts[-1] == "one two three"
        assert hand.typed == "next"
        assert hand.notice == ""


async def test_a_command_that_comes_too_early_is_not_lost(make_app, drive, steady) -> None:
    backend = steady(["one two three"], pause_after=1)
    async with drive(make_app(backend=backend)) as hand:
        await hand.send("Count.")
        await hand.until(lambda: hand.texts[-1] == "one ")
        await hand.press(*"/edit a long thought", "enter")
        await hand.pilot.pause()
        assert "still answering" in hand.notice
        assert hand.typed == "/edit a long thought"
        backend.released.set()
        await hand.settle()


async def test_versions_are_swiped_and_one_more_is_made(make_app, drive) -> None:
    async with drive(make_app(["first", "second", "third"])) as hand:
        await hand.say("Hi")
        assert "‹" not in hand.screen
        await hand.press("ctrl+r")
        await hand.settle()
        assert hand.texts[-1] == "second"
        assert "‹ 2 of 2 ›" in hand.screen
        await hand.press("left")
        await hand.settle()
        assert hand.texts[-1] == "first"
        assert "‹ 1 of 2 ›" in hand.screen
        await hand.press("right", "right")
        await hand.settle()
        assert hand.texts == [GREETING, "Hi", "third"]
        assert "‹ 3 of 3 ›" in hand.screen


async def test_up_rewords_the_last_message_and_asks_again(make_app, drive) -> None:
    async with drive(make_app(["first", "second"])) as hand:
        await hand.say("Hi")
        await hand.press("up")
        assert hand.typed == "Hi"
        assert "keep as a new version" in hand.screen
        await hand.press(*"!", "enter")
        await hand.settle()
        assert hand.texts == [GREETING, "Hi!", "second"]
        assert "You · edited" in hand.screen
        assert hand.typed == ""


async def test_leaving_an_edit_brings_the_draft_back(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.say("Hi")
        await hand.press("up", "escape")
        await hand.settle()
        assert hand.typed == ""
        assert hand.texts[1] == "Hi"
        assert "Enter send" in hand.screen


async def test_an_error_leaves_the_history_and_gives_the_text_back(make_app, drive) -> None:
    fault = RolekitError("The line is dead.", "Wait for the post.")
    async with drive(make_app([fault, "There you are."])) as hand:
        await hand.say("Are you there?")
        assert hand.texts == [GREETING]
        assert hand.typed == "Are you there?"
        assert hand.notice == "The line is dead. Wait for the post. · Enter sends it again"
        await hand.press("enter")
        await hand.settle()
        assert hand.texts == [GREETING, "Are you there?", "There you are."]
        assert hand.notice == ""


async def test_a_model_that_does_not_load_is_said_and_tried_again(make_app, drive, steady) -> None:
    attempts: list[int] = []

    def open_backend() -> Backend:
        attempts.append(1)
        if len(attempts) == 1:
            raise RolekitError("The model file has moved.", "Put it back.")
        return steady(["Here."])

    async with drive(make_app(open_backend=open_backend)) as hand:
        assert hand.notice == "The model file has moved. Put it back. · Ctrl+R tries again"
        await hand.say("Hello?")
        assert hand.typed == "Hello?"
        await hand.press("ctrl+r")
        await hand.settle()
        await hand.press("enter")
        await hand.settle()
        assert hand.texts[-2:] == ["Hello?", "Here."]


async def test_the_draft_survives_quitting(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.say("Hi")
        await hand.press(*"half a thought")
        await hand.press("ctrl+q")
    async with drive(make_app()) as hand:
        assert hand.typed == "half a thought"
        assert hand.texts[1:] == ["Hi", "Indeed."]


async def test_quitting_in_the_middle_keeps_what_came(make_app, drive, steady) -> None:
    backend = steady(["one two three four"], pause_after=2)
    async with drive(make_app(backend=backend)) as hand:
        await hand.send("Count.")
        await hand.until(lambda: hand.texts[-1] == "one two ")
        await hand.press("ctrl+q")
        await hand.pilot.pause()
    assert backend.closed
    async with drive(make_app()) as hand:
        assert hand.texts[-1] == "one two "
        assert "· stopped" in hand.screen


async def test_new_begins_afresh_but_not_twice(make_app, drive, store) -> None:
    async with drive(make_app()) as hand:
        await hand.say("Hi")
    for _ in range(2):
        async with drive(make_app(new=True)) as hand:
            assert hand.texts == [GREETING]
    assert len(store.conversations()) == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/regen", "second"),
        ("/continue", "firstsecond"),
        ("/edit Better", "second"),
        ("/swipe left", "first"),
    ],
)
async def test_commands_that_change_the_answer(make_app, drive, line: str, expected: str) -> None:
    async with drive(make_app(["first", "second"])) as hand:
        await hand.say("Hi")
        await hand.say(line)
        assert hand.texts[-1] == expected
        assert hand.typed == ""


async def test_undo_and_redo(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.say("Hi")
        await hand.say("/undo")
        assert hand.texts == [GREETING]
        await hand.say("/redo")
        assert hand.texts == [GREETING, "Hi", "Indeed."]


async def test_pin_title_and_export(make_app, drive, store, tmp_path: Path) -> None:
    async with drive(make_app(), size=(120, 40)) as hand:
        await hand.say("Hi")
        await hand.say("/pin")
        assert "· pinned" in hand.screen
        await hand.say("/title Muddy boots")
        assert store.conversations()[0].title == "Muddy boots"
        assert "› Muddy boots" in hand.screen
        target = tmp_path / "chat.json"
        await hand.say(f"/export {target}")
        assert json.loads(target.read_text(encoding="utf-8"))
        await hand.say(f"/export {target}")
        assert "is there already" in hand.notice
        await hand.say("/save boots")
        assert store.find("boots") is not None


async def test_screens_over_the_chat(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.say("Hi")
        await hand.send("/help")
        await hand.settle()
        assert isinstance(hand.app.screen, HelpScreen)
        await hand.press("escape")
        await hand.send("/context")
        await hand.settle()
        assert isinstance(hand.app.screen, ContextScreen)
        assert "who Ada Lovelace is" in hand.screen
        await hand.press("escape")
        await hand.say("/stats")
        assert hand.notice.startswith("evaluated 41 · reused 1")


async def test_a_wrong_command_is_explained_and_kept(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.say("/regne")
        assert "There is no command /regne" in hand.notice
        assert hand.typed == "/regne"
        await hand.say("//shrug")
        assert hand.texts[1] == "/shrug"


async def test_another_model_goes_on(make_app, drive, steady) -> None:
    first, second = steady(["one"]), steady(["two"])
    async with drive(make_app(backend=first, open_other=lambda reference: second)) as hand:
        await hand.say("Hi")
        await hand.say("/model other.gguf")
        await hand.say("And you?")
        assert hand.texts[-1] == "two"
        assert first.closed


async def test_control_c_says_how_to_quit_and_loses_nothing(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.press(*"half", "ctrl+c")
        await hand.until(lambda: "quit the app" in hand.screen)
        assert hand.typed == "half"


async def test_quit_command(make_app, drive, steady) -> None:
    backend = steady(["one"])
    async with drive(make_app(backend=backend)) as hand:
        await hand.send("/quit")
        await hand.until(lambda: backend.closed)
    assert backend.closed


async def test_a_message_anywhere_can_be_chosen(make_app, drive) -> None:
    async with drive(make_app(["first", "second", "third"])) as hand:
        await hand.say("One")
        await hand.say("Two")
        await hand.press("shift+tab")
        await hand.press("up", "up")
        assert [turn.text for turn in hand.turns if turn.has_class("-chosen")] == ["first"]
        await hand.press("p")
        await hand.settle()
        assert hand.turns[2].node is not None
        assert hand.turns[2].node.pinned
        await hand.press("r")
        await hand.settle()
        assert hand.texts == [GREETING, "One", "third"]
        await hand.press("left")
        await hand.settle()
        assert hand.texts == [GREETING, "One", "first", "Two", "second"]
        await hand.press("escape", *"x")
        assert hand.typed == "x"


async def test_a_message_waits_for_the_model(make_app, drive, steady) -> None:
    import threading

    gate = threading.Event()

    def open_backend() -> Backend:
        assert gate.wait(10)
        return steady(["Here I am."])

    app = make_app(open_backend=open_backend)
    async with app.run_test() as pilot:
        from textual.widgets import TextArea

        await pilot.pause()
        await pilot.press(*"Hi")
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen.query_one(TextArea).text == "Hi"
        assert "loading the model" in app.export_screenshot().replace("&#160;", " ")
        gate.set()
        for _ in range(200):
            await pilot.pause(0.01)
            if [turn.text for turn in app.screen.query("Turn")][-1] == "Here I am.":  # type: ignore[attr-defined]
                break
        assert [turn.text for turn in app.screen.query("Turn")][1:] == ["Hi", "Here I am."]  # type: ignore[attr-defined]
