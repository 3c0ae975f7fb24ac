"""Comparisons, intervals and reports: the figures, the files, and that hostile text stays text."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rolekit.errors import RolekitError
from rolekit.rolebench.answers import Answer, AnswerReading, read_answers
from rolekit.rolebench.bootstrap import RESAMPLES, Interval, interval, resampled_means
from rolekit.rolebench.comparing import compare
from rolekit.rolebench.joining import join
from rolekit.rolebench.plots import MOST_POINTS, scatter
from rolekit.rolebench.published import CHINESE, ENGLISH_INSTRUCTIONS, ENGLISH_ROLES, published_for
from rolekit.rolebench.records import Reading, Record, read_records
from rolekit.rolebench.report import Report, build_report, facts_of
from rolekit.rolebench.report_files import comparison_json, items_csv, write_report
from rolekit.rolebench.scorers import open_scorer
from rolekit.rolebench.scoring import Scoring, average, score_answers

HOSTILE = "<script>alert(1)</script> =SUM(A1) | **b** [x](http://e) \x1b[2J \u202e"


def reading_of(records: list[Record]) -> Reading:
    return Reading(tuple(records), (), {"x": len(records)}, {"x": len(records)})


def scored(records: list[Record], answers: list[Answer], name: str = "standard") -> Scoring:
    return score_answers(records, answers, open_scorer(name))


def some(roles: int = 6, items: int = 8) -> list[Record]:
    return [
        Record(
            f"role {r}",
            f"question {q}",
            (f"one two three {q}", "four"),
            "role_specific",
            types=("script_based",),
        )
        for r in range(roles)
        for q in range(items)
    ]


def answered(records: list[Record], text: str) -> list[Answer]:
    return [Answer(record.role, record.question, text) for record in records]


def test_intervals_are_the_same_every_time_and_know_the_roles() -> None:
    rng = random.Random(3)
    roles = [f"r{n % 10}" for n in range(400)]
    offset = {role: rng.gauss(0, 0.1) for role in set(roles)}
    values = [0.5 + offset[role] + rng.gauss(0, 0.05) for role in roles]
    by_role, by_item = interval(values, roles), interval(values, [str(n) for n in range(400)])
    assert interval(values, roles) == by_role
    assert by_role.low < sum(values) / 400 < by_role.high
    # Ten roles that differ tell less than four hundred independent items would.
    assert by_role.half_width > 3 * by_item.half_width
    assert interval([0.5] * 4, ["a", "a", "b", "b"]).half_width == 0


def test_roles_without_items_of_a_metric_are_drawn_all_the_same() -> None:
    means = resampled_means([1.0, 0.0], ["a", "a"], ["a", "b"])
    assert len(means) == RESAMPLES
    assert 0.15 < np.isnan(means).mean() < 0.35  # both draws were b


def test_the_average_needs_all_three_and_its_interval_draws_roles_together() -> None:
    records = [
        *some(),
        *(replace(record, kind="general", raw_references=("five",), types=()) for record in some()),
    ]
    answers = [
        Answer(r.role, r.question, f"five {'one two'[: 3 * int(r.role[-1])]}", kind=r.kind) for r in records
    ]
    scoring = scored(records, answers)
    found = average(scoring)
    assert found is not None
    cus, raw, spe = (
        sum(i.value.best for i in scoring.items_of(metric)) / 48 for metric in ("CUS", "RAW", "SPE")
    )
    assert found[0] == pytest.approx((cus + raw + spe) / 3)
    assert found[1].low < found[0] < found[1].high
    assert average(scored(some(), answered(some(), "one"))) is None


def test_a_comparison_finds_what_changed() -> None:
    records = some()
    before = scored(records, answered(records, "one two"))
    changed = answered(records, "one two three")
    changed[5] = replace(changed[5], text="nothing at all")
    after = scored(records, changed)
    found = compare(before, after)
    (spe,) = found.changes
    assert spe.verdict == "better"
    assert (spe.answers.better, spe.answers.worse, spe.answers.same) == (47, 1, 0)
    assert spe.role_tally.better == 6
    assert spe.difference == pytest.approx(spe.after - spe.before)
    assert spe.ci95.low < spe.difference < spe.ci95.high
    assert found.most_changed[0].after.answer.text == "nothing at all"
    assert len(found.most_changed) == 10
    assert comparison_json(found)["metrics"]["SPE"]["verdict"] == "better"
    assert compare(before, before).changes[0].verdict == "cannot be told"


def test_a_single_answer_tells_nothing() -> None:
    (record,) = some(1, 1)
    before, after = scored([record], answered([record], "x")), scored([record], answered([record], "one two"))
    assert interval([0.7], ["r"]) == Interval(0.0, 1.0)
    (change,) = compare(before, after).changes
    assert change.difference > 0
    assert change.verdict == "cannot be told"


def test_only_questions_that_both_answered_are_compared() -> None:
    records = some()
    before = scored(records, answered(records[:40], "one"))
    after = scored(records, answered(records[8:], "one two"))
    found = compare(before, after)
    assert (found.only_before, found.only_after) == (8, 8)
    assert found.changes[0].answers.better == 32
    with pytest.raises(RolekitError, match="no question in common"):
        compare(scored(records, answered(records[:4], "one")), scored(records, answered(records[4:8], "one")))
    with pytest.raises(RolekitError, match="are not comparable"):
        compare(before, scored(records, answered(records, "one"), "paper"))


def test_answers_are_joined_by_key_never_by_order() -> None:
    records = [
        Record("r", "q", ("a",), "role_specific"),
        Record("r", "q ", ("b",), "role_specific"),
        Record("r", "q", ("c",), "general"),
        Record("r", "other", ("d",), "general"),
    ]
    answers = [
        Answer("r", " other ", "4"),
        Answer("r", "q", "3", kind="general"),
        Answer("r", "q", "1", kind="role_specific"),
        Answer("r", "never asked", "5"),
        Answer("s", "q", "6"),
    ]
    joined = join(records, answers)
    assert [answer.text if answer else None for _, answer in joined.pairs] == ["1", "1", "3", "4"]
    assert (joined.exact, joined.stripped) == (2, 2)
    assert [answer.text for answer in joined.unmatched] == ["5", "6"]
    assert joined.unknown_roles == ("s",)


def test_a_kind_that_the_data_does_not_know_does_not_part_answer_and_question() -> None:
    records = [Record("r", "q", ("a",), "general")]
    assert join(records, [Answer("r", "q", "1", kind="role_specific")]).answered == 1
    both = [*records, Record("r", "q", ("a",), "role_specific")]
    joined = join(both, [Answer("r", "q", "1", kind="role_specific")])
    assert [answer.text if answer else None for _, answer in joined.pairs] == [None, "1"]


def test_rows_asked_twice_get_their_answers_one_after_another() -> None:
    records = [Record("r", "q", ("a",), "general")] * 3
    joined = join(records, [Answer("r", "q", "1"), Answer("r", "q", "2")])
    assert [answer.text for _, answer in joined.pairs if answer] == ["1", "2", "2"]


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def hostile_report(tmp_path: Path) -> tuple[Report, dict[str, str]]:
    records = [
        Record(
            HOSTILE,
            HOSTILE,
            (HOSTILE,),
            "role_specific",
            types=(HOSTILE,),
            origin="x/instruction-generalization/y",
        ),
        Record("Ada", "=1+1", ("two",), "general", origin="x/instruction-generalization/y"),
    ]
    answers = [Answer(HOSTILE, HOSTILE, HOSTILE), Answer("Ada", "=1+1", "=cmd|' /C calc'!A0")]
    scorings = [score_answers(records, answers, open_scorer(name)) for name in ("paper", "standard")]
    facts = facts_of({"model": HOSTILE, "sampling": {"temperature": 0.0, "stop": ["a", "b"]}, "adapter": ""})
    reading, saved = reading_of(records), AnswerReading(tuple(answers), (), 0)
    report = build_report(HOSTILE, facts, False, reading, saved, scorings)
    files = write_report(tmp_path / "out", report, compare(scorings[1], scorings[1]))
    return report, {file.suffix: file.read_text(encoding="utf-8") for file in files}


def test_a_report_is_four_files_and_standard_leads(tmp_path: Path) -> None:
    report, files = hostile_report(tmp_path)
    assert set(files) == {".html", ".md", ".csv", ".json"}
    assert [scoring.scorer for scoring in report.scorings] == ["standard", "paper"]
    made = json.loads(files[".json"])
    assert [row["scorer"] for row in made["scores"]] == ["standard", "paper"]
    assert made["facts"]["sampling.stop"] == "a, b"
    assert made["comparison"]["metrics"]["SPE"]["difference"] == 0
    assert {row["group"] for row in made["by_role"]} == {HOSTILE, "Ada"}


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    page = hostile_report(tmp_path)[1][".html"]
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert not {"img", "link", "iframe", "a", "form", "b2j"} & set(reader.tags)
    assert reader.sources == []
    assert "default-src 'none'" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 6
    assert all(ElementTree.fromstring(drawing).tag == "svg" for drawing in drawings)
    assert "not finished" in page
    text = "".join(reader.text)
    assert "<script>alert(1)</script>" in text
    for heading in (
        "Beside the paper",
        "Before and after",
        "By role",
        "By kind",
        "length against score",
        "hollow",
    ):
        assert heading in text


def test_hostile_text_is_text_in_markdown_and_csv_too(tmp_path: Path) -> None:
    files = hostile_report(tmp_path)[1]
    assert not re.search(r"(?<!\\)<script", files[".md"])
    assert "\x1b" not in files[".md"]
    assert not re.search(r"(?<!\\)\[x(?<!\\)\]\(", files[".md"])
    rows = list(csv.DictReader(io.StringIO(files[".csv"])))
    assert {row["answer"] for row in rows} == {HOSTILE, "'=cmd|' /C calc'!A0"}
    assert all(row["standard"] and row["paper"] for row in rows)
    assert items_csv([]).strip() == "metric"


def test_the_papers_table_stands_only_beside_paper(tmp_path: Path) -> None:
    report, _ = hostile_report(tmp_path)
    assert report.published is ENGLISH_INSTRUCTIONS
    records = [scoring_pair[0] for scoring_pair in report.lead.joined.pairs]
    alone = build_report("x", {}, True, reading_of(records), AnswerReading((), (), 0), report.scorings[:1])
    assert alone.published is None
    assert published_for([replace(records[0], origin="a/role-generalization/b")]) is ENGLISH_ROLES
    assert published_for([replace(records[0], origin="a/rolebench-zh/general/b")]) is CHINESE
    assert published_for([replace(records[0], origin="own.jsonl")]) is None
    assert published_for([*records, replace(records[0], origin="a/role-generalization/b")]) is None


@pytest.mark.parametrize("table", [ENGLISH_INSTRUCTIONS, ENGLISH_ROLES, CHINESE])
def test_the_published_averages_are_those_of_their_columns(table: object) -> None:
    for row in table.rows:  # type: ignore[attr-defined]
        if row.avg is not None:
            assert row.avg == pytest.approx((row.cus + row.raw + row.spe) / 3, abs=1e-4)


def test_very_many_points_are_thinned_and_the_title_says_so() -> None:
    points = [(n / 1000, 0.5) for n in range(MOST_POINTS + 10)]
    plot = scatter("t", "x", points)
    assert plot.count("<circle") == MOST_POINTS
    assert f"({MOST_POINTS} of {MOST_POINTS + 10} drawn)" in plot


def test_half_answers_lose_little_f1_and_much_recall(english: Path) -> None:
    """The paper's recall rewards length: the same answers cut in half."""
    records = list(read_records(english / "test.jsonl").records[::10])
    whole = read_answers(english / "rolegpt_baseline.jsonl").answers
    half = [replace(a, text=" ".join(a.text.split()[: len(a.text.split()) // 2])) for a in whole]
    losses = {}
    for name in ("standard", "paper"):
        (spe,) = compare(scored(records, list(whole), name), scored(records, half, name)).changes
        losses[name] = spe.difference / spe.before
    assert losses["paper"] < 3 * losses["standard"] < 0
