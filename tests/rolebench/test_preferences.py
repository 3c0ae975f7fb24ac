"""Blind A/B: anonymous, saved at once, gone on with; and what Bradley-Terry makes of it."""

from __future__ import annotations

import pytest

from rolekit.errors import RolekitError
from rolekit.rolebench.live import LiveFigures
from rolekit.rolebench.pairwise import Comparison
from rolekit.rolebench.preferences import BlindSession, bradley_terry
from rolekit.rolebench.records import Record


def pairs(number=20, one="tuned", other="base"):
    return [
        Comparison(
            Record(f"role {n % 4}", f"question {n}", ("x",), "general"),
            one,
            other,
            f"{one} {n}",
            f"{other} {n}",
        )
        for n in range(number)
    ]


def prefer(session, word):
    """Choose whichever answer begins with word, to the end."""
    while (blind := session.current) is not None:
        session.choose(1 if blind.texts[0].startswith(word) else 2)


def test_sides_are_mixed_and_the_choice_finds_its_system(tmp_path):
    session = BlindSession(tmp_path / "ab.jsonl", pairs())
    swapped = [blind.swapped for blind in session.blinds]
    assert 4 <= sum(swapped) <= 16
    prefer(session, "tuned")
    assert {points for _, points in session.outcomes()} == {1.0}
    (first, second) = bradley_terry(session.outcomes())
    assert (first.system, first.wins, second.losses) == ("tuned", 20, 20)
    assert first.low > 0.8
    assert second.high < 0.2


def test_it_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "ab.jsonl"
    session = BlindSession(path, pairs())
    for choice in (1, 2, 0):
        session.choose(choice)
    order = [blind.comparison.record.question for blind in session.blinds]
    assert session.undo()
    with path.open("a") as file:
        file.write('{"one": "tuned", "ot')
    again = BlindSession(path, pairs())
    assert [blind.comparison.record.question for blind in again.blinds] == order
    assert again.place == 2
    assert again.current == session.current
    assert again.outcomes() == session.outcomes()
    for _ in range(2):
        assert again.undo()
    assert not again.undo()


def test_equal_answers_are_not_shown_and_faults_are_named(tmp_path):
    same = Comparison(Record("r", "q", ("x",), "general"), "a", "b", "alike", " alike ")
    assert BlindSession(tmp_path / "a.jsonl", [same]).blinds == []
    (tmp_path / "b.jsonl").write_text("[1]\n")
    with pytest.raises(RolekitError, match="cannot be read"):
        BlindSession(tmp_path / "b.jsonl", pairs())


def test_bradley_terry_orders_three_systems():
    outcomes = [
        *((one, 0.8) for one in pairs(10, "a", "b")),
        *((one, 1.0) for one in pairs(10, "b", "c")),
        *((one, 1.0) for one in pairs(10, "a", "c")),
    ]
    found = bradley_terry(outcomes)
    assert [one.system for one in found] == ["a", "b", "c"]
    assert all(one.low <= one.share <= one.high for one in found)
    assert bradley_terry([]) == []
    even = bradley_terry([(one, 0.5) for one in pairs(6)])
    assert even[0].share == pytest.approx(0.5, abs=1e-3)


def test_live_figures_are_those_of_the_scorer():
    live = LiveFigures()
    specific = Record("Ada", "q", ("the engine weaves",), "role_specific")
    assert live.add(specific, "the engine weaves") == 1.0
    assert live.add(Record("Bob", "q", ("yes",), "general"), "no") == 0.0
    live.add(specific, "")
    rows = {row.metric: (row.mean, row.scored) for row in live.running()}
    assert rows == {"SPE": (0.5, 2), "CUS": (0.0, 1)}
    assert live.by_role()[0][0] == "Bob"
