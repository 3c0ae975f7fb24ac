"""F6: runs are shown as their folders grow, started, stopped and gone on with; hostile text stays text."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest

from rolekit.paths import home
from rolekit.tui.plot import Canvas, LossPlot, Series
from rolekit.tui.run_folder import RunFolder, known_runs
from rolekit.tui.train_screen import TrainScreen

RECIPE = """base = "starter"
roles = ["Sherlock Holmes"]

[[data.sources]]
path = "/home/you/holmes.jsonl"

[optimiser]
lr = 0.0005

[run]
epochs = 3.0
sample_question = "Who are you?"
"""
SAMPLES = {
    10: "I am a large language model, trained to help with many tasks.",
    60: "I am Sherlock Holmes, and I live in Baker Street.",
    110: "Sherlock Holmes. You know my methods; apply them, and you need hardly ask.",
}


def make_run(name: str = "sherlock", steps: int = 112, total: int = 160, sample: str = "") -> Path:
    """A run folder as `rolekit train` leaves it."""
    folder = home() / "runs" / name
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE if not sample else f"# {sample}\n{RECIPE}", encoding="utf-8")
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = 1.9 + 1.3 * math.exp(-step / 30) + 0.12 * math.sin(step * 1.7)
        lines.append({"step": step, "loss": loss, "lr": 1e-4, "tokens": 1900, "supervised_tokens": 700, "seconds": 3.5,
                      "tokens_per_second": 543.0, "memory_bytes": 1 << 30, "total_steps": total,
                      "peak_fraction": 0.43})  # fmt: skip
        if step % 10 == 0:
            lines.append({"step": step, "eval_loss": 2.1 + 1.0 * math.exp(-step / 35), "eval_seconds": 2.0})
        if step in SAMPLES:
            lines.append({"step": step, "sample": sample or SAMPLES[step]})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_a_run_is_read_as_it_grows(home: Path) -> None:
    folder = make_run(steps=10)
    run = RunFolder(folder)
    assert run.refresh()
    assert not run.refresh()
    file = folder / "metrics.jsonl"
    with file.open("a") as stream:
        stream.write('{"step": 11, "loss": 2.0, "seconds": 3.5, "total_steps": 160}\n{"step": 12, "lo')
    assert run.refresh()
    assert [*run.steps][-1] == 11
    with file.open("a") as stream:
        stream.write('ss": 1.5}\n{"step": 11, "eval_loss": 1.75}\nnot json\n')
    assert run.refresh()
    assert run.points("eval_loss")[-1] == (11, 1.75)
    assert run.points("loss")[-1] == (12, 1.5)
    file.write_text('{"step": 1, "loss": 9.0}\n')  # begun anew
    assert run.refresh()
    assert [*run.steps] == [1]
    assert [known.path for known in known_runs()] == [folder]


def test_a_plot_puts_dots_where_they_belong() -> None:
    canvas = Canvas(2, 1)
    canvas.line((0, 0), (3, 3), "a")
    assert canvas.row(0).plain == "\u2811\u2884"
    canvas.dot(99, 99, "a")
    assert Canvas(1, 1).row(0).plain == " "


async def test_a_run_is_shown_with_its_figures(make_app, drive) -> None:
    make_run()
    async with drive(make_app(), size=(120, 40)) as hand:
        await hand.settle()
        await hand.press("f6")
        await hand.pilot.pause()
        assert isinstance(hand.app.screen, TrainScreen)
        for words in ("sherlock · stopped", "step 112 of 160", "held-out 2.143 (best 2.143 at 110)", "43 % of peak",
                      "after step 10", "You know my methods", 'roles = ["Sherlock Holmes"]', "left"):  # fmt: skip
            assert words in hand.screen, words
        plot = hand.app.screen.query_one(LossPlot)
        assert len(plot.series) == 2
        assert isinstance(plot.series[1], Series)
        with (home() / "runs/sherlock/metrics.jsonl").open("a") as stream:
            stream.write('{"step": 113, "loss": 1.0, "total_steps": 160, "seconds": 1}\n')
        await hand.until(lambda: "step 113 of 160" in hand.screen)


async def test_without_runs_it_says_how_to_begin(make_app, drive) -> None:
    async with drive(make_app()) as hand:
        await hand.settle()
        await hand.press("f6")
        await hand.pilot.pause()
        assert "Nothing has been trained yet." in hand.screen
        await hand.press("enter")
        await hand.pilot.pause()
        assert "Write what to train" in hand.screen
        await hand.press(*"--role 'x", "enter")
        await hand.pilot.pause()
        assert "A quote is opened and never closed." in hand.screen


async def test_what_goes_wrong_is_said_where_it_was_ordered(make_app, drive) -> None:
    async with drive(make_app(), size=(120, 40)) as hand:
        await hand.settle()
        await hand.press("f6")
        await hand.press(*"no-such-recipe.toml", "enter")
        for _ in range(600):
            await hand.pilot.pause(0.05)
            if "cannot be read" in hand.screen:
                break
        assert "The recipe no-such-recipe.toml cannot be read (No such file or directory)" in hand.screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_hostile_text_stays_text(make_app, drive, size: tuple[int, int]) -> None:
    spec = importlib.util.spec_from_file_location(
        "hostile_texts", Path(__file__).with_name("test_hostile.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hostile, assert_clean = module.HOSTILE.encode("utf-8", "replace").decode(), module.assert_clean
    make_run("evil [red]\x1b[2J".replace("\x1b", "\u202e"), sample=hostile)
    async with drive(make_app(), size=size) as hand:
        await hand.settle()
        await hand.press("f6")
        await hand.pilot.pause()
        assert_clean(hand.app)
        await hand.press("ctrl+b")
        await hand.pilot.pause()
        assert_clean(hand.app)
        await hand.paste(hostile)
        assert_clean(hand.app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("scene", ["run", "empty"])
def test_picture(make_app, snap_compare, hand_of, size: tuple[int, int], scene: str) -> None:
    if scene == "run":
        make_run("sherlock")
    app = make_app()

    async def play(pilot) -> None:
        hand = hand_of(pilot)
        await hand.settle()
        await hand.press("f6")
        await hand.settle()  # the cursor of this screen, too
        await pilot.pause(0.2)

    assert snap_compare(app, run_before=play, terminal_size=size)
