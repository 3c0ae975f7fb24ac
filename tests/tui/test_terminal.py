"""The real program with the real starter model, in a real pseudo-terminal that a person could sit at."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from rolekit.roles.cards import png
from rolekit.roles.cards.card import Asset, Card
from rolekit.roles.cards.writing import write_card

pytestmark = [pytest.mark.terminal, pytest.mark.model]

COLUMNS, ROWS = 100, 30
PATIENCE = 240.0
"""Seconds; a busy machine reads a thousand tokens slowly."""


class Terminal:
    """A program in a pseudo-terminal, and the screen that it draws there."""

    def __init__(self, *arguments: str, term: str = "xterm-256color") -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        # A worker of `pytest -n` has LINES and COLUMNS of its own, which are not those of this terminal.
        around = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
        environment = {**around, "TERM": term, "COLORTERM": "truecolor", "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rolekit", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def text(self) -> str:
        """What stands on the screen."""
        cells, columns = self.screen.buffer, range(self.screen.columns)
        # pyte's own display fails where half of a wide character is left
        return "\n".join(
            "".join(cells[y][x].data for x in columns).rstrip() for y in range(self.screen.lines)
        )

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode("utf-8"))

    def paste(self, text: str) -> None:
        """Paste, as terminals do it (bracketed), reading what the program draws meanwhile."""
        left = f"\x1b[200~{text}\x1b[201~".encode()
        os.set_blocking(self._master, False)
        while left:
            _, writable, _ = select.select([], [self._master], [], 0.01)
            if writable:
                left = left[os.write(self._master, left[:4096]) :]
            self._draw(0)
        os.set_blocking(self._master, True)

    def until(self, reached: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Draw what comes until something is so."""
        end = time.monotonic() + patience
        while not reached():
            assert time.monotonic() < end, f"it never came to that:\n{self.text}"
            self._draw(0.05)

    def shows(self, words: str, patience: float = PATIENCE) -> None:
        """Wait until the words stand on the screen."""
        self.until(lambda: words in self.text, patience)

    def quit(self) -> int:
        """Press Ctrl+Q and wait for the end; returns the exit code."""
        self.type("\x11")
        end = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not quit:\n{self.text}"
            self._draw(0.05)
        return self.process.returncode

    def _draw(self, seconds: float) -> None:
        if not select.select([self._master], [], [], seconds)[0]:
            return
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the program has gone and its side is closed
            return
        self.raw += data
        self._stream.feed(data)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def open_terminal(starter_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start rolekit in a terminal; the starter must be there."""
    assert starter_path.exists()
    opened: list[Terminal] = []

    def start(*arguments: str, term: str = "xterm-256color") -> Terminal:
        terminal = Terminal(*arguments, term=term)
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


def test_a_conversation_is_held_stopped_and_found_again(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("chat", "--role", "Sherlock", "--seed", "7", "--max-tokens", "160")
    terminal.shows("basket chair", 60)
    terminal.shows("smollm2")
    terminal.type("Who is Mrs Hudson?\r")
    terminal.shows("  Who is Mrs Hudson?", 30)
    terminal.shows("is writing")
    terminal.shows("tok/s")
    assert "evaluated" in terminal.text

    terminal.type("Tell me the whole story of your life, every case of it.\r")
    terminal.shows("is writing")
    terminal.type("\x1b")
    terminal.shows("· stopped", 60)

    terminal.type("half a thought")
    terminal.shows("half a thought", 30)
    assert terminal.quit() == 0
    assert "Traceback" not in terminal.text
    assert b"\x1b[?1049l" in terminal.raw

    again = open_terminal("chat", "--role", "Sherlock")
    again.shows("· stopped", 60)
    again.shows("the whole story of your life", 30)
    again.shows("half a thought", 30)
    again.type("\x02")
    again.shows("Who is Mrs Hudson?", 30)
    assert again.quit() == 0


def test_a_megabyte_paste_is_one_sentence_and_quick(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("chat", "--role", "Sherlock")
    terminal.shows("basket chair", 60)
    terminal.type("kept")
    terminal.shows("kept", 30)
    started = time.monotonic()
    terminal.paste("word " * 200_000)
    terminal.shows("Nothing was pasted.", 60)
    assert time.monotonic() - started < 60
    assert "kept" in terminal.text
    assert terminal.quit() == 0


def test_closing_the_terminal_keeps_what_came(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("chat", "--role", "Sherlock")
    terminal.shows("smollm2")
    terminal.type("Tell me the whole story of your life.\r")
    terminal.shows("is writing")
    terminal.process.send_signal(signal.SIGHUP)
    terminal.until(lambda: terminal.process.poll() is not None, 60)
    assert terminal.process.returncode == 0
    again = open_terminal("chat", "--role", "Sherlock")
    again.shows("· stopped", 60)
    assert again.quit() == 0


def test_an_editor_that_is_not_there_gives_the_terminal_back(
    open_terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "no-such-editor")
    terminal = open_terminal()
    terminal.shows("history · mathematics", 60)  # the page beside the list: somebody is chosen
    terminal.type("\x05")
    terminal.shows("could not be started", 30)
    assert terminal.quit() == 0


def test_a_role_is_trained_stopped_and_gone_on_with(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    from tiny_folder import save_folder, save_rows

    base, rows = save_folder(tmp_path / "base"), save_rows(tmp_path / "rows.jsonl", 200)
    terminal = open_terminal()
    terminal.shows("Sherlock Holmes", 60)
    terminal.type("\x1b[17~")
    terminal.shows("Nothing has been trained yet.", 30)
    out = tmp_path / "zora"
    more = (
        "--set batch.rows_per_step=1 --set run.epochs=40 --set run.sample_question='' --set optimiser.lr=0.01"
    )
    terminal.type(f"--role Zora --data {rows} --base {base} --out {out} {more}\r")
    terminal.shows("zora · training", 120)
    terminal.until(lambda: re.search(r"step [1-9]\d* of", terminal.text) is not None, 120)
    terminal.type("\x03")
    terminal.shows("zora · stopped", 60)
    assert (out / "checkpoints").is_dir()
    assert not (out / "report.json").exists()
    terminal.type("\r")
    terminal.shows("zora · training", 120)
    assert terminal.quit() == 0
    assert "Traceback" not in terminal.text


def test_a_card_comes_in_past_its_trust_sheet(open_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    """In a terminal that is named like one with pictures and answers no question: half cells, and no key is lost."""
    path = tmp_path / "irene.png"
    data = {
        "name": "Irene Adler",
        "description": "You are Irene Adler.",
        "first_mes": "Hm.",
        "system_prompt": "Sing.",
    }
    image = png.plain_png()
    carrier = Asset("i", len(image), lambda: image)
    payload = {"spec": "chara_card_v2", "spec_version": "2.0", "data": data}
    write_card(Card(payload, "v2", "png", path, image=carrier), path)
    terminal = open_terminal(term="xterm-kitty")
    terminal.shows("who would you like to talk to?", 60)
    terminal.type("\x0f")
    terminal.shows("Which card?", 30)
    terminal.type(f"{path}\r")
    terminal.shows("Import Irene Adler?", 30)
    terminal.shows("Sing.")
    terminal.type("\r")
    terminal.shows("▀▀▀", 30)
    assert terminal.quit() == 0
    assert b"\x1b_G" not in terminal.raw.split(b"\x1b[?1049h")[-1]
    assert "Traceback" not in terminal.text


def test_a_profile_is_made_from_the_synthesis_screen(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    story, out = Path(__file__).parents[1] / "synthesis/story.txt", tmp_path / "odessa"
    terminal = open_terminal()
    terminal.shows("Sherlock Holmes", 60)
    terminal.type("\x1b[15~")
    terminal.shows("Nothing has been made of a text yet.", 30)
    terminal.type(f"profile {story} --role 'Odessa Pike' --out {out}\r")
    terminal.shows("odessa · profile only", 120)
    assert (out / "role.toml").is_file()
    assert terminal.quit() == 0
    assert "Traceback" not in terminal.text
