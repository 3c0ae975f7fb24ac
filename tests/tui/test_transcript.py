"""A long conversation: few live widgets, nothing missing, and the reader stays where they read."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from rolekit.chat.store import Store
from rolekit.tui.transcript import FIRST_TURNS, LIVE_TURNS, Fold, Transcript

LONG = 5000


@pytest.fixture
def conversation(store: Store) -> Callable[[int], str]:
    """A conversation of so many messages, written straight into the database."""

    def write(messages: int) -> str:
        info = store.create(role_slug="ada", role_name="Ada Lovelace", user="You", title="long")
        with store.database.writing() as connection:
            parent = None
            for number in range(messages):
                speaker = "user" if number % 2 else "assistant"
                parent = connection.execute(
                    "INSERT INTO node(conversation_id, parent_id, speaker, text, created_at, active_at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        info.id,
                        parent,
                        speaker,
                        f"message {number}. " + "word " * (number % 40),
                        number,
                        number,
                    ),
                ).lastrowid
            connection.execute("UPDATE conversation SET head=? WHERE id=?", (parent, info.id))
        return info.id

    return write


def numbers(transcript: Transcript) -> list[int]:
    return [int(turn.text.split()[1].rstrip(".")) for turn in transcript.turns]


def assert_contiguous(found: list[int]) -> None:
    assert found == list(range(found[0], found[0] + len(found)))
    assert len(found) <= LIVE_TURNS


async def test_five_thousand_messages_open_quickly(make_app, drive, conversation) -> None:
    name = conversation(LONG)
    async with drive(make_app(role=None)) as hand:
        started = time.perf_counter()
        await hand.app.open_chat("", name)
        await hand.pilot.pause()
        seconds = time.perf_counter() - started
        assert numbers(hand.chat.transcript) == list(range(LONG - FIRST_TURNS, LONG))
        assert f"message {LONG - 1}." in hand.screen
        assert seconds < 60, "a guard against the hopeless; the real figure is well under a second"


async def test_reading_back_to_the_beginning_and_forth_again(make_app, drive, conversation) -> None:
    name = conversation(110)
    async with drive(make_app(resume=name)) as hand:
        transcript = hand.chat.transcript
        lowest = 110
        for _ in range(400):
            await hand.press("pageup")
            await hand.settle()
            found = numbers(transcript)
            assert_contiguous(found)
            lowest = min(lowest, found[0])
            if lowest == 0 and transcript.scroll_offset.y == 0:
                break
        assert lowest == 0
        assert "message 0." in hand.screen
        for _ in range(400):
            await hand.press("pagedown")
            await hand.settle()
            assert_contiguous(numbers(transcript))
            if transcript.following:
                break
        assert numbers(transcript)[-1] == 109
        assert "message 109." in hand.screen


async def test_what_is_being_read_does_not_jump(make_app, drive, conversation) -> None:
    name = conversation(60)
    async with drive(make_app(resume=name)) as hand:
        transcript = hand.chat.transcript
        for _ in range(150):
            before = numbers(transcript)[0]
            expected = {
                turn.text: turn.region.y
                for turn in transcript.turns
                if transcript.region.contains_region(turn.region)
            }
            transcript.scroll_up(animate=False)
            await hand.settle()
            after = {turn.text: turn.region.y for turn in transcript.turns}
            assert all(after[text] - y in (0, 1) for text, y in expected.items())
            if numbers(transcript)[0] < before:
                return
        raise AssertionError("nothing was paged in")


async def test_home_and_end(make_app, drive, conversation) -> None:
    name = conversation(300)
    async with drive(make_app(resume=name)) as hand:
        await hand.press("home")
        await hand.settle()
        assert numbers(hand.chat.transcript)[0] == 0
        assert "message 0." in hand.screen
        await hand.press("end")
        await hand.settle()
        assert numbers(hand.chat.transcript)[-1] == 299
        assert "message 299." in hand.screen
        assert hand.chat.transcript.following


async def test_a_reply_does_not_pull_a_reader_down(make_app, drive, conversation, steady) -> None:
    name = conversation(80)
    backend = steady([" ".join(["word"] * 300)], pause_after=5)
    async with drive(make_app(resume=name, backend=backend)) as hand:
        await hand.send("More?")
        await hand.until(lambda: hand.texts[-1].startswith("word word"))
        await hand.press("pageup", "pageup")
        await hand.pilot.pause()
        seen = hand.chat.transcript.scroll_offset.y
        assert not hand.chat.transcript.following
        backend.released.set()
        await hand.settle()
        assert hand.chat.transcript.scroll_offset.y == seen
        await hand.press("end")
        await hand.settle()
        assert hand.chat.transcript.following


async def test_a_growing_reply_is_followed(make_app, drive, steady) -> None:
    backend = steady(["\n".join(f"line {number}" for number in range(90)).replace(" ", " ")], pause_after=80)
    async with drive(make_app(backend=backend)) as hand:
        await hand.send("Go on.")
        await hand.until(lambda: "line 78" in hand.screen or "line 79" in hand.screen)
        assert hand.chat.transcript.following
        backend.released.set()
        await hand.settle()
        assert "line 89" in hand.screen


async def test_pieces_are_drawn_at_most_thirty_times_a_second(make_app, drive, monkeypatch) -> None:
    from rolekit.endpoints.scripted import ScriptedBackend
    from rolekit.tui.turn import Turn

    drawn: list[str] = []
    plain = Turn.stream
    monkeypatch.setattr(Turn, "stream", lambda self, text: (drawn.append(text), plain(self, text))[1])
    backend = ScriptedBackend([" ".join(["word"] * 400)], seconds_per_word=0.001)
    async with drive(make_app(backend=backend)) as hand:
        started = time.perf_counter()
        await hand.say("Go.")
        seconds = time.perf_counter() - started
        assert 1 <= len(drawn) <= 32 * seconds + 2
        assert len(hand.texts[-1].split()) == 400


async def test_the_fold_is_a_line_in_the_transcript(make_app, drive, steady) -> None:
    from rolekit.endpoints.scripted import ScriptedBackend

    backend = ScriptedBackend([" ".join(["answer"] * 60)], context_tokens=400)
    async with drive(make_app(backend=backend), size=(80, 40)) as hand:
        for number in range(9):
            await hand.say(f"Question {number}: " + "why " * 20)
        folds = hand.chat.transcript.query(Fold)
        assert len(folds) == 1
        assert folds.first().turns > 0
        hand.chat.transcript.scroll_to_widget(folds.first(), animate=False)
        await hand.settle()
        assert f"── {folds.first().turns} earlier turns folded into memory ──" in hand.screen
    async with drive(make_app(backend=backend), size=(80, 40)) as hand:
        assert len(hand.chat.transcript.query(Fold)) == 1


async def test_resizing_keeps_the_end_in_view(make_app, drive, conversation) -> None:
    name = conversation(60)
    async with drive(make_app(resume=name)) as hand:
        for size in ((40, 12), (120, 40), (80, 24)):
            await hand.pilot.resize_terminal(*size)
            await hand.settle()
            assert "message 59." in hand.screen
            assert all(len(row) <= size[0] for row in hand.screen.splitlines())
