"""Lorebooks of every program, in the shapes they really have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekit.errors import RolekitError
from rolekit.roles.lore.book import Grouping, Logic, LoreEntry, Recursion, Timing
from rolekit.roles.lore.reading import book_of, read_book

SILLYTAVERN = {
    "entries": {
        "0": {
            "uid": 7, "key": ["rooms"], "keysecondary": ["rent"], "comment": "Baker Street", "content": "221B.",
            "constant": False, "selective": True, "selectiveLogic": 3, "order": 50, "position": 4, "depth": 2,
            "role": 1, "disable": False, "probability": 60, "useProbability": True, "group": "a, b",
            "groupOverride": True, "groupWeight": 30, "useGroupScoring": True, "excludeRecursion": True,
            "preventRecursion": True, "delayUntilRecursion": 2, "scanDepth": 5, "caseSensitive": True,
            "matchWholeWords": False, "sticky": 3, "cooldown": 2, "delay": 1,
        },
        "1": {"key": ["x"], "content": "y", "disable": True},
    },
}  # fmt: skip
FULL = LoreEntry(
    uid="7", content="221B.", keys=("rooms",), secondary_keys=("rent",), name="Baker Street", selective=True,
    logic=Logic.AND_ALL, order=50, probability=60.0, place="depth", depth=2, speaker="user", scan_depth=5,
    case_sensitive=True, whole_words=False, timing=Timing(3, 2, 1), recursion=Recursion(True, True, 2),
    grouping=Grouping(("a", "b"), True, 30, True),
)  # fmt: skip
V2 = {
    "name": "London", "scan_depth": 3, "token_budget": "", "recursive_scanning": False, "extensions": {},
    "entries": [{
        "id": 7, "keys": ["rooms"], "secondary_keys": ["rent"], "comment": "Baker Street", "content": "221B.",
        "enabled": True, "insertion_order": 50, "case_sensitive": True, "selective": True, "position": "after_char",
        "extensions": {
            "position": 4, "depth": 2, "role": 1, "selectiveLogic": 3, "probability": 60, "useProbability": True,
            "group": "a,b", "group_override": True, "group_weight": 30, "use_group_scoring": True,
            "exclude_recursion": True, "prevent_recursion": True, "delay_until_recursion": 2, "scan_depth": 5,
            "match_whole_words": False, "sticky": 3, "cooldown": 2, "delay": 1,
        },
    }, {"keys": "lone", "content": "bare", "position": "before_char", "priority": 4}],
}  # fmt: skip


def test_sillytavern_keeps_every_setting() -> None:
    book = book_of(SILLYTAVERN, "world")
    assert book.entries[0] == FULL
    assert (book.entries[1].uid, book.entries[1].enabled) == ("1", False)


def test_v2_with_its_extensions_says_the_same() -> None:
    book = book_of(V2, "x")
    assert (book.name, book.scan_depth, book.token_budget, book.recursive) == ("London", 3, None, False)
    assert book.entries[0] == FULL
    assert book.entries[1] == LoreEntry("#1", "bare", ("lone",), place="before", priority=4)


def test_v3_standalone_and_its_decorators() -> None:
    entry = {"keys": ["a"], "content": "@@depth 1\nx", "use_regex": True, "extensions": {}, "enabled": True}
    book = book_of({"spec": "lorebook_v3", "data": {"entries": [entry]}}, "file")
    assert (book.name, book.entries[0].depth, book.entries[0].content) == ("file", 1, "x")


OTHERS: list[tuple[dict[str, Any], LoreEntry]] = [
    ({"kind": "memory", "name": "n", "entries": [
        {"name": "e", "keywords": ["k"], "entry": "t", "weight": 3, "priority": 9, "enabled": True}]},
     LoreEntry("#0", "t", ("k",), name="e", order=3, priority=9, place="before")),
    ({"type": "risu", "data": [
        {"key": "a, b", "secondkey": "c", "comment": "e", "content": "t", "insertorder": 5, "alwaysActive": True,
         "selective": True}]},
     LoreEntry("#0", "t", ("a", "b"), ("c",), name="e", constant=True, selective=True, order=5, whole_words=False,
               place="before")),
    ({"lorebookVersion": 5, "entries": [
        {"text": "t", "keys": ["k"], "displayName": "e", "id": "u", "forceActivation": True,
         "contextConfig": {"budgetPriority": 400}}]},
     LoreEntry("u", "t", ("k",), name="e", constant=True, order=400, place="before")),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "expected"), OTHERS, ids=["Agnai", "Risu", "NovelAI"])
def test_other_programs(payload: dict[str, Any], expected: LoreEntry) -> None:
    assert book_of(payload, "n").entries == (expected,)


def test_entries_with_one_uid_stay_two() -> None:
    rows = [{"uid": 1, "key": ["a"], "content": "a"}, {"uid": 1, "key": ["b"], "content": "b"}]
    assert [entry.uid for entry in book_of({"entries": rows}, "w").entries] == ["1", "#1"]


def test_files_that_are_no_lorebook(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text, said in (("[1]", "not an object"), ('{"a":1}', "holds no lorebook"), ("{", "not valid JSON")):
        file.write_text(text)
        with pytest.raises(RolekitError, match=said):
            read_book(file)
    with pytest.raises(RolekitError, match="cannot be read"):
        read_book(tmp_path / "none.json")
    file.write_text(json.dumps(SILLYTAVERN), encoding="utf-8-sig")
    assert read_book(file).name == "x"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*SILLYTAVERN["entries"]["0"], *V2["entries"][0], "keywords", "entry", "text"])  # type: ignore[misc]


@given(
    st.lists(st.dictionaries(FIELDS, VALUES, max_size=8), max_size=3),
    st.dictionaries(st.text(max_size=5), VALUES),
)
def test_fields_of_any_type_are_read(rows: list[dict[str, Any]], more: dict[str, Any]) -> None:
    for head in ({}, {"kind": "memory"}, {"lorebookVersion": 1}):
        assert len(book_of({**more, **head, "entries": rows}, "n").entries) == len(rows)
