"""Replies that went wrong: which are told apart, and what happens to them."""

from __future__ import annotations

import pytest

from rolekit.chat.events import Finished, Retried
from rolekit.chat.guard import Guard, load_rules
from rolekit.chat.options import ChatOptions
from rolekit.errors import RolekitError
from rolekit.paths import roles_dir

LONG = "The engine weaves algebraical patterns just as the loom weaves flowers."
GUARDED = ChatOptions(user="Ann", seed=7)
FAULTS = [
    ("", "end", "it was empty"),
    (" \n", "end", "it was empty"),
    ("As an AI language model, I cannot.", "end", "it broke character"),
    ("Well, I'm just a language model.", "end", "it broke character"),
    ("I was trained by OpenAI.", "end", "it broke character"),
    ("作为一个人工智能，我不能。", "end", "it broke character"),
    ("Als KI kann ich das nicht.", "end", "it broke character"),
    ("En tant que modèle de langage, non.", "end", "it broke character"),
    ("Como modelo de lenguaje, no.", "end", "it broke character"),
    ("Ah.", "speaks_for_user", "it spoke for you"),
    ("I see.\nAnn: And then?", "end", "it spoke for you"),
    ("*Ann: And then?*", "end", "it spoke for you"),
    (LONG.replace("just", "Just"), "end", "it repeated itself"),
    ("I love emoji 😀", "end", "rule “no emoji”"),
    ("The AI of the mill is the miller, and Ann knows it.", "end", ""),
    ("Quite.", "end", ""),
    ("An assistant may know. How many may I assist, today or later?", "end", ""),
    ("The loom weaves flowers; my engine weaves something else entirely, as you saw.", "end", ""),
]


@pytest.mark.parametrize(("text", "reason", "expected"), FAULTS)
def test_what_is_wrong_with_a_reply(text, reason, expected) -> None:
    folder = roles_dir() / "rules"
    folder.mkdir(parents=True)
    (folder / "ada.toml").write_text('[[rules]]\nname = "no emoji"\npattern = "[😀-🙏]"\n', encoding="utf-8")
    assert Guard(("Ann", "You"), load_rules("ada")).fault(text, reason, ["Quite.", LONG]) == expected


@pytest.mark.parametrize(
    "text",
    ["[[rules]]\nname = 1", "rules = 3", "[[rules]]\nname = 'x'\npattern = '('", "[[rules]]\nnam = 'x'", "="],
)
def test_a_faulty_rule_file_is_told_in_a_sentence(text) -> None:
    folder = roles_dir() / "rules"
    folder.mkdir(parents=True)
    (folder / "ada.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RolekitError, match="cannot be used"):
        load_rules("ada")


def test_a_rule_that_hangs_is_passed_over() -> None:
    folder = roles_dir() / "rules"
    folder.mkdir(parents=True)
    (folder / "ada.toml").write_text('[[rules]]\nname = "bomb"\npattern = "(a|aa)+$"\n', encoding="utf-8")
    assert Guard((), load_rules("ada")).fault("a" * 60 + "!", "end", []) == ""


async def test_a_reply_out_of_character_is_tried_once_more_and_both_are_kept(begin, talk) -> None:
    session = begin(["As an AI, I cannot.", "Gladly.", "Sure."], options=GUARDED)
    events = await talk(session, "Sing")
    retried = next(event for event in events if isinstance(event, Retried))
    assert retried.reason == "it broke character"
    assert [event.reply.text for event in events if isinstance(event, Finished)] == ["Gladly."]
    last = session.path[-1]
    assert (last.text, last.version, last.versions) == ("Gladly.", 2, 2)
    assert session.swipe(-1)
    assert session.path[-1].text == "As an AI, I cannot."
    first, second = session.backend.requests
    assert first.seed != second.seed
    assert first.messages == second.messages
    assert session.retries == 1


async def test_only_one_retry_and_an_empty_second_gives_way_to_the_first(begin, talk) -> None:
    session = begin(["As an AI, I cannot.", ""], options=GUARDED)
    await talk(session, "Sing")
    assert len(session.backend.requests) == 2
    assert session.path[-1].text == "As an AI, I cannot."


async def test_undo_takes_the_retry_back_first(begin, talk) -> None:
    session = begin(["As an AI, I cannot.", "Gladly."], options=GUARDED)
    await talk(session, "Sing")
    session.undo()
    assert session.path[-1].text == "As an AI, I cannot."


async def test_without_the_guard_nothing_is_tried_again(begin, talk) -> None:
    session = begin(["As an AI, I cannot.", "Gladly."], options=ChatOptions(user="Ann", guard=False))
    await talk(session, "Sing")
    assert session.path[-1].text == "As an AI, I cannot."
    assert len(session.backend.requests) == 1


async def test_an_error_in_the_second_try_keeps_the_first(begin, talk) -> None:
    session = begin(["As an AI, I cannot.", RolekitError("Gone.", "Try again.")], options=GUARDED)
    with pytest.raises(RolekitError, match="Gone"):
        await talk(session, "Sing")
    assert [node.text for node in session.path][-2:] == ["Sing", "As an AI, I cannot."]
