"""SillyTavern's chat files: what goes in comes out, and a bad line harms nobody."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekit.chat.sillytavern import character_of, import_sillytavern, to_sillytavern
from rolekit.errors import RolekitError

HEADER = {
    "user_name": "Ann",
    "character_name": "Ada",
    "create_date": "2024-10-19@15h14m00s",
    "chat_metadata": {"note_prompt": "x", "variables": {"a": 1}},
    "integrity": "abc",
}
GREETING = {
    "name": "Ada",
    "is_user": False,
    "is_system": False,
    "send_date": "October 19, 2024 3:14pm",
    "mes": "Good evening.",
    "extra": {"api": "openai", "token_count": 4},
    "swipes": ["Hello.", "Good evening.", "Hi."],
    "swipe_id": 1,
    "swipe_info": [
        {"send_date": "October 19, 2024 3:13pm", "extra": {"n": 1}},
        {"send_date": "October 19, 2024 3:14pm", "extra": {}, "gen_id": 9},
        {"send_date": "October 19, 2024 3:15pm", "extra": {}},
    ],
    "force_avatar": "ada.png",
}
QUESTION = {
    "name": "Ann",
    "is_user": True,
    "is_system": False,
    "send_date": "October 19, 2024 3:16pm",
    "mes": "Who are you? 你是谁？",
    "extra": {},
}
NOTE = {**QUESTION, "is_system": True, "mes": "A hidden line."}
NARRATION = {**QUESTION, "name": "Rain", "is_user": False, "mes": "It rains.", "extra": {"type": "narrator"}}


def write(path: Path, *lines: object) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def exported(store, conversation_id):
    return [json.loads(line) for line in to_sillytavern(store, conversation_id).split("\n") if line]


def test_swipes_become_versions_of_one_message(store, tmp_path):
    report = import_sillytavern(store, write(tmp_path / "a.jsonl", HEADER, GREETING, QUESTION))
    assert (report.messages, report.versions, report.bad_lines) == (2, 4, ())
    greeting, question = store.path(report.conversation_id)
    assert (greeting.text, greeting.version, greeting.versions) == ("Good evening.", 2, 3)
    assert question.speaker == "user"
    info = store.conversation(report.conversation_id)
    assert (info.user, info.role_name, info.title) == ("Ann", "Ada", "Who are you? 你是谁？")
    assert character_of(tmp_path / "a.jsonl") == "Ada"


def test_a_file_comes_out_as_it_went_in(store, tmp_path):
    lines = [HEADER, GREETING, QUESTION, NOTE, NARRATION]
    report = import_sillytavern(store, write(tmp_path / "a.jsonl", *lines))
    assert exported(store, report.conversation_id) == lines


def test_an_own_chat_has_the_form_that_others_read(begin, store):
    session = begin()
    greeting = session.path[0]
    session.edit(greeting.id, "Good morning.")
    header, line = exported(store, session.id)
    assert set(header) == {"user_name", "character_name", "create_date", "chat_metadata"}
    assert (line["name"], line["is_user"], line["mes"]) == ("Ada Lovelace", False, "Good morning.")
    assert (line["swipes"], line["swipe_id"]) == (["Good evening, Ann.", "Good morning."], 1)
    assert [set(info) for info in line["swipe_info"]] == [{"send_date", "extra"}] * 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"name": "Ada", "mes": "cut o', "not JSON"),
        ("[1, 2]", "not an object"),
        ('{"name": "Ada"}', "no text"),
        ('{"mes": 3}', "no text"),
        ('{"mes": "x", "extra": ' + "[" * 5000 + "]" * 5000 + "}", "n"),
        ('{"mes": "x", "extra": ' + "[" * 300 + "]" * 300 + "}", "nested"),
    ],
)
def test_a_bad_line_is_counted_and_kept_apart(store, tmp_path, line, reason):
    report = import_sillytavern(store, write(tmp_path / "a.jsonl", HEADER, GREETING, line, QUESTION, line))
    assert [bad.number for bad in report.bad_lines] == [3, 5]
    assert report.bad_lines[0].reason.startswith(reason)
    assert report.messages == 2
    kept = json.loads(store.row(report.conversation_id)["extra"])["bad_lines"]
    assert kept == [{"line": 3, "text": line}, {"line": 5, "text": line}]


def test_bom_carriage_returns_surrogates_and_odd_separators(store, tmp_path):
    path = tmp_path / "a.jsonl"
    mes = {**QUESTION, "mes": "one\u2028two\x85three\x1b[2J\x00"}
    body = "\ufeff" + "\r\n".join(json.dumps(line) for line in (HEADER, GREETING, mes))
    path.write_bytes(
        body.encode() + b'\r\n{"mes": "half \\ud83d a pair", "is_user": true}\r\n{"mes": "bad \xff"}'
    )
    report = import_sillytavern(store, path)
    assert report.bad_lines == ()
    assert [node.text for node in store.path(report.conversation_id)] == [
        "Good evening.", "one\u2028two\x85three\x1b[2J\x00", "half \ufffd a pair", "bad \ufffd",
    ]  # fmt: skip
    assert store.search("half")


def test_an_unreadable_header_hides_nothing(store, tmp_path):
    report = import_sillytavern(store, write(tmp_path / "a.jsonl", '{"user_name": ', GREETING, QUESTION))
    assert [bad.number for bad in report.bad_lines] == [1]
    info = store.conversation(report.conversation_id)
    assert (info.user, info.role_name, report.messages) == ("Ann", "Ada", 2)


def test_a_text_edited_without_its_swipe_keeps_both(store, tmp_path):
    path = write(tmp_path / "a.jsonl", HEADER, {**GREETING, "mes": "Edited."})
    report = import_sillytavern(store, path)
    (node,) = store.path(report.conversation_id)
    assert (node.text, node.version, node.versions) == ("Edited.", 4, 4)


@pytest.mark.parametrize("swipe_id", [-1, 7, "1", None, 2])
def test_an_impossible_swipe_number_still_finds_the_text(store, tmp_path, swipe_id):
    report = import_sillytavern(store, write(tmp_path / "a.jsonl", {**GREETING, "swipe_id": swipe_id}))
    (node,) = store.path(report.conversation_id)
    assert (node.text, node.version, node.versions) == ("Good evening.", 2, 3)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\0\0\0", b'{"user_name": "Ann"}\n'])
def test_a_file_without_messages_is_refused_and_nothing_is_made(store, tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(RolekitError, match="no message"):
        import_sillytavern(store, path)
    assert store.conversations() == []


def test_a_missing_file_is_one_sentence(store, tmp_path):
    with pytest.raises(RolekitError, match="cannot be read"):
        import_sillytavern(store, tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("October 19, 2024 3:14pm", "2024-10-19"),
        ("2024-10-19T15:14:00.000Z", "2024-10-19"),
        ("2024-10-19@15h14m00s", "2024-10-19"),
        (1729350840000, "2024-10-19"),
        ("1729350840", "2024-10-19"),
        ("yesterday", time.strftime("%Y-%m-%d")),
        ("9" * 400, time.strftime("%Y-%m-%d")),
    ],
)
def test_dates_in_every_form(store, tmp_path, date, day):
    report = import_sillytavern(store, write(tmp_path / "a.jsonl", {**QUESTION, "send_date": date}))
    (node,) = store.path(report.conversation_id)
    assert time.strftime("%Y-%m-%d", time.localtime(node.created_at)) == day


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
unknown = st.dictionaries(text.map("x_".__add__), json_values, max_size=2)


@st.composite
def a_message(draw):
    swipes = draw(st.lists(text, min_size=1, max_size=3, unique=True))
    active = draw(st.integers(0, len(swipes) - 1))
    infos = [{"send_date": draw(text), "extra": draw(unknown), **draw(unknown)} for _ in swipes]
    line = {"name": draw(text), "is_user": draw(st.booleans()), "is_system": draw(st.booleans())}
    line |= {
        "send_date": draw(text | st.integers(0, 2**45) | st.datetimes().map(str)),
        "mes": swipes[active],
        "extra": draw(unknown),
    }
    line |= {"swipes": swipes, "swipe_id": active, "swipe_info": infos} if draw(st.booleans()) else {}
    return line | draw(unknown)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(a_message(), min_size=1, max_size=5), extra=unknown)
def test_every_well_formed_file_round_trips(store, tmp_path, lines, extra):
    whole = [{**HEADER, **extra}, *lines]
    report = import_sillytavern(store, write(tmp_path / "a.jsonl", *whole))
    assert exported(store, report.conversation_id) == whole
    again = import_sillytavern(store, write(tmp_path / "b.jsonl", *exported(store, report.conversation_id)))
    assert exported(store, again.conversation_id) == whole
