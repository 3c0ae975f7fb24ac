"""General instructions in the formats in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rolekit.errors import RolekitError
from rolekit.rolebench.sources import read_instructions

CASES: list[tuple[str, str, Any, str, tuple[str, ...]]] = [
    ("alpaca", "a.json", [{"instruction": "Add.", "input": "1 2", "output": "3"}], "Add.\n1 2", ("3",)),
    ("belle", "a.jsonl", {"instruction": "问。", "input": "", "output": "答。"}, "问。", ("答。",)),
    (
        "coig exam",
        "a.jsonl",
        {
            "textbox_q_instruction": "选择",
            "textbox_q_context": "",
            "textbox_question": "几？",
            "textbox_answer": "三",
        },
        "选择\n几？",
        ("三",),
    ),
    (
        "natural instructions",
        "task001.json",
        {
            "Definition": ["Translate."],
            "Instances": [{"id": "1", "input": "chat", "output": ["cat", "talk"]}],
        },
        "Translate.\nchat",
        ("cat", "talk"),
    ),
    ("ultrachat", "a.jsonl", {"id": "0", "data": ["Hi?", "Hello!", "Bye?", "Bye!"]}, "Hi?", ("Hello!",)),
    (
        "ultrachat 200k",
        "a.jsonl",
        {
            "prompt": "Hi?",
            "messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes"}],
        },
        "Hi?",
        ("Yes",),
    ),
    (
        "chat",
        "a.jsonl",
        {"messages": [{"role": "system", "content": "Be."}, {"role": "user", "content": "Hi?"}]},
        "Hi?",
        (),
    ),
    (
        "sharegpt",
        "a.json",
        [{"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes"}]}],
        "Hi?",
        ("Yes",),
    ),
    ("rolebench", "a.jsonl", {"question": "Hi?\n", "generated": ["Yes ", "No"]}, "Hi?", ("Yes", "No")),
]


@pytest.mark.parametrize(
    ("name", "file", "content", "question", "answers"), CASES, ids=[case[0] for case in CASES]
)
def test_a_format_is_recognised_by_its_keys(
    tmp_path: Path, name: str, file: str, content: Any, question: str, answers: tuple[str, ...]
) -> None:
    (tmp_path / file).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for place in (tmp_path, tmp_path / file):
        reading = read_instructions(place)
        assert [(one.question, one.answers) for one in reading.instructions] == [(question, answers)]
        assert reading.faults == ()


def test_conversations_keep_all_their_turns(tmp_path: Path) -> None:
    row = {"data": ["Hi?", "Hello!", "Bye?", "Bye!"]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (one,) = read_instructions(tmp_path).instructions
    assert [(turn.speaker, turn.text) for turn in one.turns] == [
        ("user", "Hi?"),
        ("assistant", "Hello!"),
        ("user", "Bye?"),
        ("assistant", "Bye!"),
    ]


def test_pretty_printed_json_and_mixed_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(CASES[0][2], indent=2), encoding="utf-8")
    assert len(read_instructions(tmp_path).instructions) == 1
    lines = [json.dumps(case[2], ensure_ascii=False) for case in CASES if isinstance(case[2], dict)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert len(read_instructions(tmp_path).instructions) == len(lines)


def test_rows_that_are_no_instructions_are_faults(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"instruction": "Go."},
        {"instruction": 7},
        {"instruction": " "},
        {"Definition": "d", "Instances": [3]},
        {"messages": [{"role": "wizard", "content": "Hi"}]},
        {"messages": [{"role": "assistant", "content": "Hi"}]},
        {"data": ["a", 2]},
        {"something": "else"},
        [1],
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    reading = read_instructions(tmp_path / "a.jsonl")
    assert [one.question for one in reading.instructions] == ["Go."]
    assert [fault.origin.rpartition(":")[2] for fault in reading.faults] == [str(n) for n in range(2, 10)]
    (tmp_path / "b.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(RolekitError, match=r"holds no general instructions.*b\.json#1: not an object"):
        read_instructions(tmp_path / "b.json")
    with pytest.raises(RolekitError, match="There is no file or folder"):
        read_instructions(tmp_path / "none")
