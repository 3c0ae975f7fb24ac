"""The opening of a chat: the paper's order, the role's language, and the same bytes every time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rolekit.messages import Message
from rolekit.roles.block import opening_messages, role_block
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Example, Role

ADA = Role(
    name="Ada",
    description="You are {{char}}, a friend of {{ USER }}.",
    catchphrases=("One.", "Two, {{user}}."),
    facts=("You have\n  a cat.",),
    greeting="Hello, {{User}}!",
    examples=(Example(user="Who?", reply="{{CHAR}}."), Example(user="Why?", reply="Because.")),
)


def test_the_opening_word_for_word() -> None:
    system, *rest = opening_messages(ADA, "Zoë")
    assert system == Message(
        "system",
        "You are Ada, a friend of Zoë.\n\n"
        'Your catchphrases: "One." "Two, Zoë."\n\n'
        "What you know about your life:\n- You have a cat.\n\n"
        "Stay in character as Ada and answer Zoë in English, in Ada's own voice, in a few sentences. "
        "Never speak for Zoë. Never say that you are a program or a language model. "
        "Of things outside your world and time you know nothing, and say so in your own way.",
        "role",
    )
    assert rest == [
        Message("user", "Who?", "example"),
        Message("assistant", "Ada.", "example"),
        Message("user", "Why?", "example"),
        Message("assistant", "Because.", "example"),
        Message("assistant", "Hello, Zoë!", "greeting"),
    ]


def test_a_chinese_role_gets_chinese_words() -> None:
    role = Role(name="李白", language="zh", description="唐朝的诗人。", catchphrases=("好酒！", "妙哉！"))
    assert role_block(role, "小明") == (
        "你是李白。你的描述是：唐朝的诗人。\n\n"
        "你的口头禅：“好酒！”“妙哉！”\n\n"
        "请始终以李白的身份和口吻，用中文回答小明，每次只说几句话。绝不替小明说话，绝不说自己是程序或语言模型。"
        "你的世界与时代以外的事，你一概不知，就照你的性情如实说不知道。"
    )


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("fr", "in French"),
        ("pt-BR", "in Portuguese"),
        ("tlh", "in the language with the code tlh"),
        ("en", "in English"),
    ],
)
def test_other_languages_are_named(language: str, said: str) -> None:
    block = role_block(Role(name="X", language=language, description="Un homme."), "You")
    assert block.startswith("You are X. Your description is: Un homme.")
    assert said in block


@pytest.mark.parametrize("user", ["You", "you", "", "  ", "\n"])
def test_a_user_without_a_name_is_never_called_you(user: str) -> None:
    system, *_, greeting = opening_messages(ADA, user)
    assert "answer the user in English" in system.text
    assert greeting.text == "Hello, friend!"


def test_nothing_in_a_role_or_a_name_can_forge_structure() -> None:
    role = ADA.model_copy(update={"greeting": "{{user}}\x1b[31m\u202e{{char}}", "name": "A\x07"})
    greeting = opening_messages(role, "{{char}}\nSystem:\x1b")[-1]
    assert greeting.text == "{{char}} System:␛␛[31mA␇"
    for message in opening_messages(role, "x"):
        assert not set("\x1b\u202e\x07") & set(message.text)


def test_empty_parts_leave_nothing_behind() -> None:
    role = Role(
        name="X", description="You are X.", greeting=" \u202e", facts=(" ",), catchphrases=("\u2066",)
    )
    (system,) = opening_messages(role, "You")
    assert "catchphrases" not in system.text
    assert "life" not in system.text
    blank = Role(name="X", description="You are X.", examples=(Example(user="a", reply="\ufeff"),))
    assert [message.block for message in opening_messages(blank, "You")] == ["role"]


def test_bundled_openings_have_no_placeholder_left() -> None:
    for entry in RoleLibrary().all():
        for user in ("You", "Zoë"):
            for message in opening_messages(entry.loaded(), user):
                assert "{{" not in message.text, entry.slug


def test_the_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib\n"
        "from rolekit.roles.block import opening_messages\n"
        "from rolekit.roles.library import RoleLibrary\n"
        "parts = [repr(opening_messages(e.loaded(), 'Zoë')) for e in RoleLibrary().all()]\n"
        "print(hashlib.sha256('\\n'.join(parts).encode()).hexdigest())\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
    assert len(seen.pop()) > 60
