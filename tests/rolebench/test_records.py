"""Reading RoleBench rows and answers: every row is a record or a fault with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.rolebench import answers as answers_of
from rolekit.rolebench import records as records_of
from rolekit.rolebench.answers import Answer, read_answers
from rolekit.rolebench.records import Record, language_of, read_records, usable
from rolekit.rolebench.rows import write_rows
from rolekit.rolebench.runs import FORMAT, is_run, open_run

GOOD = {"role": "Ada", "question": " Who are you?", "generated": [" I am Ada."]}

BAD = [
    (b"{not json", "not JSON"),
    (b"\xff\xfe", "not UTF-8"),
    (b'["a", "list"]', "a JSON array where an object belongs"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"question": "q", "generated": ["a"]}', "no `role`"),
    (b'{"role": " ", "question": "q", "generated": ["a"]}', "`role` is not a text, or empty"),
    (b'{"role": "r", "question": 7, "generated": ["a"]}', "`question` is not a text, or empty"),
    (b'{"role": "r", "question": "q"}', "no `generated`"),
    (b'{"role": "r", "question": "q", "generated": []}', "`generated` is empty"),
    (b'{"role": "r", "question": "q", "generated": [3]}', "not a list of texts"),
    (b'{"role": "r", "question": "q", "generated": ["a", " "]}', "an empty reference"),
    (b'{"role": "r", "question": "q", "generated": ["\\ud800"]}', "lone surrogate"),
    (b'{"role": "r", "question": "q", "generated": ["a"], "type": 1}', "`type` is neither"),
    (b'{"role": "r", "question": "q", "generated": ["a"], "kind": "x"}', "`kind` is neither"),
]


def test_every_bad_row_is_a_fault_with_its_line(tmp_path: Path) -> None:
    lines = [line for line, _ in BAD]
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join([*lines, b"", json.dumps(GOOD).encode(), b""]))
    reading = read_records(file)
    assert [fault.origin for fault in reading.faults] == [f"{file}:{n}" for n in range(1, len(BAD) + 1)]
    for fault, (line, reason) in zip(reading.faults, BAD, strict=True):
        assert reason in fault.reason
        assert fault.raw == line.decode("utf-8", "replace")
    assert len(reading.records) == 1
    assert reading.records[0].origin == f"{file}:{len(BAD) + 2}"
    assert reading.rows_by_file == {str(file): len(BAD) + 1}


def test_texts_stay_as_the_file_has_them(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    record = read_records(file).records[0]
    assert record == Record("Ada", " Who are you?", (" I am Ada.",), "general", origin=f"{file}:1")


def test_the_place_says_kind_and_language_and_the_row_wins(tmp_path: Path) -> None:
    for place, row in {
        "rolebench-zh/general/test.jsonl": GOOD,
        "rolebench-eng/x/role_specific/test.jsonl": GOOD | {"type": "script_based"},
        "rolebench-eng/x/role_specific/train.jsonl": GOOD | {"kind": "general", "language": "fr"},
        "rolebench-eng/x/role_specific/rolegpt_baseline.jsonl": GOOD,
        "profiles-eng/other.jsonl": GOOD,
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_rows(tmp_path / place, [row])
    found = {
        (Path(r.origin).parts[-2], Path(r.origin).stem): (r.kind, r.language, r.types)
        for r in read_records(tmp_path).records
    }
    assert found == {
        ("general", "test"): ("general", "zh", ()),
        ("role_specific", "test"): ("role_specific", "en", ("script_based",)),
        ("role_specific", "train"): ("general", "fr", ()),
    }
    assert len(read_records(tmp_path, "test").records) == 2


def test_a_record_survives_its_row(tmp_path: Path) -> None:
    record = Record("Ada", "q\u2028?", ("a", "b"), "role_specific", ("raw",), ("script_based",), "fr", "x:3")
    write_rows(tmp_path / "r.jsonl", [records_of.as_row(record)])
    assert read_records(tmp_path / "r.jsonl").records == (record,)


@pytest.mark.parametrize(
    ("text", "language"), [("Who?", "en"), ("你是谁？", "zh"), ("", "en"), ("Wer bist du, 李?", "en")]
)
def test_the_language_is_seen_from_the_letters(text: str, language: str) -> None:
    assert language_of(text) == language


def test_paths_without_rows_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match="no file or folder"):
        read_records(tmp_path / "none")
    with pytest.raises(RolekitError, match="holds no RoleBench file"):
        read_records(tmp_path)
    (tmp_path / "test.jsonl").write_bytes(b"\n \n")
    with pytest.raises(RolekitError, match="is empty"):
        read_records(tmp_path)
    (tmp_path / "test.jsonl").write_bytes(b"<html>\n")
    with pytest.raises(RolekitError, match=r"test\.jsonl:1: not JSON"):
        usable(read_records(tmp_path), tmp_path)


def test_answers_of_both_kinds_of_rows(tmp_path: Path) -> None:
    ours = Answer("Ada", "q", "", "general", "zero-shot", "length", 5, 7, 0.5, f"{tmp_path / 'a.jsonl'}:1")
    rows = [
        answers_of.as_row(ours),
        {"role": "Ada", "question": "q", "generated": ["one", "two"]},
        {"role": "Ada", "question": "q", "generated": []},
        {"role": "Ada", "question": "q", "answer": None},
        {"role": "Ada", "answer": "x"},
        {"role": "Ada", "question": "q", "answer": "x", "seconds": "long"},
        {"role": "Ada", "question": "q", "answer": "x", "condition": 3},
    ]
    write_rows(tmp_path / "a.jsonl", rows)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"role": "Ada", "ques')
    reading = read_answers(tmp_path / "a.jsonl")
    assert reading.answers[0] == ours
    assert [answer.text for answer in reading.answers] == ["", "one"]
    assert reading.several == 1
    assert [int(fault.origin.rpartition(":")[2]) for fault in reading.faults] == [3, 4, 5, 6, 7, 8]


def test_no_answers_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(RolekitError, match="holds no answers"):
        read_answers(tmp_path / "a.jsonl")


def test_a_run_folder_is_known_by_its_recipe(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match="There is no run folder"):
        open_run(tmp_path / "none")
    with pytest.raises(RolekitError, match="is not a run folder"):
        open_run(tmp_path)
    (tmp_path / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(RolekitError, match="cannot be read"):
        open_run(tmp_path)
    (tmp_path / "recipe.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(RolekitError, match=r"written in run format 99, and this rolekit reads format"):
        open_run(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps({"format": FORMAT, "model": "m"}), encoding="utf-8")
    assert is_run(tmp_path)
    run = open_run(tmp_path)
    assert (run.label, run.finished) == ("m", False)
    (tmp_path / "DONE").touch()
    assert run.finished
