"""The slash commands: parsing, shortening, and what is not a command."""

from __future__ import annotations

import pytest

from rolekit.chat.slash import COMMANDS, Command, help_lines, literal, parse
from rolekit.errors import RolekitError


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("/quit", Command("quit", "")),
        ("/q", Command("quit", "")),
        ("/QUIT", Command("quit", "")),
        ("/edit  a new text ", Command("edit", "a new text")),
        ("/red", Command("redo", "")),
        ("/export out dir/file.md", Command("export", "out dir/file.md")),
    ],
)
def test_a_command_is_found_by_name_or_clear_beginning(line: str, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize("line", ["hello", "", "//shrug", "1/2", "/first line\nsecond line"])
def test_other_lines_are_messages(line: str) -> None:
    assert parse(line) is None


def test_a_doubled_slash_is_a_literal_one() -> None:
    assert literal("//shrug") == "/shrug"
    assert literal("plain") == "plain"


@pytest.mark.parametrize(
    ("line", "hint"), [("/qiut", "/quit"), ("/re", "/regen or /redo"), ("/", "/help"), ("/zzz", "/help")]
)
def test_an_unknown_or_unclear_command_says_what_to_type(line: str, hint: str) -> None:
    with pytest.raises(RolekitError) as error:
        parse(line)
    assert hint in str(error.value)


def test_help_names_every_command() -> None:
    text = "\n".join(help_lines())
    assert all(f"/{command.name}" in text for command in COMMANDS)
