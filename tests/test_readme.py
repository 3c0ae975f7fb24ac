"""Every command that README shows is run here.

But for the two that .ci/run runs itself, and those that fetch from the hub, which tests/engine/test_download.py and
tests/rolebench/test_fetching.py run against their own servers.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- (?P<mark>\w+) -->\n)?```sh\n(?P<body>.*?)```", re.DOTALL)


def commands() -> list[str]:
    """The lines of all shell blocks that .ci/run does not run."""
    blocks = [match for match in BLOCK.finditer(README) if not match["mark"]]
    return [line for match in blocks for line in match["body"].splitlines() if line.strip()]


def opens_a_screen(command: str) -> bool:
    words = shlex.split(command)
    return (
        words[0] == "rolekit"
        and words[1:2] in ([], ["chat"])
        and not {"--say", "--plain", "--list", "--find"} & set(words)
    )


def fetches(command: str) -> bool:
    return "hf:" in command or "data pull" in command


@pytest.fixture(scope="module")
def tour_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the whole tour: its later commands look for what the earlier ones made.

    In place of what `data pull` fetches it has a few rows of our own.
    """
    home = tmp_path_factory.mktemp("tour")
    rows = [
        {
            "role": role,
            "question": f"{role}, what of {thing}?",
            "generated": ["I know it well."],
            "type": "script_based",
        }
        for role in ("Sherlock Holmes", "Captain Nemo")
        for thing in ("tea", "the sea")
    ]
    folder = home / "data" / "rolebench" / "rolebench-eng" / "role_specific"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (home / "desk").mkdir()
    shutil.copy(ROOT / "tests" / "synthesis" / "story.txt", home / "desk")
    return home


def shell(command: str) -> str:
    """The command with this environment's program in place of the one on the PATH."""
    return re.sub(r"(^|\| )rolekit\b", rf"\1{shlex.quote(sys.executable)} -m rolekit", command)


def test_ci_runs_the_two_commands_that_are_left_out_here() -> None:
    marks = [match["mark"] for match in BLOCK.finditer(README) if match["mark"]]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert marks == ["install", "tests"]
    assert all(f"command_of {mark}" in script for mark in marks)


@pytest.mark.model
@pytest.mark.usefixtures("starter_path")
@pytest.mark.parametrize(
    "command",
    [line for line in commands() if not fetches(line) and not opens_a_screen(line)],
)
def test_a_command_of_the_tour_works(command: str, tour_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLEKIT_HOME", str(tour_home))
    result = subprocess.run(
        shell(command),
        shell=True,
        cwd=tour_home / "desk",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.model
@pytest.mark.terminal
@pytest.mark.usefixtures("starter_path")
@pytest.mark.parametrize("command", [line for line in commands() if opens_a_screen(line)])
def test_a_screen_of_the_tour_opens_and_closes(command: str) -> None:
    child = pexpect.spawn(shell(command), dimensions=(24, 80), timeout=120, encoding="utf-8")
    child.expect("F1|Ctrl")
    child.send("\x11")  # Ctrl+Q
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
