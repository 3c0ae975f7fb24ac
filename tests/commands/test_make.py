"""`rolekit make`: a story in, a measured character out, on the real starter model with no network; killed and gone on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rolekit.commands.make_log import LOG, Log
from rolekit.commands.make_plan import STEPS, Making, Wishes
from rolekit.commands.make_steps import Step, walk
from rolekit.errors import RolekitError
from rolekit.rolebench.rows import Row, read_rows

STORY = Path(__file__).parents[1] / "synthesis" / "story.txt"
ROLE = "Odessa Pike"


def called(*arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, the last object on stdout, and what stderr says."""
    from rolekit.commands.make import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads((result.stdout.splitlines() or ["{}"])[-1]), result.stderr


def order(folder: Path, *more: object) -> list[object]:
    return ["--role", ROLE, "--text", STORY, "--out", folder, "--small", "--json",
            "--set", "lora.r=4", "--set", "lora.layers_to_transform=[28, 29]", "--set", "run.sample_question=''",
            "--set", "data.eval_fraction=0", *more]  # fmt: skip


def refuse(*_: object) -> None:
    raise AssertionError("something wanted the network")


@pytest.fixture(scope="module")
def made(
    starter_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, dict[str, Any], str]:
    """A character that was made: the home, the folder, what `--json` said, what stderr said."""
    pytest.importorskip("torch")
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROLEKIT_HOME", str(place / "home"))
        patch.setattr(socket.socket, "connect", refuse)  # no connection leaves this process
        patch.setattr(socket, "getaddrinfo", refuse)
        code, row, said = called(*order(place / "run"))
    assert code == 0, said
    return place / "home", place / "run", row, said


