"""F5: the funnel as rows arrive, and the audit: one key a row, the last word a person's; hostile text stays text."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rolekit.endpoints.address import parse_endpoint
from rolekit.endpoints.calls import Answer, Call, Usage
from rolekit.endpoints.journal import Journal, spending_in
from rolekit.messages import Message
from rolekit.paths import home
from rolekit.roles.role import Role
from rolekit.synthesis.audit import effective, read_decisions
from rolekit.synthesis.rows import Candidate, append_rows
from rolekit.synthesis.segments import Segment, write_segments
from rolekit.tui.answer_screen import AnswerScreen
from rolekit.tui.synthesis_folder import SynthesisFolder, known_syntheses
from rolekit.tui.synthesis_screen import SynthesisScreen

REJECTED = (
    "duplicate",
    "duplicate",
    "low-confidence",
    "ai-identity",
    "incomplete-question",
    "duplicate",
    "rejection",
)
QUESTIONS = (
    "What did you write in the margin of the third letter?", "Who taught you the mathematics of the engine?",
    "Do you ever regret the wager at Epsom?", "What does your mother say of poetry?", "Why do you trust Babbage?",
)  # fmt: skip


def rows(number: int = 40) -> list[Candidate]:
    """Candidates as a run leaves them."""
    found = []
    for n in range(number):
        row = Candidate(
            f"row{n:04}", "script-based", "Ada Lovelace", "en", f"{QUESTIONS[n % 5]} ({n})",
            (f"My dear, I set it down plainly in the note of the {n}th of May, and I stand by it.",), "accepted",
            segment="s3", quote="I set it down plainly.", confidence="high", rationale="The letter says so.",
        )  # fmt: skip
        if n % 5 == 2:
            row = replace(row, verdict="rejected", reason=REJECTED[n // 5 % 7], detail="row0001")
        elif n % 9 == 4:
            row = replace(row, verdict="held", reason="unsupported", detail="0.21")
        found.append(row)
    return found


def make_run(name: str = "ada", given: list[Candidate] | None = None) -> Path:
    """A run's folder as `rolekit synth` leaves it while it works."""
    folder = home() / "runs" / name
    append_rows(folder, rows() if given is None else given)
    task = {"role": "Ada Lovelace", "model": "gpt-4o", "candidates": 400, "not_knowing": 40, "refusal": 20}
    (folder / "recipe.json").write_text(json.dumps({"format": 1, "steps": {"context-instruct": task}}))
    write_segments(
        folder / "segments.jsonl",
        [Segment(f"s{n}", "Ada wrote a note.", "letters.txt", n, n, ("Ada Lovelace",)) for n in range(1, 13)],
    )
    endpoint = parse_endpoint("openai:gpt-4o@http://localhost:1/v1")
    with Journal(folder / "journal.db") as journal:
        for n in range(9):
            call = Call(endpoint, (Message("user", str(n)),))
            journal.sending(call, 0.01)
            journal.arrived(call.key, Answer("Aye.", "stop", Usage(900, 200, 0, True)), 0.0041)
    return folder


def test_a_run_is_read_as_it_grows(home: Path) -> None:
    folder = make_run()
    run = SynthesisFolder(folder)
    assert run.refresh()
    assert not run.refresh(now=True)
    assert run.stages == {
        "segments": 12, "candidates": 40, "confident": 39, "unique": 35, "clean": 32, "accepted": 29,
    }  # fmt: skip
    assert (run.held, run.requests, round(run.usd, 4)) == (3, 9, 0.0369)
    append_rows(folder, rows(41)[40:])
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"id": "half a ro')
    assert run.refresh(now=True)
    assert run.stages["candidates"] == 41
    assert [known.path for known in known_syntheses()] == [folder]
    assert not run.finished
    (folder / "done-context-instruct.json").write_text("{}")
    assert run.finished


def test_watching_a_journal_changes_nothing_in_it(home: Path) -> None:
    folder = make_run()
    with Journal(folder / "journal.db") as journal:
        call = Call(parse_endpoint("openai:gpt-4o@http://localhost:1/v1"), (Message("user", "under way"),))
        journal.sending(call, 0.5)
        assert spending_in(folder / "journal.db").sent == 10
        assert journal.failures() == {}, "what is under way is nobody's loss yet"
    assert spending_in(folder / "none.db") is None
    (folder / "other.db").write_text("no database at all, and long enough to be looked at" * 30)
    assert spending_in(folder / "other.db") is None


@pytest.fixture
def opened(make_app, drive):
    """The screen over a run, at a size."""

    def at(size=(120, 40)):
        return drive(make_app(), size=size)

    return at


async def f5(hand) -> SynthesisScreen:
    await hand.settle()
    await hand.press("f5")
    await hand.pilot.pause()
    assert isinstance(hand.app.screen, SynthesisScreen)
    return hand.app.screen


async def test_rows_are_accepted_edited_rejected_and_taken_back(opened) -> None:
    folder = make_run()
    async with opened() as hand:
        screen = await f5(hand)
        for words in ("ada · paused", "candidates      40", "$0.0369 · 9 requests", "3 held for you", "duplicate",
                      "all: 40 rows", "rests on  I set it down plainly."):  # fmt: skip
            assert words in hand.screen, words
        await hand.press("x")
        await hand.press("a")
        assert {row: made.decision for row, made in read_decisions(folder).by_id.items()} == {
            "row0039": "reject", "row0038": "accept",
        }  # fmt: skip
        assert screen._rows.row.id == "row0037", "the next row follows by itself"
        await hand.press("e")
        await hand.pilot.pause()
        assert isinstance(hand.app.screen, AnswerScreen)
        await hand.press(*" Truly.", "ctrl+s")
        await hand.until(lambda: "row0037" in read_decisions(folder).by_id)
        assert read_decisions(folder).by_id["row0037"].answer.endswith("I stand by it. Truly.")
        await hand.pilot.pause()
        assert "3 decided" in hand.screen
        await hand.press("up", "u")
        assert "row0037" not in read_decisions(folder).by_id
        await hand.press("e")
        await hand.pilot.pause()
        await hand.press("escape")
        await hand.pilot.pause()
        assert isinstance(hand.app.screen, SynthesisScreen)
        assert len(effective(folder)) == 29 - 1


