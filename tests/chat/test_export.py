"""Exports: Markdown to read, JSON that loses nothing, the ending chooses."""

from __future__ import annotations

import json

import pytest

from rolekit.chat.archive import import_json, to_json
from rolekit.chat.export import to_markdown, write_export
from rolekit.errors import RolekitError


async def a_tree(begin, talk):
    session = begin(["a", "b", "c \x1b[2J"])
    await talk(session, "你好 1")
    await talk(session, "2")
    session.edit(session.path[1].id, "one")
    async for _ in session.regenerate():
        pass
    session.pin(session.path[1].id, True)
    session.delete(session.path[2].id)
    session.undo()
    return session


def without_numbers(text):
    whole = json.loads(text)
    del whole["conversation"]["id"]
    position = {node["id"]: index for index, node in enumerate(whole["nodes"])} | {None: None}
    whole["conversation"]["head"] = position[whole["conversation"]["head"]]
    for node in whole["nodes"]:
        node["parent_id"] = position[node["parent_id"]]
        del node["id"], node["conversation_id"]
    for step in whole["operations"]:
        for name in ("node_id", "head_before", "head_after"):
            step[name] = position[step[name]]
        del step["id"], step["conversation_id"]
    return whole


async def test_json_brings_the_whole_tree_back(begin, talk, store, tmp_path):
    session = await a_tree(begin, talk)
    write_export(store, session.id, tmp_path / "a.json")
    again = import_json(store, tmp_path / "a.json")
    assert again != session.id
    assert without_numbers(to_json(store, again)) == without_numbers(to_json(store, session.id))
    assert [node.text for node in store.path(again)] == [node.text for node in session.path]
    assert len(store.search("你")) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"format": "rolekit-conversation", "version": 99}', b"\xff\xfe", b"[" * 100000,
     b'{"format": "rolekit-conversation", "version": 1, "conversation": {}, "nodes": [{"id": 1}], "operations": []}'],
)  # fmt: skip
def test_json_of_another_kind_is_one_sentence(store, tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RolekitError, match="not a conversation"):
        import_json(store, path)
    assert store.conversations() == []


@pytest.mark.parametrize(
    "node",
    [{"text": None}, {"text": ["a"]}, {"created_at": "today"}, {"created_at": 1e18}, {"created_at": float("nan")}],
)  # fmt: skip
async def test_an_edited_export_is_one_sentence(begin, talk, store, tmp_path, node):
    session = begin()
    await talk(session, "Hello?")
    whole = json.loads(to_json(store, session.id))
    whole["nodes"][1] |= node
    path = tmp_path / "a.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(RolekitError, match="not a conversation"):
        import_json(store, path)
    assert [info.id for info in store.conversations()] == [session.id]


async def test_markdown_shows_the_active_branch_without_escapes(begin, talk, store):
    session = await a_tree(begin, talk)
    text = to_markdown(store, session.id)
    assert "**Ann:** one\n" in text
    assert "**Ada Lovelace:** c ␛[2J\n" in text
    assert text.startswith("# 你好 1\n")
    assert "**Ann:** 2" not in text


async def test_the_ending_chooses_the_format(begin, talk, store, tmp_path):
    session = await a_tree(begin, talk)
    for name, first in (("a.md", "# "), ("a.JSON", "{"), ("a.jsonl", '{"user_name"')):
        write_export(store, session.id, tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(first)
    with pytest.raises(RolekitError, match=r"ending of a\.txt"):
        write_export(store, session.id, tmp_path / "a.txt")
    (tmp_path / "mine.md").write_text("not yours", encoding="utf-8")
    with pytest.raises(RolekitError, match="is there already"):
        write_export(store, session.id, tmp_path / "mine.md")
    assert (tmp_path / "mine.md").read_text(encoding="utf-8") == "not yours"


@pytest.mark.parametrize("name", ["a" * 300 + ".md", "a\0b.md"])
async def test_a_name_that_no_file_can_have_is_one_sentence(begin, store, tmp_path, name):
    with pytest.raises(RolekitError):
        write_export(store, begin().id, tmp_path / name)
    assert list(tmp_path.glob("*.md*")) == []
