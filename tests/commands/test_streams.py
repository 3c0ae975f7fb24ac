"""Odd streams, terminals and disks: one sentence at most, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROLEKIT = [sys.executable, "-m", "rolekit"]


def rolekit(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*ROLEKIT, *arguments], stderr=subprocess.PIPE, timeout=60, check=False, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_sentence() -> None:
    with open("/dev/full", "wb") as full:
        result = rolekit("roles", "list", stdout=full)
    assert result.returncode == 1
    assert result.stderr.startswith(b"rolekit: The output cannot be written (")
    assert result.stderr.count(b"\n") == 1


def test_letters_that_the_terminal_lacks_become_question_marks() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = rolekit("roles", "show", "孙悟空", stdout=subprocess.PIPE, env=environment)
    assert result.returncode == 0, result.stderr
    assert b"??" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="closes file descriptors the POSIX way")
@pytest.mark.parametrize("closed", [0, 1])
def test_a_stream_that_is_closed_is_an_empty_one(closed: int) -> None:
    result = rolekit("roles", "show", "sherlock", preexec_fn=lambda: os.close(closed))
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [("--threads", "513"), ("--find", " ")])
def test_values_that_cannot_be_meant_are_usage_faults(arguments: tuple[str, str]) -> None:
    result = rolekit("chat", *arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert result.returncode == 2
    assert b"Error: Invalid value" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a POSIX thing")
def test_a_dumb_terminal_is_told_how_to_do_without_the_app() -> None:
    import pty

    master, slave = pty.openpty()
    result = rolekit(stdin=slave, stdout=slave, env={**os.environ, "TERM": "dumb"})
    os.close(slave)
    os.close(master)
    assert result.returncode == 1
    assert result.stderr.startswith(b"rolekit: The TUI needs a terminal.")


def test_a_chat_that_is_not_there_is_named() -> None:
    result = rolekit("chat", "--session", "boots", "--plain", stdin=subprocess.DEVNULL)
    assert result.returncode == 1
    assert b'There is no chat called "boots".' in result.stderr