async def test_the_filter_goes_through_verdicts_and_reasons(opened) -> None:
    make_run()
    async with opened() as hand:
        await f5(hand)
        titles = []
        for _ in range(7):
            await hand.press("f")
            await hand.pilot.pause()
            titles.append(
                next(line.strip() for line in hand.screen.splitlines() if " rows" in line)
                .split("│")[0]
                .strip()
            )
        assert titles[:4] == ["held: 3 rows", "accepted: 29 rows", "rejected: 8 rows", "decided: 0 rows"]
        assert titles[4:6] == ["duplicate: 4 rows", "unsupported: 3 rows"]


async def test_what_is_accepted_is_exported(opened) -> None:
    folder = make_run()
    role = Role(name="Ada Lovelace", description="You are Ada Lovelace.").model_dump(mode="json")
    task = {
        "role": "Ada Lovelace",
        "character": role,
        "model": "gpt-4o",
        "prompt_version": "1",
        "prompts_sha256": "0",
    }
    (folder / "recipe.json").write_text(json.dumps({"format": 1, "steps": {"context-instruct": task}}))
    async with opened() as hand:
        await f5(hand)
        await hand.press("o")
        await hand.until(lambda: "rows to train on are in" in hand.screen)
        assert (folder / "export/data_card.md").is_file()


async def test_new_rows_appear_and_the_highlight_stays(opened) -> None:
    folder = make_run()
    async with opened() as hand:
        screen = await f5(hand)
        await hand.press("down", "down")
        assert screen._rows.row.id == "row0037"
        append_rows(folder, rows(43)[40:])
        await hand.until(lambda: "all: 43 rows" in hand.screen)
        assert screen._rows.row.id == "row0037"


async def test_without_runs_it_says_how_to_begin(opened) -> None:
    async with opened((80, 24)) as hand:
        await f5(hand)
        assert "Nothing has been made of a text yet." in hand.screen
        await hand.press("enter")
        await hand.pilot.pause()
        assert "Write what to make" in hand.screen
        await hand.press(*"profile 'x", "enter")
        await hand.pilot.pause()
        assert "A quote is opened and never closed." in hand.screen


async def test_what_goes_wrong_is_said_where_it_was_ordered(opened) -> None:
    async with opened() as hand:
        screen = await f5(hand)
        await hand.press(*"no-such-thing", "enter")
        for _ in range(600):
            await hand.pilot.pause(0.05)
            if screen._ordering.worker and not screen._ordering.running and "No such command" in hand.screen:
                break
        assert "No such command" in hand.screen
        await screen.settle()


async def test_space_pauses_and_goes_on_with_the_order_of_another_day(opened) -> None:
    """The real program in its own process: it is told to work where it cannot, and says so."""
    folder = make_run()
    (folder / "order.json").write_text(
        json.dumps(["rolegpt", "--role", "nobody at all", "--out", str(folder)])
    )
    async with opened() as hand:
        screen = await f5(hand)
        await hand.press("space")
        for _ in range(900):
            await hand.pilot.pause(0.05)
            if screen._ordering.worker and not screen._ordering.running and "nobody at all" in hand.screen:
                break
        assert 'No role is called "nobody at all"' in hand.screen
        await screen.settle()


async def test_a_run_begun_elsewhere_says_how_it_goes_on(opened) -> None:
    make_run()
    async with opened() as hand:
        await f5(hand)
        await hand.press("space")
        await hand.pilot.pause()
        assert "begun elsewhere" in hand.screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_hostile_text_stays_text(opened, size: tuple[int, int]) -> None:
    spec = importlib.util.spec_from_file_location(
        "hostile_texts_5", Path(__file__).with_name("test_hostile.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hostile, clean = module.HOSTILE.encode("utf-8", "replace").decode(), module.assert_clean
    evil = [
        Candidate(
            f"evil{n}", "dialogue", hostile, "en", hostile, (hostile,), ("accepted", "held", "rejected")[n],
            hostile if n else "", hostile, quote=hostile, rationale=hostile, turns=(hostile, hostile) if n else (),
        )
        for n in range(3)
    ]  # fmt: skip
    folder = make_run("evil [red]\u202e", evil)
    (folder / "recipe.json").write_text(json.dumps({"format": 1, "steps": {"rolegpt": {"role": hostile}}}))
    async with opened(size) as hand:
        await f5(hand)
        clean(hand.app)
        for key in ("down", "f", "f", "F", "F", "ctrl+b", "ctrl+b", "e"):
            await hand.press(key)
            await hand.pilot.pause()
            clean(hand.app)
        await hand.paste(hostile)
        await hand.pilot.pause()
        clean(hand.app)
        await hand.press("ctrl+s")
        await hand.pilot.pause()
        clean(hand.app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("state", ["empty", "run"])
def test_picture(make_app, snap_compare, hand_of, size: tuple[int, int], state: str) -> None:
    if state == "run":
        make_run()

    async def play(pilot) -> None:
        hand = hand_of(pilot)
        await hand.settle()
        await hand.press("f5")
        await hand.settle()  # the cursor of this screen, too
        if state == "run":
            await hand.press("x", "a", "down")
        await pilot.pause(0.2)

    assert snap_compare(make_app(), terminal_size=size, run_before=play)
