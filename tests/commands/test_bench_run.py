"""`rolekit bench run`: every answer is kept, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

PAGE = "<html><body>Welcome</body></html>"


def rolekit(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "rolekit", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, **more,
    )  # fmt: skip


@pytest.fixture
def data(tmp_path):
    rows = [
        {"role": role, "question": f"{role}, what of {what}?", "generated": ["Aye."]}
        for what in ("tea", "war", "love", "rain")
        for role in ("Captain Nemo", "Alice", "Somebody New")
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(folder):
    text = (folder / "answers.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_against_a_server(api, data, tmp_path):
    api.respond = lambda body: f"Captain Nemo: {body['messages'][-1]['content']} Ha!"
    out = tmp_path / "run"
    done = rolekit("bench", "run", "--data", data, "--model", api.ref, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["asked"], result["answered"], result["unanswered"]) == (12, 12, {})
    rows = answers(out)
    nemo = [row for row in rows if row["role"] == "Captain Nemo"]
    assert all(row["answer"].startswith("Captain Nemo, what of") for row in nemo)
    assert all(row["condition"] == "zero-shot · system" for row in rows)
    assert (out / "DONE").is_file()
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["model"] == "gpt-test"
    assert recipe["base_url"] == api.url
    assert "1 of 3 roles have no description" in done.stderr
    assert "±" in done.stderr
    again = rolekit("bench", "run", "--data", data, "--model", api.ref, "--out", out)
    assert again.returncode == 0
    assert len(api.seen) == 12
    score = rolekit("bench", "score", out, "--json")
    assert json.loads(score.stdout)["n"]["answered"] == 12


def test_roles_come_in_blocks(api, data, tmp_path):
    rolekit("bench", "run", "--data", data, "--model", api.ref, "--out", tmp_path / "run", "--concurrency", 1)
    systems = [seen.body["messages"][0]["content"] for seen in api.seen]
    assert sum(a != b for a, b in pairwise(systems)) == 2


def test_a_changed_recipe_is_refused_and_names_the_change(api, data, tmp_path):
    arguments = ("bench", "run", "--data", data, "--model", api.ref, "--out", tmp_path / "run")
    rolekit(*arguments)
    for change, name in (
        (("--max-tokens", 7), "max_tokens was 200 and is now 7"),
        (("--seed", 7), "seed was 0 and is now 7"),
        (("--per-role", 1), "records was 12 and is now 3"),
        (("--customise", "none"), "customise was system and is now none"),
    ):
        refused = rolekit(*arguments, *change)
        assert refused.returncode == 1
        assert name in refused.stderr
        assert "Traceback" not in refused.stderr
    assert len(api.seen) == 12


def test_folders_that_are_something_else(api, data, tmp_path):
    out = tmp_path / "run"
    arguments = ("bench", "run", "--data", data, "--model", api.ref, "--out", out)
    rolekit(*arguments)
    recipe = json.loads((out / "recipe.json").read_text())
    (out / "recipe.json").write_text(json.dumps({**recipe, "format": 99}))
    assert "run format 99" in rolekit(*arguments).stderr
    (out / "recipe.json").write_text("{")
    assert "cannot be read" in rolekit(*arguments).stderr
    assert "not empty, and no run" in rolekit(*arguments[:-1], tmp_path).stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--role", "Alise"), "The nearest are: Alice"),
        (("--kind", "role_specific"), "Nothing is left to ask"),
        (("--adapter", "x.gguf"), "runs on a server"),
        (("--prompting", "few-shot-prompt", "--role", "Somebody New"), "no example pairs"),
    ],
)
def test_what_cannot_be_asked(api, data, tmp_path, options, sentence):
    out = tmp_path / "run"
    done = rolekit("bench", "run", "--data", data, "--model", api.ref, "--out", out, *options)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "recipe.json").exists()


def test_usage_is_checked(data, tmp_path):
    done = rolekit("bench", "run", "--data", data, "--out", tmp_path / "run", "--prompting", "magic")
    assert done.returncode == 2


def test_a_server_that_answers_html(api, api_module, data, tmp_path):
    api.play([api_module.Step(), *[api_module.raw(PAGE, "text/html")] * 20])
    arguments = (
        "bench",
        "run",
        "--data",
        data,
        "--model",
        api.ref,
        "--out",
        tmp_path / "run",
        "--concurrency",
        1,
    )
    done = rolekit(*arguments)
    assert done.returncode == 1
    assert "web page (HTML)" in done.stderr
    assert "1 of 12 answers are in" in done.stderr
    api.script.clear()
    assert rolekit(*arguments).returncode == 0
    assert len(answers(tmp_path / "run")) == 12


def test_a_refused_question_is_counted_and_asked_again(api, api_module, data, tmp_path):
    api.play([api_module.error(400, "Filtered.", code="content_filter")])
    arguments = ("bench", "run", "--data", data, "--model", api.ref, "--out", tmp_path / "run", "--json")
    done = rolekit(*arguments)
    assert done.returncode == 1
    assert json.loads(done.stdout)["answered"] == 11
    assert "1 of 12 questions got no answer: 1 × 127.0.0.1 refused the request" in done.stderr
    assert not (tmp_path / "run" / "DONE").exists()
    assert json.loads(rolekit(*arguments).stdout)["answered"] == 12
    assert len(api.seen) == 13


def test_a_budget_needs_a_price_and_holds(api, data, home, tmp_path):
    home.mkdir(exist_ok=True)
    (home / "prices.toml").write_text('["gpt-test"]\ninput = 1000.0\noutput = 1000.0\n')
    arguments = (
        "bench",
        "run",
        "--data",
        data,
        "--model",
        api.ref,
        "--out",
        tmp_path / "run",
        "--max-tokens",
        9,
    )
    stopped = rolekit(*arguments, "--max-usd", 3)
    assert stopped.returncode == 1
    assert "budget of $3.00 is used up" in stopped.stderr
    assert 0 < len(api.seen) < 12
    assert rolekit(*arguments, "--max-usd", 3000).returncode == 0
    assert len(api.seen) == 12
    refused = rolekit(
        *arguments[:5], "openai:x@https://example.org/v1", "--out", tmp_path / "other", "--max-usd", 3
    )
    assert "price of x at example.org is not known" in refused.stderr


def test_no_key_is_written_anywhere(api, data, tmp_path):
    environment = {**os.environ, "ROLEKIT_API_KEY": "rk-very-secret"}
    done = rolekit(
        "bench", "run", "--data", data, "--model", api.ref, "--out", tmp_path / "run", env=environment
    )
    assert done.returncode == 0
    assert api.seen[0].headers["authorization"] == "Bearer rk-very-secret"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"very-secret" not in path.read_bytes(), path


def test_two_processes_do_not_write_one_run(api, data, tmp_path):
    from rolekit.rolebench.recipe import alone_in

    with alone_in(tmp_path / "run"):
        done = rolekit("bench", "run", "--data", data, "--model", api.ref, "--out", tmp_path / "run")
    assert "Another process is writing" in done.stderr


def killed_when(arguments, out, lines, sign=signal.SIGKILL):
    with subprocess.Popen(
        [sys.executable, "-m", "rolekit", *map(str, arguments)], stderr=subprocess.PIPE
    ) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
            path = Path(out) / "answers.jsonl"
            if path.is_file() and path.read_bytes().count(b"\n") >= lines:
                break
        process.send_signal(sign)
        process.wait(30)
        return process.returncode, process.stderr.read().decode()


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_9_and_a_torn_line_lose_nothing(api, data, tmp_path):
    api.seconds = 0.05
    out = tmp_path / "run"
    arguments = ("bench", "run", "--data", data, "--model", api.ref, "--out", out, "--concurrency", 1)
    code, _ = killed_when(arguments, out, 3)
    assert code == -signal.SIGKILL
    before = answers(out)
    assert 3 <= len(before) < 12
    with (out / "answers.jsonl").open("a") as file:
        file.write('{"role": "Alice", "questi')
    assert rolekit(*arguments).returncode == 0
    after = answers(out)
    assert after[: len(before)] == before
    assert len({(row["role"], row["question"]) for row in after}) == len(after) == 12
    assert 12 <= len(api.seen) <= 13


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_ctrl_c_says_how_to_go_on(api, data, tmp_path):
    api.seconds = 0.1
    out = tmp_path / "run"
    arguments = ("bench", "run", "--data", data, "--model", api.ref, "--out", out, "--concurrency", 2)
    code, said = killed_when(arguments, out, 2, signal.SIGINT)
    assert code == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said


@pytest.mark.model
@pytest.mark.usefixtures("starter_path")
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_the_engine_gives_the_same_answers_after_a_kill(data, tmp_path):
    def arguments(out):
        return (
            "bench", "run", "--data", data, "--model", "starter", "--out", out, "--max-tokens", 8, "--per-role", 2,
            "--parallel", 2, "--ctx", 1024, "--threads", 1, "--role", "alice", "--role", "somebody new",
        )  # fmt: skip

    killed_when(arguments(tmp_path / "killed"), tmp_path / "killed", 1)
    assert rolekit(*arguments(tmp_path / "killed")).returncode == 0
    whole = rolekit(*arguments(tmp_path / "whole"), "--json")
    assert whole.returncode == 0, whole.stderr
    texts = [
        sorted((row["role"], row["question"], row["answer"]) for row in answers(tmp_path / name))
        for name in ("killed", "whole")
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 4
    recipe = json.loads((tmp_path / "whole" / "recipe.json").read_text())
    assert len(recipe["model_sha256"]) == 64
