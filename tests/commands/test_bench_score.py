"""`rolekit bench score`: the JSON contract, the accounts, and bad input in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rolekit.rolebench.records import as_row, read_records
from rolekit.rolebench.rows import write_rows
from rolekit.rolebench.runs import FORMAT

ROWS = [
    {
        "role": "Ada",
        "question": " Who was your father?",
        "generated": [" Lord Byron, the poet."],
        "type": "script_based",
    },
    {"role": "Nemo", "question": "Where?", "generated": ["Under the sea.", "Below."], "type": "script_based"},
    {"role": "Nemo", "question": "Name a colour.\n", "generated": ["The black of the deep."]},
]
ANSWERS = [
    {"role": "Ada", "question": "Who was your father?", "answer": "Lord Byron, the poet."},
    {"role": "Nemo", "question": "Where?", "answer": ""},
    {"role": "Nemo", "question": "Name a colour.\n", "answer": "black", "stop_reason": "length"},
    {"role": "Zorro", "question": "Name a colour.", "answer": "Black."},
]


def rolekit(*words: str) -> subprocess.CompletedProcess[str]:
    """The real program."""
    return subprocess.run(
        [sys.executable, "-m", "rolekit", *words], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Answers and references."""
    write_rows(tmp_path / "references.jsonl", ROWS)
    write_rows(tmp_path / "answers.jsonl", ANSWERS)
    return str(tmp_path / "answers.jsonl"), str(tmp_path / "references.jsonl")


def test_json_is_the_contract(files: tuple[str, str]) -> None:
    done = rolekit("bench", "score", files[0], "--data", files[1], "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["scorer"] == "standard"
    assert row["scores"] == {"CUS": pytest.approx(1 / 3), "RAW": None, "SPE": 0.5, "avg": None}
    assert set(row["ci95"]) == {"CUS", "SPE"}
    assert row["ci95"]["SPE"] == [0.0, 1.0]
    assert row["n"] == {"asked": 3, "answered": 3, "scored": 3}
    assert "--raw FILE" in row["unscored"]["RAW"]
    assert row["unscored"]["avg"] == "the mean of all three needs RAW"
    assert 0 < row["length_ratio"] < 1
    assert row["accounts"]["joined_exactly"] == 2
    assert row["accounts"]["joined_stripped"] == 1
    assert row["accounts"]["empty_answers"] == row["accounts"]["cut_off_answers"] == 1
    assert row["accounts"]["answers_to_nothing"] == row["accounts"]["answers_of_unknown_roles"] == 1


@pytest.mark.parametrize("scorer", ["standard", "paper", "opencompass", "rouge-score"])
def test_every_number_names_its_scorer(files: tuple[str, str], scorer: str) -> None:
    done = rolekit("bench", "score", files[0], "--data", files[1], "--scorer", scorer)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{scorer}: ")
    assert "n/a" in done.stdout
    assert "asked 3 · answered 3 · scored 3" in done.stdout
    assert "empty answers, which count as 0: 1" in done.stdout


def test_raw_answers_complete_the_average(files: tuple[str, str], tmp_path: Path) -> None:
    raw = tmp_path / "alpaca.json"
    raw.write_text(
        json.dumps([{"instruction": "Name a colour.", "input": "", "output": "black"}]), encoding="utf-8"
    )
    done = rolekit("bench", "score", files[0], "--data", files[1], "--raw", str(raw), "--json")
    row = json.loads(done.stdout)
    assert row["scores"]["RAW"] == 1.0
    assert row["scores"]["avg"] == pytest.approx((1 / 3 + 1 + 0.5) / 3)
    assert set(row["ci95"]) == {"CUS", "RAW", "SPE", "avg"}
    assert row["unscored"] == {}


def make_run(folder: Path, references: str, version: int = FORMAT) -> Path:
    records = [as_row(record) for record in read_records(Path(references)).records]
    write_rows(folder / "records.jsonl", records)
    write_rows(folder / "answers.jsonl", ANSWERS[:2])
    (folder / "recipe.json").write_text(json.dumps({"format": version, "model": "m"}), encoding="utf-8")
    return folder


def test_a_run_needs_nothing_else_and_keeps_its_scores(files: tuple[str, str], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", files[1])
    with (run / "answers.jsonl").open("ab") as file:
        file.write(b'{"role": "Nemo", "quest')
    done = rolekit("bench", "score", str(run), "--json")
    assert json.loads(done.stdout)["n"] == {"asked": 3, "answered": 2, "scored": 2}
    assert "answers.jsonl:3: not JSON" in done.stderr
    assert "not finished" in done.stderr
    rolekit("bench", "score", str(run), "--scorer", "paper")
    saved = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert set(saved["scores"]) == {"standard", "paper"}
    (run / "DONE").touch()
    assert "not finished" not in rolekit("bench", "score", str(run)).stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{answers}"], "has no references to compare with. Give a run folder, or add --data"),
        (["{answers}.gone"], "There is no "),
        (["{answers}", "--data", "{answers}"], "No row of "),
        (["{answers}", "--data", "{references}", "--scorer", "bleu"], "There is no scorer 'bleu'"),
        (["{folder}"], "is not a run folder"),
        (["{page}", "--data", "{references}"], "No row is an answer."),
        (["{new}"], "has no answers yet. Go on with the same `rolekit bench run`."),
        (["{answers}", "--data", "{references}", "--raw", "{references}"], ""),
        (["{answers}", "--data", "{other}"], "None of the 4 answers belongs to one of the 1 records (roles"),
        (
            ["{answers}", "--data", "{references}", "--raw", "{other}"],
            "answers none of the 1 general questions",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    files: tuple[str, str], tmp_path: Path, words: list[str], sentence: str
) -> None:
    other = tmp_path / "other.jsonl"
    write_rows(other, [{"role": "Zeus", "question": "Why?", "generated": ["Thunder."]}])
    (tmp_path / "page.jsonl").write_text("<html>\n", encoding="utf-8")
    (make_run(tmp_path / "new", files[1]) / "answers.jsonl").unlink()
    names = {
        "page": str(tmp_path / "page.jsonl"),
        "new": str(tmp_path / "new"),
        "answers": files[0],
        "references": files[1],
        "folder": str(tmp_path),
        "other": str(other),
    }
    done = rolekit("bench", "score", *(word.format(**names) for word in words))
    assert done.returncode == (1 if sentence else 0)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_of_another_version_is_one_sentence(files: tuple[str, str], tmp_path: Path) -> None:
    done = rolekit("bench", "score", str(make_run(tmp_path / "run", files[1], version=99)))
    assert done.returncode == 1
    assert "was written in run format 99, and this rolekit reads format" in done.stderr


def test_hostile_text_does_not_reach_the_terminal(files: tuple[str, str], tmp_path: Path) -> None:
    rows = [{"role": "\x1b]0;pwned\x07", "question": "?", "answer": "\x1b[2J"}]
    write_rows(tmp_path / "hostile.jsonl", rows)
    with (tmp_path / "hostile.jsonl").open("ab") as file:
        file.write("\x1b[31m\u202e not json".encode())
    done = rolekit("bench", "score", str(tmp_path / "hostile.jsonl"), "--data", files[1])
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stderr
