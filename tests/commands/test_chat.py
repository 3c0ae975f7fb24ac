"""`rolekit chat` as a script meets it: the real program, the real starter model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CHAT = [sys.executable, "-m", "rolekit", "chat"]
pytestmark = [pytest.mark.model, pytest.mark.usefixtures("starter_path")]


def chat(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CHAT, *arguments], capture_output=True, text=True, timeout=300, check=False, **options
    )


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of advice of a failed call."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("rolekit: ")
    return lines[0]


def test_say_prints_a_json_object_a_reply_and_reuses_what_it_read() -> None:
    result = chat("--role", "Sherlock", "--say", "Who are you?", "--say", "Where do you live?", "--json",
                  "--seed", "7", "--max-tokens", "24")  # fmt: skip
    assert result.returncode == 0, result.stderr
    first, second = map(json.loads, result.stdout.splitlines())
    assert list(first) == ["role", "user", "reply", "stop_reason", "stats"]
    assert (first["role"], first["user"]) == ("Sherlock Holmes", "Who are you?")
    assert first["reply"].strip()
    stats = second["stats"]
    assert stats["prompt_tokens"] == stats["reused_tokens"] + stats["evaluated_tokens"]
    assert stats["evaluated_tokens"] < 40
    assert stats["reused_tokens"] >= first["stats"]["prompt_tokens"]


def test_the_same_seed_gives_the_same_reply() -> None:
    call = (
        "--role",
        "holmes",
        "--say",
        "What is your trade?",
        "--seed",
        "11",
        "--max-tokens",
        "24",
        "--json",
    )
    replies = [json.loads(chat(*call).stdout) for _ in range(2)]
    assert replies[0]["reply"] == replies[1]["reply"]
    assert replies[1]["stats"]["evaluated_tokens"] < replies[0]["stats"]["evaluated_tokens"] / 10


def test_a_named_session_goes_on_without_reading_its_history_again() -> None:
    call = ("--role", "Sherlock", "--session", "muddy boots", "--max-tokens", "24", "--json", "--say")
    first = json.loads(chat(*call, "My boots are muddy.").stdout)
    second = json.loads(chat(*call, "What follows from that?").stdout)
    assert second["stats"]["prompt_tokens"] > first["stats"]["prompt_tokens"]
    assert second["stats"]["evaluated_tokens"] < 40


def test_line_mode_reads_a_pipe(home: Path) -> None:
    result = chat(
        "--role", "Sherlock", "--plain", "--max-tokens", "16", input="Good evening.\n/stats\n/quit\n"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Sherlock Holmes: ") == 2, "the greeting and one reply"
    assert "first token" in result.stderr
    assert (home / "chats.db").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--role", "Moriarty the Second", "--say", "Hi"], "rolekit roles list"),
        (["--role", "Sherlock", "--say", "Hi", "--model", "no/such/model.gguf"], "no/such/model.gguf"),
        (["--role", "Sherlock", "--say", "Hi", "--adapter", "no-such-adapter.gguf"], "no-such-adapter.gguf"),
        (["--role", "Sherlock", "--say", "Hi", "--preset", "no-such-preset"], "no-such-preset"),
        (["--role", "Sherlock", "--say", "Hi", "--chat-template", "no-such-template"], "no-such-template"),
        (["--role", "Sherlock", "--say", "Hi", "--ctx", "64"], "--ctx"),
        (["--role", "Sherlock", "--say", "  "], "--say"),
        (["--say", "Hi"], "--role"),
    ],
)
def test_a_wrong_word_gets_one_sentence(arguments: list[str], word: str) -> None:
    assert word in sentence(chat(*arguments))


def test_a_broken_model_gets_one_sentence(tmp_path: Path, starter_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(starter_path.read_bytes()[:1_000_000])
    assert "broken.gguf" in sentence(chat("--role", "Sherlock", "--say", "Hi", "--model", str(broken)))
    broken.write_text("<html>404</html>")
    assert "broken.gguf" in sentence(chat("--role", "Sherlock", "--say", "Hi", "--model", str(broken)))


def test_a_home_that_cannot_be_written_gets_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    environment = {**os.environ, "ROLEKIT_HOME": str(blocked / "home")}
    assert "ROLEKIT_HOME" in sentence(chat("--role", "Sherlock", "--say", "Hi", env=environment))


def test_a_page_too_long_gets_one_sentence_and_is_kept(home: Path) -> None:
    page = "All work and no play makes Jack a dull boy. " * 24_000
    result = chat("--role", "Sherlock", "--plain", "--max-tokens", "8", input=page + "\n")
    assert result.returncode == 1
    assert "tokens" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert page.strip()[:1000].encode() in b"".join(file.read_bytes() for file in home.glob("chats.db*"))


def test_wrong_usage_exits_2() -> None:
    assert chat("--no-such-flag").returncode == 2
    assert chat("--role", "Sherlock", "--json").returncode == 2
    assert chat("--role", "Sherlock", "--new", "--session", "x", "--say", "Hi").returncode == 2


@pytest.mark.parametrize("delay_seconds", [0.05, 0.3, 0.8, 1.6, 3.0, 5.0])
def test_ctrl_c_at_any_moment_leaves_quietly(delay_seconds: float) -> None:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    python_seconds = time.perf_counter() - begun
    process = subprocess.Popen(
        [*CHAT, "--role", "Sherlock", "--say", "Tell me a very long story about the moor."],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(2 * python_seconds + delay_seconds)  # what happens before Python has started is Python's
    process.send_signal(signal.SIGINT)
    _out, errors = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors


def test_a_named_session_knows_its_role_and_a_role_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my-captain.toml"
    file.write_text('name = "My Captain"\ndescription = "You are an old captain."\n', encoding="utf-8")
    first = chat("--role", str(file), "--say", "Ahoy!", "--max-tokens", "8", "--json", "--session", "deck")
    assert json.loads(first.stdout)["role"] == "My Captain"
    chat("--role", "Hamlet", "--say", "Ahoy!", "--max-tokens", "8", "--session", "castle")
    again = chat("--say", "And then?", "--max-tokens", "8", "--json", "--session", "castle")
    assert json.loads(again.stdout)["role"] == "Hamlet"
