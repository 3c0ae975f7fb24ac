"""Cleaning: the same every time, counted, nothing dropped; overlaps, subsets and the cleaned set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekit.rolebench.bootstrap import interval
from rolekit.rolebench.checking import check_data, write_clean_set
from rolekit.rolebench.cleaning import clean
from rolekit.rolebench.leaks import leaks_in, leaks_without_hints
from rolekit.rolebench.manifest import changed_files, read_manifest
from rolekit.rolebench.overlap import overlaps
from rolekit.rolebench.records import Record, read_records
from rolekit.rolebench.sampling import expected_half_width, sample

TEXTS = st.sampled_from(["a", " a", "a ", "A!", "b", "b\n"])
RECORDS = st.lists(
    st.builds(
        Record,
        role=st.sampled_from(["r", " r", "s"]),
        question=TEXTS,
        references=st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
        kind=st.sampled_from(["general", "role_specific"]),
        types=st.lists(st.sampled_from(["script_based", "script_agnostic"]), max_size=2).map(tuple),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(RECORDS)
def test_cleaning_loses_nothing_and_is_done_once(records: list[Record]) -> None:
    result = clean(records)
    keys = [(r.role, r.question, r.kind) for r in result.records]
    assert len(keys) == len(set(keys))
    assert set(keys) == {(r.role.strip(), r.question.strip(), r.kind) for r in records}
    given_texts = {
        (r.role.strip(), r.question.strip(), r.kind, t.strip()) for r in records for t in r.references
    }
    kept_texts = {(r.role, r.question, r.kind, t) for r in result.records for t in r.references}
    assert given_texts == kept_texts
    merged = result.counts["exact_duplicates"] + result.counts["stripped_duplicates"]
    assert len(records) == len(result.records) + merged
    again = clean(result.records)
    assert again.records == result.records
    assert not any(number for name, number in again.counts.items() if name != "near_duplicates")


def test_the_accounts_of_a_small_set(small: Path) -> None:
    specific = next(f for f in check_data(small).files if "role_specific" in f.file)
    assert (specific.rows, specific.records) == (5, 4)
    assert specific.counts["stripped_duplicates"] == 1
    assert specific.counts["united_references"] == 1
    assert specific.leaks == {"ai_identity": 1}


def test_duplicates_of_the_real_rows(english: Path) -> None:
    """The 25 that differ by a blank, and 12 more by case and punctuation."""
    result = clean(read_records(english / "test.jsonl").records)
    assert result.counts["stripped_duplicates"] == 25
    assert result.counts["near_duplicates"] == 12
    assert result.counts["stripped_questions"] == 4750
    assert len(result.records) == 4725


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("As an AI language model, I cannot.", {"ai_identity"}),
        ("I'm just an AI, my friend.", {"ai_identity"}),
        ("作为一个人工智能，我没有感情。", {"ai_identity"}),
        ("I am playing the role of Sherlock.", {"role_identity"}),
        ("As a fictional character, I do not age.", {"role_identity"}),
        ("我在扮演孙悟空。", {"role_identity"}),
        ("I'm sorry, but I cannot help.", {"rejection"}),
        ("很抱歉，我无法回答。", {"rejection"}),
        ("I said aid is on its way, Aidan; the chairman agreed.", set()),
        ("A man of character plays many parts.", set()),
    ],
)
def test_leaks(text: str, kinds: set[str]) -> None:
    assert set(leaks_in(text)) == set(leaks_without_hints(text)) == kinds


def test_the_hints_hide_no_leak(english: Path) -> None:
    texts = [
        text for record in read_records(english / "test.jsonl").records[::3] for text in record.references
    ]
    assert [leaks_in(text) for text in texts] == [leaks_without_hints(text) for text in texts]


def test_train_questions_in_the_test_set(small: Path, shared: Path) -> None:
    (found,) = overlaps(read_records(small).by_file())
    assert (found.rows, found.pairs_in_train, found.questions, found.questions_in_train) == (3, 1, 2, 1)
    (chinese,) = overlaps(read_records(shared / "rolebench-zh").by_file())
    assert (chinese.questions, chinese.questions_in_train) == (970, 970)
    assert chinese.pairs_in_train == 0


def test_a_subset_is_stratified_and_stable() -> None:
    records = [
        Record(f"role {r}", f"question {q}", ("a",), "general" if q % 3 else "role_specific", origin=str(q))
        for r in range(5)
        for q in range(30)
    ]
    chosen = sample(records, 4)
    assert len(chosen) == 20
    for role in {record.role for record in records}:
        assert sorted(r.kind for r in chosen if r.role == role) == ["general"] * 2 + ["role_specific"] * 2
    assert set(sample(list(reversed(records)), 4)) == set(chosen)
    assert set(sample(records, 3)) < set(chosen)
    assert set(sample(records, 4, salt="other")) != set(chosen)
    more = [replace(record, question=f"new {record.question}") for record in records]
    kept = set(sample([*records, *more], 4)) & set(records)
    assert kept <= set(chosen)
    assert len(sample(records, 1000)) == len(records)
    lonely = [record for record in records if record.kind == "general"]
    assert len(sample(lonely, 7)) == 35


def test_the_expected_width_is_about_the_one_that_comes(english: Path) -> None:
    from rolekit.rolebench.answers import read_answers
    from rolekit.rolebench.scorers import Standard
    from rolekit.rolebench.scoring import score_answers

    records = sample(read_records(english / "test.jsonl").records, 6)
    answers = read_answers(english / "rolegpt_baseline.jsonl").answers
    items = score_answers(records, answers, Standard()).items
    found = interval([item.value.best for item in items], [item.record.role for item in items])
    assert 0.6 < found.half_width / expected_half_width(records) < 1.6


def test_the_cleaned_set_says_what_it_is_made_of(small: Path, tmp_path: Path) -> None:
    file = small / "rolebench-eng" / "general" / "test.jsonl"
    with file.open("ab") as stream:
        stream.write(b"{broken\n")
    out = tmp_path / "clean"
    counts = write_clean_set(small, out)
    assert (counts["rows"], counts["records"], counts["quarantined"]) == (12, 10, 1)
    (fault,) = [json.loads(line) for line in (out / "quarantine.jsonl").read_text("utf-8").splitlines()]
    assert (fault["origin"], fault["raw"]) == ("rolebench-eng/general/test.jsonl:4", "{broken")
    (flag,) = [json.loads(line) for line in (out / "flags.jsonl").read_text("utf-8").splitlines()]
    assert (flag["leak"], flag["phrase"]) == ("ai_identity", "As an AI")
    manifest = read_manifest(out)
    assert manifest is not None
    assert len(manifest["inputs"]) == 3
    assert all(len(entry["sha256"]) == 64 for entry in [*manifest["inputs"], *manifest["files"]])
    assert changed_files(out) == []
    before = {path.name: path.read_bytes() for path in out.rglob("*.json*")}
    write_clean_set(small, out)
    assert {path.name: path.read_bytes() for path in out.rglob("*.json*")} == before
    assert check_data(out / "rolebench-eng").findings == {
        "flagged references": 1,
        "test rows that are in train": 1,
    }
