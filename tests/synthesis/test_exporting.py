"""Exports: what every other tool of rolekit reads, the same every time, with its card."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rolekit.cli import app
from rolekit.commands.synth_progress import line_of
from rolekit.endpoints.journal import Journal
from rolekit.endpoints.prices import price_file
from rolekit.errors import RolekitError
from rolekit.rolebench.records import read_records
from rolekit.rolebench.sources import read_instructions
from rolekit.roles.writing import to_toml
from rolekit.synthesis.audit import decide
from rolekit.synthesis.estimating import estimate
from rolekit.synthesis.exporting import export, split_of
from rolekit.synthesis.funnel import Funnel
from rolekit.synthesis.generator import open_generator
from rolekit.synthesis.recipe import ContextInstruct, Dialogues, Recipe, RoleGpt
from rolekit.synthesis.rows import Candidate, append_rows, read_rows, row_id
from rolekit.synthesis.running import run
from rolekit.synthesis.segments import write_segments
from rolekit.train.recipe import Source
from rolekit.train.sources import read_source


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, api_module, author_module):
    """A run of all three steps."""
    server = api_module.ApiServer(respond=author_module.Author())
    server.respond.faults = {
        number: {"question": "Do you lend your boat to anybody who asks?"} for number in (2, 13)
    }
    server.start()
    folder = tmp_path_factory.mktemp("whole") / "run"
    folder.mkdir()
    write_segments(folder / "segments.jsonl", author_module.SEGMENTS)
    instructions = author_module.write_instructions(folder.parent / "instructions.jsonl")

    async def everything():
        generator = open_generator(folder, server.ref)
        tasks = (
            RoleGpt(instructions=str(instructions)),
            ContextInstruct(80, per_call=8, not_knowing=8, refusal=4),
            Dialogues(3),
        )
        for task in tasks:
            assert (await run(Recipe(folder, author_module.MIRA, task), generator)).finished
        await generator.close()

    asyncio.run(everything())
    server.stop()
    return folder


@pytest.fixture
def a_run(whole_run, tmp_path):
    """A copy that may be changed."""
    return Path(shutil.copytree(whole_run, tmp_path / "copy"))


def test_rolebench_s_own_tools_read_an_export(a_run, tmp_path):
    made = export(a_run, test_share=0.5)
    place = made.folder / "rolebench-eng" / "instruction-generalization"
    assert {str(path.relative_to(place)) for path in place.rglob("*.jsonl")} == {
        f"{kind}/{split}.jsonl" for kind in ("general", "role_specific") for split in ("train", "test")
    } | {"general/rolegpt_baseline.jsonl"}
    reading = read_records(made.folder)
    assert not reading.faults
    kept = [row for row in read_rows(a_run) if row.verdict == "accepted"]
    asked = {row.question for row in kept if row.step in ("rolegpt", "script-agnostic", "script-based")}
    assert {record.question for record in reading.records} == asked
    kinds = {record.kind for record in reading.records}
    assert kinds == {"general", "role_specific"}
    assert {kind for record in reading.records for kind in record.types} == {
        "script_agnostic",
        "script_based",
    }
    general = next(record for record in reading.records if record.raw_references)
    assert general.raw_references == ("Water, bread, a coat.",)
    assert len(general.references) > 1
    result = CliRunner().invoke(app, ["data", "check", str(made.folder), "--json"])
    assert result.exit_code == 0, result.output


def test_training_reads_an_export(a_run):
    made = export(a_run, test_share=0.3)
    chat = read_source(Source(path=str(made.chat_file)))
    assert not chat.faults
    assert {dialogue.kind for dialogue in chat.dialogues} == {
        "role_specific",
        "general",
        "unknown",
        "refusal",
    }
    assert max(len(dialogue.turns) for dialogue in chat.dialogues) >= 8
    assert {dialogue.role for dialogue in chat.dialogues} == {"Mira Holt"}
    assert all(dialogue.system.startswith("You are Mira Holt") for dialogue in chat.dialogues)
    based = [line for line in map(json.loads, made.chat_file.read_text().splitlines()) if "segment" in line]
    assert based
    assert all(line["quote"] and line["segment"].startswith("story-") for line in based)
    layout = read_source(Source(path=str(made.folder / "rolebench-eng")), "all")
    assert not layout.faults
    assert (
        len(read_instructions(made.folder / "chat-test.jsonl").instructions) == made.rows["chat-test.jsonl"]
    )


def test_no_question_is_on_both_sides(a_run):
    made = export(a_run, test_share=0.3)
    sides = {name: set() for name in ("train", "test")}
    for file in made.folder.rglob("*.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            question = row.get("question") or row["messages"][1]["content"]
            if file.stem != "rolegpt_baseline":
                sides["test" if "test" in file.stem else "train"].add(question)
    assert sides["train"]
    assert sides["test"]
    assert not sides["train"] & sides["test"]
    assert all(split_of(question, 0.3) == "test" for question in sides["test"])


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_is_the_same_every_time_and_follows_the_audit(a_run, tmp_path):
    first = files_of(export(a_run).folder)
    assert files_of(export(a_run, tmp_path / "other").folder) == first
    rows = read_rows(a_run)
    out = next(row for row in rows if row.verdict == "accepted" and row.step == "script-agnostic")
    back = next(row for row in rows if row.reason == "duplicate")
    decide(a_run, out.id, "reject")
    decide(a_run, back.id, "edit", "Ask the tide, not me.")
    made = export(a_run)
    chat = made.chat_file.read_text() + (made.folder / "chat-test.jsonl").read_text()
    assert out.id not in chat
    assert "Ask the tide, not me." in chat
    card = (made.folder / "data_card.md").read_text()
    assert "| only rules accept | 1 |" in card
    assert "| only person accepts | 1 |" in card


def test_the_card_says_who_with_what_and_for_how_much(a_run):
    export(a_run)
    card = (a_run / "export" / "data_card.md").read_text()
    for text in (
        "| step | accepted | rejected | held |", "openai:gpt-test@http://127.0.0.1", "synthesis 1", "prompts_sha256",
        "| paid, US dollars | 0.0000 |", "duplicate", "chat.jsonl", "Nobody has looked at the rows yet",
        "its file does not say where it comes from", "provider's terms", "- Text: story.txt",
    ):  # fmt: skip
        assert text in card


def test_a_card_never_calls_an_unknown_price_nothing(a_run):
    recipe = a_run / "recipe.json"
    recipe.write_text(re.sub(r"http://127\.0\.0\.1:\d+", "https://example.org", recipe.read_text()))
    export(a_run)
    assert "| paid, US dollars | not known" in (a_run / "export" / "data_card.md").read_text()


def test_a_run_without_an_accepted_row_is_not_exported(tmp_path):
    with pytest.raises(RolekitError, match="No row of"):
        export(tmp_path)
    assert not (tmp_path / "export").exists()


def test_other_languages_have_their_own_layout(a_run):
    (a_run / "rows.jsonl").unlink()
    id_ = row_id("script-agnostic", "Mira Holt", "Was nun?")
    append_rows(
        a_run, [Candidate(id_, "script-agnostic", "Mira Holt", "de", "Was nun?", ("Warten.",), "accepted")]
    )
    export(a_run)
    (record,) = read_records(a_run / "export").records
    assert (record.language, record.kind) == ("de", "role_specific")
    assert (a_run / "export" / "rolebench-de" / "role_specific").is_dir()


def invoke(*words):
    return CliRunner().invoke(app, ["synth", *map(str, words)])


@pytest.fixture
def role_file(tmp_path, author_module):
    path = tmp_path / "mira.toml"
    path.write_text(to_toml(author_module.MIRA))
    return path


def test_the_commands(api, author, role_file, run_folder, instructions):
    common = ("--role", role_file, "--out", run_folder, "--model", api.ref)
    dry = invoke("rolegpt", *common, "--instructions", instructions, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.startswith("24 requests: about ")
    assert not api.seen
    result = invoke("rolegpt", *common, "--instructions", instructions, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["accepted"], summary["requests"], summary["finished"]) == (4, 24, True)
    assert "24 requests" in result.stderr
    assert Path(summary["export"], "data_card.md").is_file()
    again = invoke("rolegpt", *common, "--instructions", instructions)
    assert "accepted   4" in again.stdout
    assert len(api.seen) == 24
    context = ("--candidates", 16, "--not-knowing", 0, "--refusal", 0)
    stopped = invoke("context-instruct", *common, *context, "--max-requests", 25)
    assert isinstance(stopped.exception, RolekitError)
    assert len(api.seen) == 25
    dry = invoke("context-instruct", *common, *context, "--dry-run", "--json")
    assert json.loads(dry.stdout)["requests"] == json.loads(dry.stdout)["kept"] == 1
    assert invoke("context-instruct", *common, *context).exit_code == 0
    assert invoke("dialogues", *common, "--dialogues", 1, "--turns", "4").exit_code == 0
    assert invoke("dialogues", *common, "--turns", "9-3").exit_code == 2
    assert invoke("export", run_folder, "--json").exit_code == 0


def test_the_key_is_nowhere(api, api_module, author, role_file, run_folder, monkeypatch, caplog):
    key = "sk-test-0123456789abcdef"
    monkeypatch.setenv("ROLEKIT_API_KEY", key)
    api.play([api_module.error(500, f"Cannot serve {key}."), api_module.Step("cut")])
    common = ("--role", role_file, "--out", run_folder, "--model", api.ref)
    made = invoke("dialogues", *common, "--dialogues", 1, "--turns", 4)
    assert made.exit_code == 0, made.output
    assert api.seen[0].headers["authorization"] == f"Bearer {key}"
    api.play([api_module.error(401, f"Wrong key {key}.")] * 8)
    refused = invoke("dialogues", *common, "--dialogues", 2, "--turns", 4)
    assert "rejected the key" in str(refused.exception)
    texts = [made.output, refused.output, str(refused.exception), caplog.text]
    files = [path.read_bytes() for path in run_folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [text for text in texts if key in text]
    assert not [content for content in files if key.encode() in content]


def test_an_unknown_price_with_a_cap_is_refused(role_file, run_folder):
    ref = "openai:nobody-knows@https://example.org/v1"
    result = invoke("dialogues", "--role", role_file, "--out", run_folder, "--model", ref, "--max-usd", "1")
    assert "price of nobody-knows" in str(result.exception)


def test_the_estimate_is_near_what_it_takes(api, author, author_module, run_folder, home):
    home.mkdir()
    price_file().write_text('["gpt-test"]\ninput = 1.0\noutput = 10.0\n')

    async def measured(task):
        generator = open_generator(run_folder, api.ref, max_usd=100.0)
        recipe = Recipe(run_folder, author_module.MIRA, task)
        before = generator.journal.spending()
        about = estimate(recipe, generator)
        await run(recipe, generator)
        spent = generator.journal.spending()
        await generator.close()
        return about, spent.requests - before.requests, spent.usd - before.usd

    for task in (ContextInstruct(48, per_call=6, not_knowing=6, refusal=2), Dialogues(2)):
        about, requests, usd = asyncio.run(measured(task))
        assert about.requests == requests
        assert usd < about.high_usd
        assert 0 < about.low_usd < about.high_usd


def test_progress_in_one_line():
    funnel = Funnel(
        "rolegpt", accepted=1200, held=4, rejected={"duplicate": 8, "repeats": 2, "malformed": 1, "refused": 1, "audit": 1},
        requests=90, tokens=120_000, usd=0.345, cap_usd=5.0, eta_seconds=35.4,
    )  # fmt: skip
    assert line_of(funnel).replace("\u202f", " ") == (
        "1 200 accepted, 4 held, 13 out (duplicate 8, repeats 2, malformed 1, refused 1, …), 90 requests, 120 000 tokens,"
        " $0.34 of $5.00, 35 s left"
    )
    assert line_of(Funnel("rolegpt", eta_seconds=7300)).endswith("2 h 2 min left")


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_ctrl_c_waits_for_what_is_under_way(api, author, role_file, run_folder):
    api.seconds = 0.1
    words = [
        "context-instruct",
        "--candidates",
        "60",
        "--per-call",
        "2",
        "--not-knowing",
        "0",
        "--refusal",
        "0",
    ]
    words += ["--role", str(role_file), "--out", str(run_folder), "--model", api.ref, "--concurrency", "3"]
    command = [sys.executable, "-m", "rolekit", "synth", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        deadline = time.monotonic() + 60
        while len(api.seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        out, said = program.communicate(timeout=60)
    assert program.returncode == 130, said
    assert "waiting for what is under way" in said
    assert "The same command goes on" in said
    sent = len(api.seen)
    assert 4 <= sent < 30
    with Journal(run_folder / "journal.db") as journal:
        spent = journal.spending()
        assert (spent.answered, spent.lost_usd, journal.failures()) == (sent, 0.0, {})
    assert f"candidates {2 * sent}" in out
    api.seconds = 0.0
    assert invoke(*words).exit_code == 0
    assert len(api.seen) == 30
    assert max(author.written.values()) == 1
