"""The line mode, driven by lines; the model is scripted, everything else is real."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.commands.plain import PlainChat
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary


class Talk:
    """What came out of a conversation in lines."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
    ) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.store = Store(folder / "chats.db")
        self.backend = ScriptedBackend(["One.", "Two.", "Three."])
        self.other = ScriptedBackend(["From the other model."], label="other")

    def __call__(self, *lines: str) -> tuple[int, str, str]:
        """The exit code, stdout and stderr after these lines."""
        library = RoleLibrary()
        entry = library.find("Sherlock")
        options = ChatOptions(seed=1)
        session = Session.start(self.store, self.backend, entry.loaded(), entry.slug, options=options)
        self.monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code = PlainChat(self.store, library, session, options, lambda _ref: self.other).run()
        out, err = self.capsys.readouterr()
        return code, out, err


@pytest.fixture
def talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Talk]:
    talk = Talk(monkeypatch, capsys, tmp_path)
    yield talk
    talk.store.close()


def test_a_line_gets_a_reply_and_the_end_of_input_ends_it(talk: Talk) -> None:
    code, out, _ = talk("Hello", "", "Again")
    assert code == 0
    assert "Sherlock Holmes: One.\nSherlock Holmes: Two.\n" in out


def test_versions_are_kept_and_shown(talk: Talk) -> None:
    _, out, err = talk(
        "Hello", "/regen", "/swipe left", "/swipe left", "/swipe right", "/swipe right", "/quit", "never said"
    )
    assert "Sherlock Holmes [1 of 2]: One." in out
    assert "Sherlock Holmes [2 of 2]: Two." in out
    assert out.rstrip().endswith("Three.")
    assert "this is the first version" in err


def test_editing_asks_again_and_undo_takes_it_back(talk: Talk) -> None:
    talk("Hello", "/edit Good evening", "/undo", "/undo", "/redo")
    said = [request.messages[-1].text for request in talk.backend.requests]
    assert said == ["Hello", "Good evening"]


def test_a_role_and_a_model_can_be_changed_on_the_way(talk: Talk) -> None:
    _, out, err = talk("/model other.gguf", "Hello", "/role Hamlet", "Hello")
    assert "Sherlock Holmes: From the other model." in out
    assert "Hamlet: From the other model." in out
    assert "other answers from here on" in err
    assert talk.backend.closed


def test_export_context_and_stats(talk: Talk, tmp_path: Path) -> None:
    target = tmp_path / "chat.md"
    _, _, err = talk(
        "Hello", "/context", "/stats", f"/export {target}", "/title Boots", "/save boots", "/pin"
    )
    assert "who Sherlock Holmes is" in err
    assert "evaluated" in err
    assert "One." in target.read_text(encoding="utf-8")
    info = talk.store.find("boots")
    assert info is not None
    assert info.title == "Boots"


def test_hostile_text_is_shown_not_obeyed(talk: Talk) -> None:
    talk.backend.replies = ("\x1b[2J\x1b]52;c;aGk=\x07 \u202egnp.exe",)
    _, out, err = talk("\x1b[31mred", "/stats")
    assert not {chr(code) for code in [*range(9), *range(11, 32), 127, *range(0x80, 0xA0), 0x202E]} & set(
        out + err
    )


def test_a_fault_in_a_pipe_ends_it_with_1(talk: Talk) -> None:
    code, _, err = talk("/nonsense", "never said")
    assert code == 1
    assert "There is no command /nonsense" in err
    assert not talk.backend.requests


def test_an_error_of_the_model_is_one_sentence(talk: Talk) -> None:
    talk.backend.replies = (RolekitError("The model went away.", "Load it again."),)
    code, _, err = talk("Hello")
    assert code == 1
    assert "(The model went away. Load it again.)" in err
