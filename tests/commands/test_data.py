"""`rolekit data`: what it prints, for people and for programs, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rolekit.rolebench.rows import write_rows

ROWS = [
    {
        "role": "Ada",
        "question": f"{blank}Ada, question {n}?",
        "generated": [f" Answer {n}."],
        "type": "script_based",
    }
    for n in range(6)
    for blank in ("", " ")[: 2 if n == 0 else 1]
] + [
    {
        "role": "Nemo",
        "question": "Nemo, where?",
        "generated": ["As an AI, nowhere."],
        "type": ["script_based"],
    }
]


def rolekit(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rolekit", "data", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"ROLEKIT_HOME": str(home), "PATH": "", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    write_rows(folder / "rolebench-eng" / "role_specific" / "test.jsonl", ROWS)
    write_rows(folder / "rolebench-eng" / "role_specific" / "train.jsonl", ROWS[:1])
    return folder


def test_from_a_folder_to_a_subset(clone: Path, home: Path, tmp_path: Path) -> None:
    done = rolekit("pull", "rolebench", "--from", str(clone), home=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(home / "data" / "rolebench")

    done = rolekit("check", "rolebench", home=home)
    assert done.returncode == 0, done.stderr
    assert "test.jsonl      8    0        7           1" in done.stdout
    assert "2 of 8" in done.stdout
    assert "ai_identity: As an AI" in done.stdout

    done = rolekit("check", "rolebench", "--strict", "--json", home=home)
    assert done.returncode == 1
    assert "The check is strict, and found something (duplicates: 1" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[-1] == {
        "kind": "findings",
        "duplicates": 1,
        "flagged references": 1,
        "test rows that are in train": 2,
    }

    out = tmp_path / "subset.jsonl"
    done = rolekit("sample", "rolebench", "--per-role", "2", "--out", str(out), home=home)
    assert done.returncode == 0, done.stderr
    assert "3 questions, 2 roles: expect a 95 % interval of about ±0.0" in done.stderr
    subset = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert sorted(row["role"] for row in subset) == ["Ada", "Ada", "Nemo"]
    manifest = json.loads((tmp_path / "subset.jsonl.manifest.json").read_text("utf-8"))
    assert (manifest["per_role"], len(manifest["inputs"][0]["sha256"])) == (2, 64)

    done = rolekit("sample", "rolebench", "--per-role", "2", "--role", "Nero", "--out", str(out), home=home)
    assert "The data has no role Nero. Did you mean Nemo?" in done.stderr
    assert done.returncode == 1


def test_a_clean_set_passes_a_strict_check(tmp_path: Path, home: Path) -> None:
    write_rows(tmp_path / "rows" / "test.jsonl", ROWS[:-1])
    done = rolekit("clean", str(tmp_path / "rows"), "--out", str(tmp_path / "clean"), home=home)
    assert done.returncode == 0, done.stderr
    assert "stripped duplicates: 1" in done.stderr
    assert rolekit("check", str(tmp_path / "clean"), "--strict", home=home).returncode == 0
    same = rolekit("clean", str(tmp_path / "rows"), "--out", str(tmp_path / "rows"), home=home)
    assert "cannot go where the rows are" in same.stderr


def test_stats(clone: Path, home: Path) -> None:
    done = rolekit("stats", str(clone), home=home)
    assert "8 records: 2 roles, 1–7 each, 7 distinct questions, en" in done.stdout
    rows = [
        json.loads(line) for line in rolekit("stats", str(clone), "--json", home=home).stdout.splitlines()
    ]
    assert [row["records"] for row in rows] == [8, 1]
    assert rows[0]["references_per_record"] == {"1": 8}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pull", "mmlu"], "There is no data set 'mmlu' to fetch."),
        (["pull", "rolebench", "--from", "nowhere"], "There is no folder nowhere."),
        (["check", "nowhere"], "There is no file or folder nowhere. Fetch RoleBench with"),
        (["stats", "nowhere"], "There is no file or folder nowhere."),
        (["sample", "nowhere", "--per-role", "2", "--out", "x"], "There is no file or folder nowhere."),
    ],
)
def test_bad_input_is_one_sentence(home: Path, words: list[str], sentence: str) -> None:
    done = rolekit(*words, home=home)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_rows_are_listed_with_their_lines_and_harmless(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    write_rows(file, ROWS)
    with file.open("ab") as stream:
        stream.write("\x1b[31mnot json\u202e\n".encode())
        stream.write(b'{"role": "Ada"}\n')
    done = rolekit("check", str(file), "--strict", home=home)
    assert "bad rows: 2" in done.stdout
    assert "test.jsonl:9: not JSON" in done.stdout
    assert "test.jsonl:10: no `question`" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.returncode == 1
