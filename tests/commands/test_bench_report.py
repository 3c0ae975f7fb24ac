"""`rolekit bench report` and `compare`: files beside the run, JSON, and bad input in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rolekit.rolebench.records import Record, as_row
from rolekit.rolebench.rows import write_rows
from rolekit.rolebench.runs import FORMAT


def rolekit(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rolekit", "bench", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def make_run(folder: Path, text: str, questions: int = 5) -> Path:
    records = [
        Record(f"role {r}", f"q{q}", (f"one two three {q}",), kind, origin="rolebench-zh/x")
        for r in range(3)
        for q in range(questions)
        for kind in ("general", "role_specific")
    ]
    write_rows(folder / "records.jsonl", map(as_row, records))
    answers = [{"role": r.role, "question": r.question, "kind": r.kind, "answer": text} for r in records]
    write_rows(folder / "answers.jsonl", answers)
    recipe = {"format": FORMAT, "label": f"run {text}", "sampling": {"temperature": 0}}
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    (folder / "DONE").touch()
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return make_run(tmp_path / "before", "one"), make_run(tmp_path / "after", "one two three")


def test_a_report_lies_beside_its_run(runs: tuple[Path, Path]) -> None:
    done = rolekit("report", str(runs[1]), "--before", str(runs[0]))
    assert done.returncode == 0, done.stderr
    for ending in ("html", "md", "csv", "json"):
        assert (runs[1] / f"report.{ending}").stat().st_size > 100
        assert f"report.{ending}" in done.stderr
    assert done.stdout.startswith("run one two three\nstandard: ")
    assert "Beside the paper (scorer: paper). arXiv 2310.00746 v1, Table 4" in done.stdout
    assert "CUS (standard): the second is better: +" in done.stdout
    assert "sampling.temperature" in (runs[1] / "report.md").read_text("utf-8")


def test_report_json_is_one_object(runs: tuple[Path, Path], tmp_path: Path) -> None:
    done = rolekit(
        "report", str(runs[0]), "--json", "--scorer", "standard", "--out", str(tmp_path / "elsewhere")
    )
    made = json.loads(done.stdout)
    assert made["label"] == "run one"
    assert [row["scorer"] for row in made["scores"]] == ["standard"]
    assert "comparison" not in made
    assert (tmp_path / "elsewhere" / "report.html").is_file()
    assert not (runs[0] / "report.html").exists()


def test_compare(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "compared.html"
    done = rolekit("compare", str(runs[0]), str(runs[1]), "--json", "--html", str(page), "--scorer", "paper")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["scorer"] == "paper"
    assert row["metrics"]["SPE"]["verdict"] == "better"
    assert row["metrics"]["SPE"]["roles"] == {"better": 3, "worse": 0, "same": 0}
    assert len(row["most_changed"]) == 10
    assert "Most changed answers" in page.read_text("utf-8")
    done = rolekit("compare", str(runs[0]), str(runs[1]))
    assert "SPE (standard): the second is better" in done.stdout
    assert "roles that changed most" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["report", "{file}"], "The report of a plain file needs a place to go. Add --out DIR."),
        (["report", "{empty}"], "is not a run folder"),
        (["compare", "{before}", "{empty}"], "is not a run folder"),
        (["compare", "{before}", "{other}"], "The two runs have no question in common"),
        (["report", "{before}", "--scorer", "bleu"], "There is no scorer 'bleu'"),
    ],
)
def test_bad_input_is_one_sentence(
    runs: tuple[Path, Path], tmp_path: Path, words: list[str], sentence: str
) -> None:
    other = make_run(tmp_path / "other", "one")
    for name in ("records.jsonl", "answers.jsonl"):
        text = (other / name).read_text("utf-8").replace(': "q', ': "other q')
        (other / name).write_text(text, encoding="utf-8")
    (tmp_path / "empty").mkdir()
    names = {
        "file": str(runs[0] / "answers.jsonl"),
        "empty": str(tmp_path / "empty"),
        "before": str(runs[0]),
        "other": str(other),
    }
    done = rolekit(*(word.format(**names) for word in words))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
