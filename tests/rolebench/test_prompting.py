"""Who is asked, and how: casting, retrieval, and RoleGPT's conditions."""

from __future__ import annotations

import json

import pytest

from rolekit.errors import RolekitError
from rolekit.ranking import words_of
from rolekit.rolebench.casting import Casting, read_descriptions, wanted_roles
from rolekit.rolebench.planning import Wishes, plan
from rolekit.rolebench.prompting import CUSTOMISES, PROMPTINGS, messages_for, needs_pairs
from rolekit.rolebench.records import Record
from rolekit.rolebench.retrieval import Pair, Pairs
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Role

SAID = (Pair("Who are you?", "I am the Cat."), Pair("Do you grin?", "Always."))


@pytest.fixture
def casting():
    return Casting(RoleLibrary(), {"Jack Sparrow": "a pirate captain."})


def test_a_role_comes_from_the_profiles_the_library_or_its_name(casting):
    assert casting.cast("Jack Sparrow", "en").source == "profiles"
    assert casting.cast("sherlock  HOLMES", "en").source == "library"
    assert casting.cast("Nobody Known", "en").source == "name"
    chinese = casting.cast("张飞", "zh")
    assert (chinese.source, chinese.role.language) == ("library", "zh")
    assert (
        casting.cast("Sherlock Holmes", "zh").source == "name"
    )  # an English page is no use for a Chinese role
    assert casting.cast("皇帝", "zh").role.description.startswith("你是皇帝")


def test_descriptions_lie_at_or_above_the_data(tmp_path):
    (tmp_path / "profiles-eng").mkdir()
    (tmp_path / "profiles-eng" / "desc.json").write_text(json.dumps({"A": "is A."}))
    rows = tmp_path / "rolebench-eng" / "general" / "test.jsonl"
    assert read_descriptions(rows) == {"A": "is A."}
    (tmp_path / "profiles-eng" / "desc.json").write_text("[1]")
    with pytest.raises(RolekitError, match="no table of descriptions"):
        read_descriptions(tmp_path)


def test_roles_are_found_by_name_and_the_nearest_are_named():
    names = ["Sherlock Holmes", "D_Artagnan", "皇帝"]
    assert wanted_roles(["sherlock holmes", "d'artagnan", "皇帝"], names) == set(names)
    with pytest.raises(RolekitError, match="no role called") as caught:
        wanted_roles(["Sherlok"], names)
    assert "Sherlock Holmes" in caught.value.what_to_do


@pytest.mark.parametrize("customise", CUSTOMISES)
@pytest.mark.parametrize("prompting", PROMPTINGS)
def test_the_conditions(casting, prompting, customise):
    cast = casting.cast("Jack Sparrow", "en")
    messages = messages_for(cast, "Where is the Pearl?", SAID, prompting, customise)
    assert messages[-1].speaker == "user"
    assert messages[-1].text.endswith("Where is the Pearl?")
    text = "\n".join(message.text for message in messages)
    assert ("pirate captain" in text) == (customise == "system")
    assert ("I am the Cat." in text) == needs_pairs(prompting, customise)
    as_turns = needs_pairs(prompting, customise) and prompting != "few-shot-prompt"
    assert [m.speaker for m in messages].count("assistant") == (2 if as_turns else 0)
    assert (messages[0].block == "role") == (customise != "none")


def test_the_role_s_own_block_does_not_depend_on_the_question(casting):
    cast = casting.cast("Jack Sparrow", "en")
    first, second = (
        messages_for(cast, question, (pair,), "few-shot-dialogue", "system")[0]
        for question, pair in zip(("a", "b"), SAID, strict=True)
    )
    assert first == second


def test_the_nearest_pairs_stand_last():
    rows = [Record("Cat", f"Tell me about {word}.", (f"{word} it is.",), "general") for word in "abcdefgh"]
    rows.append(Record("Cat", "Do you like violins?", ("Violins are my joy.",), "general"))
    asked = [Record("Cat", "tell me about A", ("x",), "general")]
    pairs = Pairs(rows, asked)
    found = pairs.nearest("Cat", Role(name="Cat", description="x"), "What of your violins?")
    assert len(found) == 5
    assert found[-1].user == "Do you like violins?"
    assert pairs.left_out == 1
    assert pairs.nearest("Cat", Role(name="Cat", description="x"), "zzz")
    assert pairs.nearest("Dog", Role(name="Dog", description="x"), "Who?") == ()


def test_chinese_words_are_characters():
    assert words_of("俺老孙, Hello-World 42!") == ["俺", "老", "孙", "hello", "world", "42"]
    rows = [Record("孙悟空", text, (text,), "general", language="zh") for text in ("金箍棒有多重", "你怕谁")]
    assert (
        Pairs(rows, ()).nearest("孙悟空", Role(name="x", description="x"), "你的棒重吗")[-1].user
        == "金箍棒有多重"
    )


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(role, question, answer="Aye."):
    return {"role": role, "question": question, "generated": [answer]}


def test_a_plan_says_what_a_person_should_know(tmp_path):
    told: list[str] = []
    data = write(
        tmp_path / "test.jsonl",
        [row("Cat", " Who? "), row("Dog", "Who?"), row("Cat", "Who?"), {"role": "Cat"}],
    )
    planned = plan(Wishes(data), "zero-shot", "system", told.append)
    assert [record.question for record in planned.records] == ["Who?", "Who?"]
    assert "1 rows of the data cannot be used" in told[0]
    assert "2 of 2 roles have no description" in told[1]


def test_few_shot_needs_pairs(tmp_path):
    data = write(tmp_path / "test.jsonl", [row("Cat", "Who?"), row("Dog", "Who?")])
    with pytest.raises(RolekitError, match="no example pairs"):
        plan(Wishes(data), "few-shot-dialogue", "system", print)
    examples = write(tmp_path / "other.jsonl", [row("Cat", "Who?"), row("Cat", "Where?")])
    told: list[str] = []
    planned = plan(Wishes(data, examples=examples), "few-shot-dialogue", "system", told.append)
    assert any("1 of 2 roles have no example pairs" in line for line in told)
    assert any("1 example rows are questions of this run" in line for line in told)
    assert planned.examples_sha256
    with pytest.raises(RolekitError, match="bare question"):
        plan(Wishes(data), "few-shot-prompt", "none", print)


def test_a_folder_s_train_split_gives_the_pairs(tmp_path):
    write(tmp_path / "general" / "test.jsonl", [row("Cat", "Who?")])
    write(tmp_path / "general" / "train.jsonl", [row("Cat", "Where?", "Here.")])
    planned = plan(Wishes(tmp_path), "few-shot-dialogue", "retrieval", lambda text: None)
    assert planned.pairs.nearest("Cat", planned.casting.cast("Cat", "en").role, "Who?") == (
        Pair("Where?", "Here."),
    )
