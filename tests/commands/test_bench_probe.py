"""`rolekit bench boundary`, `refusals` and `continuity`; and one role in a third language through the whole path."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def rolekit(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "rolekit", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, **more,
    )  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def test_boundary(api, tmp_path):
    rows = [
        {"role": role, "question": f"{role}, what of {what}?", "generated": ["x"], "type": "script_based"}
        for role, what in (("Alice", "the Queen of Hearts"), ("Dracula", "Jonathan Harker"))
    ]
    data = write(tmp_path / "rows.jsonl", rows)

    def respond(body):
        role, question = body["messages"][0]["content"], body["messages"][-1]["content"]
        own = ("Alice" in role and "Queen" in question) or ("Dracula" in role and "Harker" in question)
        return "Indeed!" if own else "I never heard of such a thing."

    api.respond = respond
    arguments = ("bench", "boundary", "--data", data, "--model", api.ref, "--out", tmp_path / "run")
    done = rolekit(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["discernment"] == 1.0
    assert "discernment  +1.000" in rolekit(*arguments).stdout
    assert len(api.seen) == 4
    bare = write(tmp_path / "bare.jsonl", [{"role": "Alice", "question": "Who?", "generated": ["x"]}])
    assert (
        "no script-based questions"
        in rolekit("bench", "boundary", "--data", bare, "--model", api.ref, "--out", tmp_path / "b").stderr
    )


def test_refusals(api, tmp_path):
    api.respond = lambda body: (
        "I will not." if "neighbour" in body["messages"][-1]["content"] else "Gladly: first …"
    )
    out = tmp_path / "run"
    done = rolekit("bench", "refusals", "--model", api.ref, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    before = json.loads(done.stdout)["before"]
    assert 0 < before["refused"] < 0.1
    assert before["refused_fine"] == 0.0
    assert all(len(seen.body["messages"]) == 1 for seen in api.seen)
    shown = rolekit("bench", "refusals", "--model", api.ref, "--out", out)
    assert "the model alone" in shown.stdout
    assert (out / "refusals.json").is_file()


def test_continuity_goes_on_where_it_stopped(api, api_module, tmp_path):
    api.respond = lambda body: f"I answer {len(body['messages'])}."
    out = tmp_path / "run"
    arguments = ("bench", "continuity", "--role", "alice", "--model", api.ref, "--turns", 5, "--out", out)
    api.play([api_module.Step()] * 3 + [api_module.error(401, "no")])
    stopped = rolekit(*arguments)
    assert stopped.returncode == 1
    assert "rejected the key" in stopped.stderr
    done = rolekit(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["replies"] == 10
    assert len(api.seen) == 11
    rows = [json.loads(line) for line in (out / "dialogues.jsonl").read_text().splitlines()]
    assert [row["turn"] for row in rows] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    assert "turn  style" in rolekit(*arguments).stdout
    assert "seed was 0 and is now 5" in rolekit(*arguments, "--seed", 5).stderr
    recipe = json.loads((out / "recipe.json").read_text())
    assert (recipe["model"], recipe["base_url"]) == ("gpt-test", api.ref.partition("@")[2])
    assert recipe["versions"].keys() == {"rolekit", "llama-cpp-python"}
    assert len(recipe["roles"]["Alice"]) == 64
    other = rolekit(*arguments[:5], api.ref.replace("gpt-test", "gpt-other"), *arguments[6:])
    assert "model was gpt-test and is now gpt-other" in other.stderr
    assert len(api.seen) == 11


def test_continuity_costs_no_more_than_it_may_and_nothing_twice(api, home, tmp_path):
    home.mkdir(exist_ok=True)
    (home / "prices.toml").write_text('["gpt-test"]\ninput = 1000.0\noutput = 1000.0\n')
    out = tmp_path / "run"
    arguments = ("bench", "continuity", "--role", "alice", "--model", api.ref, "--turns", 2, "--out", out)
    assert "budget of $1.00 is used up" in rolekit(*arguments, "--max-usd", 1).stderr
    assert not api.seen
    stopped = rolekit(*arguments, "--max-requests", 3)
    assert stopped.returncode == 1
    assert "limit of 3 requests" in stopped.stderr
    assert len(api.seen) == 3
    (out / "dialogues.jsonl").unlink()  # the journal still has what was paid for
    assert rolekit(*arguments, "--max-usd", 3000).returncode == 0
    assert len(api.seen) == 4


@pytest.mark.model
def test_the_recipe_of_a_continuity_run_holds_the_model_by_its_hash(starter_path, tmp_path):
    from rolekit.paths import file_sha256

    out = tmp_path / "run"
    done = rolekit(
        "bench", "continuity", "--role", "alice", "--model", starter_path, "--turns", 2, "--max-tokens", 2,
        "--ctx", 2048, "--threads", 1, "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["model_sha256"] == file_sha256(starter_path)
    assert recipe["adapters"] == []
    assert len((out / "dialogues.jsonl").read_text().splitlines()) == 4


def test_a_third_language_through_the_whole_path(api, tmp_path):
    said = "Jamais ! Je me bats pour l'éclat du panache, même à l'heure où tout est perdu."
    rows = [
        {"role": "Cyrano", "question": f"Cyrano, que dites-vous de {what} ?", "generated": [said], "language": "fr",
         "type": "script_based"}
        for what in ("l'amour", "votre nez", "Roxane", "la Gascogne")
    ]  # fmt: skip
    data = write(tmp_path / "rows.jsonl", rows)
    assert rolekit("data", "check", data).returncode == 0
    api.respond = lambda body: said if "amour" in body["messages"][-1]["content"] else "Je ne sais pas."
    run = tmp_path / "run"
    done = rolekit("bench", "run", "--data", data, "--model", api.ref, "--out", run)
    assert done.returncode == 0, done.stderr
    assert "no description" not in done.stderr
    system = api.seen[0].body["messages"][0]["content"]
    assert "French" in system
    scores = json.loads(rolekit("bench", "score", run, "--json").stdout)
    assert 0.25 <= scores["scores"]["SPE"] < 0.5
    assert rolekit("bench", "report", run).returncode == 0
    talk = tmp_path / "talk"
    done = rolekit("bench", "continuity", "--role", "cyrano", "--model", api.ref, "--turns", 2, "--out", talk)
    assert done.returncode == 0, done.stderr
    assert "Bonsoir" in (talk / "dialogues.jsonl").read_text()


@pytest.mark.parametrize("command", ["run", "judge", "boundary", "refusals", "continuity"])
def test_help(command):
    done = rolekit("bench", command, "--help")
    assert done.returncode == 0
    assert "Usage: rolekit bench" in done.stdout
