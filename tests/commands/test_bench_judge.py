"""`rolekit bench judge` against a server: nothing paid twice, biases shown, what cannot be read set aside."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

ROLES, TOPICS = ("Alice", "Captain Nemo"), ("tea", "war", "love")


def rolekit(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "rolekit", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, **more,
    )  # fmt: skip


def verdict(winner):
    return json.dumps({"reason": "so it is", "winner": winner})


@pytest.fixture
def runs(api, tmp_path):
    """Two runs over the same questions: one answers well, the other badly."""
    data = tmp_path / "rows.jsonl"
    rows = [
        {"role": r, "question": f"{r}, what of {t}?", "generated": ["Aye."]} for r in ROLES for t in TOPICS
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = []
    for name, word in (("good", "good, good and long"), ("bad", "bad")):
        api.respond = lambda body, word=word: f"A {word} answer to {body['messages'][-1]['content']}"
        folder = tmp_path / name
        done = rolekit("bench", "run", "--data", data, "--model", api.ref, "--out", folder, "--label", name)
        assert done.returncode == 0, done.stderr
        folders.append(folder)
    api.seen.clear()

    def fair(body):
        first = re.search(r"<answer_1>(.*?)</answer_1>", body["messages"][1]["content"], re.DOTALL)[1]
        return verdict("1" if "good" in first else "2")

    api.respond = fair
    return folders


def judge(api, *arguments, **more):
    return rolekit("bench", "judge", *arguments, "--judge", api.ref, **more)


def test_the_better_run_wins_in_both_orders_and_is_paid_for_once(api, runs):
    done = judge(api, *runs, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["one"], row["other"], row["questions"]) == ("good", "bad", 6)
    assert (row["win_rate"], row["flip_rate"], row["first_wins"], row["longer_wins"]) == (1.0, 0.0, 0.5, 1.0)
    assert len(api.seen) == 12
    assert api.seen[0].body["response_format"]["type"] == "json_schema"
    assert "12 requests, about" in done.stderr
    assert judge(api, *runs).stdout.startswith("good against bad, 6 questions\n  win rate 100.0%")
    assert len(api.seen) == 12
    verdicts = (runs[0] / "judge" / "verdicts.jsonl").read_text().splitlines()
    assert len(verdicts) == 6
    assert json.loads((runs[0] / "judge" / "judge.json").read_text())["figures"][0]["wins"] == 6


def test_a_judge_that_loves_the_first_place_decides_nothing(api, runs):
    api.respond = lambda body: verdict("1")
    row = json.loads(judge(api, runs[0], "--against", runs[1], "--json").stdout)
    assert (row["win_rate"], row["points"], row["flip_rate"], row["first_wins"]) == (0.0, 0.5, 1.0, 1.0)


def test_what_cannot_be_read_is_asked_again_and_then_set_aside(api, runs):
    fair = api.respond

    def stubborn(body):
        text = body["messages"][1]["content"]
        if "what of tea" in text:
            return "I would rather not say."
        return fair(body) if len(body["messages"]) > 2 else "Number one, surely."

    api.respond = stubborn
    done = judge(api, *runs, "--json")
    row = json.loads(done.stdout)
    assert row["questions"] == 4
    assert len(api.seen) == 12 + 12 + 4
    assert (
        "16 answers of the judge had to be asked for again, 8 were readable then, 4 are set aside"
        in done.stderr
    )
    assert "2 pairs have no verdict" in done.stderr
    aside = [json.loads(line) for line in (runs[0] / "judge" / "quarantine.jsonl").read_text().splitlines()]
    assert {one["judge"] for one in aside} == {"I would rather not say."}


def test_a_dry_run_asks_nothing(api, runs):
    done = judge(api, *runs, "--dry-run")
    assert done.returncode == 0
    assert "12 requests" in done.stderr
    assert "free of charge" in done.stderr
    assert not api.seen


def test_the_budget_is_a_hard_stop_and_the_run_goes_on(api, runs, home):
    home.mkdir(exist_ok=True)
    (home / "prices.toml").write_text('["gpt-test"]\ninput = 100.0\noutput = 1000.0\n')
    done = judge(api, *runs, "--max-usd", 1.2)
    assert done.returncode == 1
    assert "budget of $1.20 is used up" in done.stderr
    assert "Spent so far: $" in done.stderr
    paid = len(api.seen)
    assert 0 < paid < 12
    assert judge(api, *runs, "--max-usd", 50).returncode == 0
    assert len(api.seen) == 12


def test_an_unknown_price_with_a_budget_is_refused(runs):
    done = rolekit("bench", "judge", *runs, "--judge", "openai:x@https://example.org/v1", "--max-usd", 1)
    assert done.returncode == 1
    assert "price of x at example.org is not known" in done.stderr


def test_three_runs_are_ranked(api, runs, tmp_path):
    third = tmp_path / "third.jsonl"
    rows = [json.loads(line) for line in (runs[1] / "answers.jsonl").read_text().splitlines()]
    third.write_text("".join(json.dumps({**row, "answer": "good but third"}) + "\n" for row in rows))
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("recipe.json", "records.jsonl"):
        (folder / name).write_bytes((runs[1] / name).read_bytes())
    third.rename(folder / "answers.jsonl")
    done = judge(api, *runs, folder)
    assert done.returncode == 0, done.stderr
    assert "average rank" in done.stdout
    assert done.stdout.count(" against ") == 3


def test_the_rubric_lists_flaws(api, runs):
    flaw = {"dimension": "style", "severity": 4, "quote": "long answer", "why": "x"}
    api.respond = lambda body: json.dumps({"flaws": [flaw, {**flaw, "quote": "never said"}]})
    row = json.loads(judge(api, runs[0], "--rubric", "--json").stdout)
    assert row["dimensions"]["style"]["mean"] == 80.0
    assert row["made_up_flaws"] == 6
    assert row["answers"] == 6


def test_usage_and_foreign_folders(api, runs, tmp_path):
    assert judge(api, runs[0]).returncode == 2
    assert judge(api, *runs, "--rubric").returncode == 2
    done = judge(api, tmp_path / "nowhere", runs[1])
    assert done.returncode == 1
    assert "no run folder" in done.stderr


def test_a_judge_that_answers_html(api, api_module, runs):
    api.play([api_module.raw("<html>Hello</html>", "text/html")] * 40)
    done = judge(api, *runs)
    assert done.returncode == 1
    assert "web page (HTML)" in done.stderr
    assert "Traceback" not in done.stderr