@pytest.mark.model
def test_a_story_becomes_a_measured_character(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    home, folder, row, said = made
    assert (row["status"], row["role"], row["run"]) == ("finished", ROLE, str(folder))
    assert [line.split(" ")[2].rstrip(":") for line in said.splitlines() if "/5 " in line] == list(STEPS)
    assert row["role_file"] == str(home / "roles" / "odessa-pike.toml")
    assert Path(row["role_file"]).is_file()
    assert Path(row["adapter"]).read_bytes()[:4] == b"GGUF"
    assert row["next"] == [f'next: rolekit chat --role "{ROLE}" --adapter "{row["adapter"]}"']
    assert row["scores"]
    for figures in row["scores"].values():
        assert 0 <= figures["before"] <= 1
        assert 0 <= figures["after"] <= 1
        assert figures["ci95"][0] <= figures["difference"] <= figures["ci95"][1]
    assert set(row["seconds"]) == set(STEPS)
    assert row["usd"] == 0


@pytest.mark.model
def test_what_is_asked_was_never_trained_on(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    _, folder, row, _ = made
    rows = [one.value for one in read_rows(folder / "synthesis/export/chat.jsonl") if isinstance(one, Row)]
    trained = {turn["content"] for one in rows for turn in one["messages"] if turn["role"] == "user"}
    for name in ("before", "after"):
        found = read_rows(folder / "bench" / name / "answers.jsonl")
        asked = {one.value["question"] for one in found if isinstance(one, Row)}
        assert asked
        assert not asked & trained
    assert len(rows) >= row["rows"] >= 1


@pytest.mark.model
def test_the_page_holds_everything_and_loads_nothing(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    _, folder, row, _ = made
    page = Path(row["page"]).read_text(encoding="utf-8")
    for words in (ROLE, "<b>before</b>", "<b>after</b>", "95 % interval", "in all", "odessa-pike.gguf", "rolekit chat --role",
                  "default-src 'none'", "curve.html"):  # fmt: skip
        assert words in page, words
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    results = Log(folder).of("bench").result
    assert results
    assert len(results["samples"]) >= 1


@pytest.mark.model
def test_the_same_command_again_does_nothing(
    made: tuple[Path, Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder, row, _ = made
    monkeypatch.setenv("ROLEKIT_HOME", str(home))
    before = (folder / LOG).read_bytes()
    code, again, said = called(*order(folder))
    assert (code, again) == (0, row)
    assert said.count(": done") == len(STEPS)
    assert (folder / LOG).read_bytes() == before


@pytest.mark.model
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_in_the_middle_of_a_step_it_goes_on(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    """The real program, killed while it asks; the same command, and the answers are those of the first run."""
    home, folder, row, _ = made
    answers = {name: (folder / "bench" / name / "answers.jsonl").read_text() for name in ("before", "after")}
    shutil.rmtree(folder / "bench")
    events = (folder / LOG).read_text().splitlines(keepends=True)
    (folder / LOG).write_text("".join(line for line in events if '"step": "bench"' not in line))
    command = [sys.executable, "-m", "rolekit", "make", *map(str, order(folder))]
    environment = {**os.environ, "ROLEKIT_HOME": str(home)}

    def run(until: Path | None) -> int:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            end = time.monotonic() + 120
            while until and process.poll() is None and time.monotonic() < end:
                if until.is_file() and until.stat().st_size:
                    os.kill(process.pid, signal.SIGKILL)
                    break
                time.sleep(0.02)
            process.communicate(timeout=120)
            return process.returncode

    assert run(folder / "bench/before/answers.jsonl") == -signal.SIGKILL
    assert Log(folder).of("bench").result is None
    assert run(None) == 0
    assert Log(folder).of("bench").attempts == 2
    for name, before in answers.items():
        kept = [
            {key: json.loads(line)[key] for key in ("question", "answer")}
            for text in (before, (folder / "bench" / name / "answers.jsonl").read_text())
            for line in text.splitlines()
        ]
        half = len(kept) // 2
        assert sorted(kept[:half], key=str) == sorted(kept[half:], key=str)
    assert Log(folder).of("bench").result["scores"] == row["scores"]


def steps_over(folder: Path, rests_on: dict[str, Any], done: list[str]) -> list[Step]:
    """Five steps that write a file each; the second one has a journal."""

    def step(name: str) -> Step:
        def carry_out(making: Making) -> dict[str, Any]:
            done.append(name)
            if rests_on.get("fails") == name:
                raise RolekitError("No.", "Try again.")
            (folder / name).mkdir(exist_ok=True)
            with (folder / name / "journal.db").open("a") as file:
                file.write("paid\n")
            (folder / name / "out").write_text(str(rests_on.get(name)))
            return {"made": [f"{name}/out"], "value": rests_on.get(name)}

        keeps = ("journal.db",) if name == "synthesis" else ()
        return Step(name, lambda making: {"the text": rests_on.get(name)}, carry_out, keeps)

    return [step(name) for name in STEPS]


@pytest.fixture
def workshop(tmp_path: Path) -> Any:
    """Walks through the steps over a folder; gives what was done, what was said, and the results."""
    folder = tmp_path / "run"
    folder.mkdir()

    def go(rests_on: dict[str, Any], first: str = "") -> tuple[list[str], list[str], dict[str, Any]]:
        making, done, said = Making(Wishes("Ada", (), folder)), list[str](), list[str]()
        walk(making, steps_over(folder, rests_on, done), Log(folder), first, said.append)
        return done, said, making.results

    go.folder = folder  # type: ignore[attr-defined]
    return go


def test_what_is_finished_is_skipped_and_a_failure_goes_on(workshop: Any) -> None:
    with pytest.raises(RolekitError, match="No"):
        workshop({"fails": "train"})
    done, said, results = workshop({})
    assert done == ["train", "convert", "bench"]
    assert said[:3] == ["1/5 profile: done", "2/5 synthesis: done", "3/5 train: goes on"]
    assert set(results) == set(STEPS)
    assert workshop({})[0] == []
    assert Log(workshop.folder).of("train").attempts == 2


def test_a_step_whose_input_changed_is_redone_and_keeps_what_was_paid_for(workshop: Any) -> None:
    workshop({})
    done, said, _ = workshop({"synthesis": 2})
    assert done == ["synthesis"]
    assert said[1] == "2/5 synthesis: the text changed; what was there is in aside/synthesis-1"
    assert (workshop.folder / "synthesis/journal.db").read_text() == "paid\npaid\n"
    assert (workshop.folder / "aside/synthesis-1/out").read_text() == "None"
    workshop({"synthesis": 3, "train": 1})
    assert (workshop.folder / "aside/synthesis-2/out").read_text() == "2"
    assert (workshop.folder / "train/journal.db").read_text() == "paid\n"


def test_from_a_step_everything_behind_it_is_done_again(workshop: Any) -> None:
    with pytest.raises(RolekitError, match="profile is not finished"):
        workshop({}, "train")
    workshop({})
    assert workshop({}, "convert")[0] == ["convert", "bench"]
    assert workshop({})[0] == []


def test_a_file_that_is_gone_is_made_again(workshop: Any) -> None:
    workshop({})
    (workshop.folder / "convert/out").unlink()
    done, said, _ = workshop({})
    assert done == ["convert"]
    assert "4/5 convert: convert/out is gone, so it is done again" in said


def test_a_torn_log_and_a_half_done_move_cost_nothing(workshop: Any) -> None:
    workshop({})
    with (workshop.folder / LOG).open("a") as file:
        file.write('{"event": "forgotten", "step": "tra')
    assert workshop({})[0] == []
    workshop({"bench": 1})
    kept = workshop.folder / "synthesis.part"
    kept.mkdir()
    (workshop.folder / "synthesis/journal.db").rename(kept / "journal.db")
    assert workshop({"bench": 1})[0] == []
    assert (workshop.folder / "synthesis/journal.db").read_text() == "paid\n"
    assert not kept.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--role", "Ada", "--text", "nowhere.txt"], "There is no file"),
        (["--role", " ", "--text", str(STORY)], "no name"),
        (["--role", "Ada", "--text", str(STORY), "--base", "nothing.gguf"], "nothing.gguf"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(RolekitError, match=sentence):
        called(*arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_step_is_a_matter_of_usage(tmp_path: Path) -> None:
    assert called("--role", "Ada", "--text", STORY, "--out", tmp_path, "--from", "lunch")[0] == 2


def test_a_dry_run_sends_and_writes_nothing(api: Any, tmp_path: Path) -> None:
    words = ["--role", ROLE, "--text", STORY, "--out", tmp_path / "run", "--model", api.ref, "--dry-run"]
    code, row, _ = called(*words, "--json")
    assert code == 0
    assert row["steps"] == dict.fromkeys(STEPS, "to do")
    estimate = row["estimate"]
    assert estimate["requests"] > 100
    assert estimate["answer_tokens"] < estimate["most_tokens"]
    assert (estimate["priced"], estimate["kept"], estimate["high_usd"]) == (True, 0, 0.0)
    assert api.seen == []
    assert not (tmp_path / "run").exists()


def test_one_cap_holds_for_profile_and_rows_and_what_was_answered_is_kept(api: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["--role", ROLE, "--text", STORY, "--out", folder, "--small", "--model", api.ref, "--json"]
    for cap in (2, 40):
        with pytest.raises(RolekitError, match=f"limit of {cap} requests"):
            called(*words, "--max-requests", cap)
        assert len(api.seen) == cap
    log = Log(folder)
    profile = log.of("profile")
    assert profile.attempts == 2
    assert profile.result is not None
    assert 2 < profile.result["requests"] < 40
    assert (log.of("synthesis").result, log.of("synthesis").attempts) == (None, 1)
