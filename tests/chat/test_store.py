"""The store: lists, names, search, deletion that can be taken back, and long chats."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekit.chat import nodes
from rolekit.chat.nodes import Draft
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError


def make(store, slug="ada", **changes):
    return store.create(**{"role_slug": slug, "role_name": slug.title(), "user": "Ann", **changes})


def fill(store, info, texts):
    with store.database.writing() as connection:
        head = None
        for number, text in enumerate(texts):
            speaker = "user" if number % 2 else "assistant"
            head = nodes.insert(connection, info.id, head, Draft(speaker, text, token_ids=range(40)))
        nodes.set_head(connection, info.id, head)


def test_conversations_come_newest_first_and_by_role(store):
    first, second = make(store), make(store, "bob")
    third = make(store)
    assert [info.id for info in store.conversations()] == [third.id, second.id, first.id]
    assert [info.id for info in store.conversations("ada")] == [third.id, first.id]
    fill(store, first, ["a", "b"])
    assert store.conversations()[0].id == first.id
    assert store.conversation(first.id).messages == 2
    assert len(store.conversations(limit=1)) == 1


def test_a_name_finds_its_conversation(store):
    info = make(store, name="evening")
    make(store, name="morning")
    assert store.find("evening") == store.conversation(info.id)
    assert store.find(info.id, "ada") == store.conversation(info.id)
    assert store.find("evening", "bob") is None


def test_the_list_is_searched_by_title_role_and_words(store):
    one, two = make(store, title="A walk in the fog"), make(store, "bob")
    fill(store, two, ["Nothing but rain, 100% rain"])
    assert [info.id for info in store.conversations(search="FOG")] == [one.id]
    assert [info.id for info in store.conversations(search="bob")] == [two.id]
    assert [info.id for info in store.conversations(search="rain")] == [two.id]
    assert [info.id for info in store.conversations(search="0%")] == [two.id]
    assert store.conversations(search="_") == []


def test_a_deleted_conversation_can_be_brought_back(store):
    info = make(store)
    fill(store, info, ["secret words"])
    store.delete_conversation(info.id)
    assert store.conversations() == []
    assert store.search("secret") == []
    assert store.restore_conversation() == store.conversation(info.id)
    assert store.restore_conversation() is None
    assert len(store.search("secret")) == 1


def test_rename(store):
    info = make(store)
    store.rename(info.id, "Another title")
    assert store.conversation(info.id).title == "Another title"


def test_an_unknown_conversation_is_one_sentence(store):
    with pytest.raises(RolekitError, match="no conversation"):
        store.conversation("nope")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("孙悟空", ["我是孙悟空，花果山水帘洞主。"]),
        ("悟空", ["我是孙悟空，花果山水帘洞主。"]),
        ("孙", ["我是孙悟空，花果山水帘洞主。"]),
        ("花果山 主", ["我是孙悟空，花果山水帘洞主。"]),
        ("ELEMENTARY", ["Elementary, my dear Watson."]),
        ("watson dear", ["Elementary, my dear Watson."]),
        ("my", ["Elementary, my dear Watson."]),
        ('"quoted" OR', ['A "quoted" OR word, 50%']),
        ("0%", ['A "quoted" OR word, 50%']),
        ("_", []),
        ("absent", []),
        ("  ", []),
        ("nul\0 ", []),
    ],
)
def test_search_finds_words_of_any_length_and_script(store, words, found):
    info = make(store)
    fill(
        store,
        info,
        ["我是孙悟空，花果山水帘洞主。", "Elementary, my dear Watson.", 'A "quoted" OR word, 50%'],
    )
    assert [hit.snippet for hit in store.search(words)] == found


@given(st.text(max_size=8) | st.text('"*^:-()% _\\\0\ud800abc', max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_may_be_searched(store, words):
    if not store.conversations():
        fill(store, make(store), ['A "quoted" word*, 50% (abc) -x ^y'])
    assert all("quoted" in hit.snippet for hit in store.search(words))
    assert len(store.conversations(search=words)) <= 1
    assert store.find(words) is None or not words


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_the_file_is_for_its_owner_only(store):
    make(store)
    assert {path.stat().st_mode & 0o077 for path in store.database.path.parent.glob("chats.db*")} == {0}


def test_a_hit_says_where_it_is_and_its_snippet_is_one_safe_line(store):
    info = make(store, title="T")
    fill(store, info, ["x " * 100 + "needle\n\x1b[2J" + " y" * 100])
    (hit,) = store.search("needle", conversation_id=info.id)
    assert (hit.conversation_id, hit.title, hit.role_name, hit.speaker) == (info.id, "T", "Ada", "assistant")
    assert "needle ␛[2J" in hit.snippet
    assert len(hit.snippet) < 90
    assert store.search("needle", conversation_id="other") == []


def test_an_old_text_is_not_found_after_a_streamed_one_has_grown(store):
    info = make(store)
    fill(store, info, ["first draft"])
    node = store.path(info.id)[0]
    with store.database.writing() as connection:
        nodes.replace(connection, node.id, Draft("assistant", "final words"))
    assert store.search("draft") == []
    assert len(store.search("final")) == 1


def test_a_streaming_node_reads_as_stopped(store):
    info = make(store)
    with store.database.writing() as connection:
        head = nodes.insert(connection, info.id, None, Draft("assistant", "half a", state="streaming"))
        nodes.set_head(connection, info.id, head)
    assert store.path(info.id)[0].state == "stopped"


def test_half_a_surrogate_pair_can_be_saved(store):
    info = make(store, title="\ud83d title")
    fill(store, info, ["half \ud83d pair"])
    assert [node.text for node in store.path(info.id)] == ["half \ufffd pair"]
    assert store.conversation(info.id).title == "\ufffd title"


def test_token_ids_come_back_as_they_were(store):
    info = make(store)
    fill(store, info, ["x"])
    assert store.path(info.id)[0].token_ids == tuple(range(40))


def test_a_nested_write_is_undone_with_the_outer_one(store):
    info = make(store)

    def fails():
        with store.database.writing():
            store.rename(info.id, "inner")
            raise KeyError("outer")

    with pytest.raises(KeyError):
        fails()
    assert store.conversation(info.id).title == ""


def test_a_newer_file_is_left_alone(store, tmp_path):
    store.database.read("PRAGMA user_version=99")
    store.close()
    before = store.database.path.read_bytes()
    with pytest.raises(RolekitError, match="newer rolekit"):
        Store()
    assert store.database.path.read_bytes() == before


def test_a_long_chat_costs_little_more_than_reading_it(store, role):
    """5,000 messages: opening, planning and talking stay linear; compared with a plain read of the rows."""
    info = make(store)
    fill(store, info, [f"message {number} " + "word " * 20 for number in range(5000)])
    backend = ScriptedBackend(["ok"], context_tokens=4096)
    start = time.perf_counter()
    rows = store.database.read("SELECT * FROM node WHERE conversation_id=?", (info.id,))
    plain = time.perf_counter() - start
    start = time.perf_counter()
    session = Session.resume(store, backend, role, "ada", info.id, options=ChatOptions())
    opened = time.perf_counter() - start
    assert len(session.path) == len(rows) == 5000
    start = time.perf_counter()
    plan = session.seats[0].prompting.plan(session.path, session.max_tokens)
    planned = time.perf_counter() - start
    assert 0 < len(plan.kept) < 5000
    print(f"rows {plain * 1000:.0f} ms, opened {opened * 1000:.0f} ms, planned {planned * 1000:.0f} ms")
    assert opened < 30 * plain
    assert planned < 30 * plain
