"""F4: choosing what is asked, watching answers arrive, stopping and going on, and comparing blind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pexpect
import pytest
from textual.widgets import OptionList

from rolekit.tui.bench_screen import BenchScreen
from rolekit.tui.bench_view import Arrived, RunState, page, span
from rolekit.tui.bench_wishes import Wanted
from rolekit.tui.blind_screen import BlindScreen

SMALL, LARGE = (80, 24), (120, 40)
BOTH = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
REPLIES = (
    "I walked out upon the wire, and the crowd held its breath.",
    "Never ask a tailor about the weather; ask his needle.",
    "A short answer.",
    "It was long ago, and the lamp was low, and I had my boots on.",
)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {
            "role": role,
            "question": f"{role.split()[0]}, what do you say of {topic}?",
            "generated": [f"I say that {topic} is what the wire teaches."],
            **({"type": "script_based"} if topic != "weather" else {}),
        }
        for role in ("Ropewalker Joe", "Mira the Tailor")
        for topic in ("courage", "weather", "bread")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    return path


@pytest.fixture
def app(make_app, rows):
    app = make_app(REPLIES, role=None)
    app._bench.wanted = Wanted(data=str(rows), per_role=0, name="first")
    return app


async def open_bench(hand):
    await hand.press("f4")
    await hand.settle()
    assert isinstance(hand.app.screen, BenchScreen)


async def start(hand):
    await hand.press("s")
    await hand.until(lambda: not hand.app._bench.busy)
    await hand.settle()


async def test_a_run_is_watched_and_kept(drive, app, home):
    async with drive(app, LARGE) as hand:
        await open_bench(hand)
        assert "Measure a model" in hand.screen
        assert "6 questions" in hand.screen
        await start(hand)
        assert "6 of 6 answered." in hand.screen
        assert "SPE" in hand.screen
        assert "CUS" in hand.screen
        assert "Mira the Tailor" in hand.screen
        answers = (home / "runs" / "first" / "answers.jsonl").read_text().splitlines()
        assert len(answers) == 6
        assert (home / "runs" / "first" / "DONE").is_file()


async def test_stopping_is_safe_and_the_run_goes_on(drive, make_app, rows, steady, home):
    backend = steady(REPLIES, pause_after=3)
    app = make_app(backend=backend, role=None)
    app._bench.wanted = Wanted(data=str(rows), per_role=0, name="first")
    async with drive(app) as hand:
        await open_bench(hand)
        await hand.press("s")
        await hand.until(lambda: len(backend.requests) == 1)
        await hand.press("s")
        backend.released.set()
        await hand.until(lambda: not hand.app._bench.busy)
        await hand.settle()
        assert "Stopped at 1 of 6" in hand.screen
        await start(hand)
        assert "6 of 6 answered." in hand.screen
    assert len((home / "runs" / "first" / "answers.jsonl").read_text().splitlines()) == 6


async def test_leaving_in_the_middle_keeps_what_came(drive, make_app, rows, steady, home):
    backend = steady(REPLIES, pause_after=3)
    app = make_app(backend=backend, role=None)
    app._bench.wanted = Wanted(data=str(rows), per_role=0, name="first")
    async with drive(app) as hand:
        await open_bench(hand)
        await hand.press("s")
        await hand.until(lambda: len(backend.requests) == 1)
        await hand.press("ctrl+q")
        async with asyncio.timeout(10):
            while app.is_running:
                await asyncio.sleep(0.01)
    assert backend.closed


async def test_lines_are_changed_with_enter(drive, app):
    async with drive(app) as hand:
        await open_bench(hand)
        wishes = app.screen.query_one("#wishes", OptionList)
        wishes.highlighted = [option.id for option in wishes.options].index("prompting")
        await hand.press("enter")
        await hand.settle()
        assert app._bench.wanted.prompting == "few-shot-prompt"
        assert "no role of this run" in hand.screen.lower()
        wishes.highlighted = [option.id for option in wishes.options].index("per_role")
        await hand.press("enter")
        await hand.pilot.pause()
        await hand.press("backspace", "1", "enter")
        await hand.until(lambda: app._bench.wanted.per_role == 1)
        await hand.press("enter")
        await hand.pilot.pause()
        await hand.press("backspace", "x", "enter")
        await hand.settle()
        assert app._bench.wanted.per_role == 1


async def test_what_goes_wrong_is_said_once(drive, make_app, home):
    app = make_app(REPLIES, role=None)
    app._bench.wanted = Wanted(data=str(home / "nowhere"))
    async with drive(app, LARGE) as hand:
        await open_bench(hand)
        await start(hand)
        assert "There is no file or folder" in hand.screen
        await hand.press("b")
        await hand.settle()
        assert "A comparison needs two runs" in hand.screen


async def test_blind_comparison(drive, make_app, rows, app, home):
    async with drive(app) as hand:
        await open_bench(hand)
        await start(hand)
    other = make_app(("Something else entirely.",), role=None)
    other._bench.wanted = Wanted(data=str(rows), per_role=0, name="second")
    async with drive(other, LARGE) as hand:
        await open_bench(hand)
        await start(hand)
        await hand.press("b")
        await hand.pilot.pause()
        await hand.press("enter")
        await hand.until(lambda: isinstance(other.screen, BlindScreen))
        await hand.settle()
        assert "0 of 6" in hand.screen
        assert "first" not in hand.screen.split("\n", 2)[2].replace("1 first", "")
        session = other.screen._session
        for _ in range(6):
            blind = session.current
            await hand.press("2" if blind.texts[0] == "Something else entirely." else "1")
        await hand.settle()
        assert "All decided." in hand.screen
        assert "preferred" in hand.screen
        await hand.press("u")
        await hand.settle()
        assert "5 of 6" in hand.screen
        await hand.press("escape")
        await hand.settle()
        assert isinstance(other.screen, BenchScreen)
    kept = (home / "runs" / "second" / "blind-first.jsonl").read_text().splitlines()
    assert len(kept) == 7
    assert {json.loads(line)["points"] for line in kept[:6]} == {0.0}


async def test_a_model_judges_two_runs(drive, make_app, rows, api, home):
    api.respond = lambda body: '{"reason": "so", "winner": "1"}'
    for name, reply in (("first", "One thing."), ("second", "Another.")):
        app = make_app((reply,), role=None)
        app._bench.wanted = Wanted(data=str(rows), per_role=0, name=name)
        async with drive(app, LARGE) as hand:
            await open_bench(hand)
            await start(hand)
            if name == "second":
                await hand.press("j")
                await hand.pilot.pause()
                await hand.press("enter")
                await hand.pilot.pause()
                hand.app.screen.query_one("Input").value = api.ref
                await hand.press("enter")
                await hand.pilot.pause()
                await hand.press("enter")
                await hand.until(lambda: "flipped with the order" in hand.screen)
                assert "flipped with the order 100%" in hand.screen
    assert len(api.seen) == 12
    assert (home / "runs" / "second" / "judge" / "verdicts.jsonl").is_file()


async def test_a_server_answers_and_is_paid_once(drive, make_app, rows, api, home):
    from rolekit.endpoints.backend import open_endpoint

    for _ in range(2):
        app = make_app(REPLIES, role=None, open_other=open_endpoint)
        app._bench.wanted = Wanted(data=str(rows), model=api.ref, per_role=0, name="served")
        async with drive(app, LARGE) as hand:
            await open_bench(hand)
            await start(hand)
            assert "6 of 6 answered." in hand.screen
    assert len(api.seen) == 6


@pytest.mark.model
async def test_an_adapter_answers_and_the_chat_keeps_its_voice(
    drive, make_app, rows, home, starter_path, tmp_path
):
    gguf, numpy = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    from rolekit.engine.backend import open_local

    writer = gguf.GGUFWriter(tmp_path / "voice.gguf", "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    for half, shape in (("a", (2, 576)), ("b", (576, 2))):
        name = f"blk.0.attn_output.weight.lora_{half}"
        writer.add_tensor(name, numpy.full(shape, 0.1, dtype=numpy.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()

    def opened(ref):
        return open_local(Path(ref), context_tokens=512, threads=1, kv_cache_mib=0)

    backend = opened(starter_path)
    app = make_app(backend=backend, role=None, open_other=opened)
    adapter = f"{tmp_path / 'voice.gguf'}:0.5"
    app._bench.wanted = Wanted(data=str(rows), adapter=adapter, per_role=1, max_tokens=2, name="adapted")
    async with drive(app, LARGE) as hand:
        await open_bench(hand)
        assert "voice.gguf:0.5" in hand.screen
        await start(hand)
        assert "2 of 2 answered." in hand.screen
        assert backend.adapters == ()
    recipe = json.loads((home / "runs" / "adapted" / "recipe.json").read_text())
    assert [(one["name"], one["scale"]) for one in recipe["adapters"]] == [("voice.gguf", 0.5)]


async def test_an_adapter_needs_a_model_in_this_process(drive, make_app, rows, api, tmp_path):
    from rolekit.endpoints.backend import open_endpoint

    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    app = make_app(REPLIES, role=None, open_other=open_endpoint)
    app._bench.wanted = Wanted(data=str(rows), model=api.ref, adapter=str(tmp_path / "a.gguf"))
    async with drive(app, LARGE) as hand:
        await open_bench(hand)
        await start(hand)
        assert "Adapters work on models in this process" in hand.screen
        app._bench.wanted = Wanted(data=str(rows), model=api.ref, adapter=str(tmp_path / "b.gguf"))
        await start(hand)
        assert "There is no adapter at" in hand.screen
    assert not api.seen


async def test_a_server_elsewhere_needs_a_cap_and_a_price(drive, make_app, rows):
    from rolekit.endpoints.backend import open_endpoint

    app = make_app(REPLIES, role=None, open_other=open_endpoint)
    app._bench.wanted = Wanted(data=str(rows), model="openai:m@https://example.org/v1", per_role=0)
    async with drive(app, LARGE) as hand:
        await open_bench(hand)
        await hand.press("s")
        await hand.until(lambda: "US dollars" in hand.screen)
        await hand.press("escape")
        await hand.until(lambda: not app._bench.busy)
        await hand.press("s")
        await hand.until(lambda: "US dollars" in hand.screen)
        await hand.press("enter")
        await hand.until(lambda: "price of m at example.org is not known" in hand.screen)


async def test_hostile_answers_stay_text(drive, make_app, rows):
    app = make_app(("[red]\x1b[2J\x1b]0;owned\x07 \u202eevil",), role=None)
    app._bench.wanted = Wanted(data=str(rows), per_role=0, name="first")
    async with drive(app, LARGE) as hand:
        await open_bench(hand)
        await start(hand)
        assert "\x1b" not in hand.screen
        assert "[red]" in hand.screen


def test_spans_and_pages_of_a_run_in_the_middle():
    assert [span(s) for s in (40, 360, 7800)] == ["40 s", "6 min", "2 h 10 min"]
    from rolekit.rolebench.records import Record

    record = Record("Ada", " Who?", ("x",), "general")
    state = RunState(3, 12, 40.0, latest=(Arrived(record, "", None),))
    text = page(state, 60).plain
    assert "3 of 12 · 40 s left" in text
    assert "(empty)" in text


@BOTH
def test_the_start_teaches(app, snap_compare, hand_of, size, monkeypatch):
    monkeypatch.setenv("ROLEKIT_HOME", "/home/ada/rolekit")  # a path that is the same everywhere

    async def scene(pilot):
        hand = hand_of(pilot)
        app._bench.wanted = Wanted(data="", adapter="/home/ada/lora/sherlock.gguf:0.8", name="first")
        await open_bench(hand)

    assert snap_compare(app, run_before=scene, terminal_size=size)


@BOTH
def test_a_run_that_is_done(app, snap_compare, hand_of, size):
    async def scene(pilot):
        hand = hand_of(pilot)
        await open_bench(hand)
        await start(hand)

    assert snap_compare(app, run_before=scene, terminal_size=size)


@BOTH
def test_two_answers(make_app, rows, snap_compare, hand_of, size, tmp_path):
    from rolekit.rolebench.pairwise import Comparison
    from rolekit.rolebench.preferences import BlindSession
    from rolekit.rolebench.records import Record

    app = make_app(REPLIES, role=None)
    record = Record(
        "Ropewalker Joe", "Joe, were you ever afraid of the fall, up there alone?", ("x",), "general"
    )
    found = [Comparison(record, "a", "b", REPLIES[0] * 3, REPLIES[3] * 2)]

    async def scene(pilot):
        hand = hand_of(pilot)
        app.push_screen(BlindScreen(BlindSession(tmp_path / "ab.jsonl", found)))
        await hand.settle()

    assert snap_compare(app, run_before=scene, terminal_size=size)


@pytest.mark.terminal
@pytest.mark.model
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_the_bench_opens_in_a_real_terminal(home, starter_path):
    command = f"{sys.executable} -m rolekit"
    child = pexpect.spawn(command, dimensions=(24, 80), timeout=60, encoding="utf-8")
    child.expect("who would you like")
    child.send("\x1bOS")  # F4
    child.expect("Measure a model")
    child.send("\x11")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
