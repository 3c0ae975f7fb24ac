"""`rolekit chat` with several roles and with moderation; the model is a scripted server, everything else is real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rolekit.chat.store import Store
from rolekit.commands.chat import app

ROOM = ("--role", "Sherlock", "--role", "Lizzy")


@pytest.fixture
def chat(api: Any, api_module: Any) -> Any:
    """Runs the command with these replies of the server."""

    def run(*arguments: str, replies: tuple[str, ...] = (), typed: str = "") -> Result:
        api.play([api_module.Step(text=text) for text in replies])
        return CliRunner().invoke(app, ["--model", api.ref, "--no-guard", *arguments], input=typed)

    return run


def test_every_reply_is_an_object_with_its_role_and_the_room_goes_on_by_its_name(chat: Any, api: Any) -> None:
    words = ("--session", "ball", "--user", "Ann", "--json")
    first = chat(*ROOM, *words, "--say", "Sherlock and Lizzy, good evening.", replies=("Evening.", "Sir."))
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    assert [(row["role"], row["reply"]) for row in rows] == [
        ("Sherlock Holmes", "Evening."), ("Elizabeth Bennet", "Sir."),
    ]  # fmt: skip
    assert {row["user"] for row in rows} == {"Sherlock and Lizzy, good evening."}
    second = chat(
        "--session", "ball", "--json", "--turns", "round-robin", "--say", "Yes?", replies=("Indeed.",)
    )
    assert json.loads(second.stdout)["role"] == "Sherlock Holmes"
    sent = api.seen[-1].body["messages"]
    assert sent[0]["content"].startswith("You are Sherlock Holmes")
    assert [message["content"] for message in sent][-1].endswith("Ann: Yes?")
    assert "Elizabeth Bennet: Sir." in "\n".join(message["content"] for message in sent)


def test_plain_lets_somebody_speak_and_shows_who_is_there(chat: Any) -> None:
    typed = "Hello, Lizzy!\n/next Sherlock\n/room\n/room talk\n/next Sherlock\n"
    result = chat(*ROOM, "--plain", typed=typed, replies=("Sir.", "Quite."))
    assert "Elizabeth Bennet: Sir.\nSherlock Holmes: Quite.\n" in result.stdout
    assert "in the room: Sherlock Holmes, Elizabeth Bennet, and you; who answers: named" in result.stderr
    assert "who answers: talkative" in result.stderr
    assert "Sherlock Holmes has just spoken." in result.stderr


def test_what_cannot_be_is_said_before_a_model_is_opened(chat: Any, tmp_path: Path) -> None:
    for arguments, words in (
        (("--role", "Sherlock", "--role", "Sherlock"), "cannot be in a room twice"),
        (("--role", "Sherlock", "--turns", "talkative"), "--turns is for rooms"),
        ((*ROOM, "--adapter", "Moriarty=x.gguf"), "There is no adapter"),
        (("--role", "Sherlock", "--moderation", str(tmp_path / "none.toml")), "cannot be used"),
    ):
        assert words in str(chat(*arguments, "--say", "Hi").exception)
    assert chat(*ROOM, "--turns", "loudest", "--say", "Hi").exit_code == 2


def test_moderation_is_seen_in_the_notices_and_the_objects(chat: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[[rules]]\nname = 'numbers'\npattern = '\\d+'\naction = 'redact'\n")
    arguments = ("--role", "Sherlock", "--moderation", str(rules), "--json", "--say", "I am 44.")
    result = chat(*arguments, replies=("And I 60.",))
    row = json.loads(result.stdout)
    assert (row["user"], row["reply"]) == ("I am […].", "And I […].")
    assert [decision["side"] for decision in row["moderation"]] == ["input", "output"]
    assert "moderation: “numbers” redacted 1 place of the reply" in result.stderr
    with Store() as store:
        assert "44" not in store.conversations()[0].title
