"""What a role knows of its own life comes up when the talk turns to it, and says where it comes from."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rolekit.chat.looking import why_lines
from rolekit.commands.roles import app
from rolekit.errors import RolekitError
from rolekit.roles.facts import facts_file, read_facts
from rolekit.synthesis.rows import Candidate, append_rows

LIFE = [
    {"fact": "You were born in Marylebone in 1815.", "segment": "s1", "quote": "born in Marylebone"},
    {"fact": "Your mother had you taught mathematics.", "segment": "s2", "quote": ""},
    {"question": "Who built the engine?", "answers": ["My friend Babbage designed it."], "segment": "s7"},
    {"role": "Somebody Else", "question": "Who are you?", "generated": ["Nobody."]},
    {"nothing": 1},
]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


async def test_a_fact_comes_up_beside_the_question_once_and_why_names_its_source(begin, talk):
    filler = [{"fact": f"You wrote note number {n} for your book."} for n in range(30)]
    write(facts_file("ada"), [*LIFE, *filler])
    session = begin()
    await talk(session, "Where were you born?")
    sent = [(m.block, m.text) for m in session.backend.requests[-1].messages][-2:]
    assert sent == [
        ("note", "(You know of your own life: You were born in Marylebone in 1815.)"), ("turn", "Where were you born?")
    ]  # fmt: skip
    assert "ada.facts.jsonl line 1, segment s1, like what was just said" in why_lines(session)[0]
    assert any(
        "1 lines of ada.facts.jsonl are no facts (line 5: no fact" in line for line in why_lines(session)
    )
    await talk(session, "Born there, really?")
    assert [m.block for m in session.backend.requests[-1].messages].count("note") == 1
    await talk(session, "You wrote your book, did you?")  # words that most facts share
    assert [m.block for m in session.backend.requests[-1].messages].count("note") == 1
    await talk(session, "And Babbage?")
    assert (
        session.backend.requests[-1]
        .messages[-2]
        .text.endswith("Who built the engine? My friend Babbage designed it.)")
    )


def test_facts_are_taken_from_a_file_and_from_a_run_and_never_twice(tmp_path):
    file = tmp_path / "life.jsonl"
    write(file, [{**row, "role": row.get("role", "Sherlock Holmes")} for row in LIFE])
    result = CliRunner().invoke(app, ["facts", "Sherlock", str(file), "--json"])
    assert json.loads(result.stdout)["added"] == 3
    assert "line 5: no fact and no answer" in result.stderr
    assert "1 rows are another role's" in result.stderr
    run = tmp_path / "run"
    write(run / "facts.jsonl", LIFE[:2])
    rows = [
        Candidate(
            f"{n}", step, "Sherlock Holmes", "en", f"Question {n}?", (f"Answer {n}.",), verdict, segment="s9"
        )
        for n, (step, verdict) in enumerate(
            [("script-based", "accepted"), ("script-based", "rejected"), ("rolegpt", "accepted")]
        )
    ]
    append_rows(run, rows)
    result = CliRunner().invoke(app, ["facts", "Sherlock", str(run), "--json"])
    assert json.loads(result.stdout)["added"] == 1
    last = read_facts(facts_file("sherlock-holmes")).facts[-1]
    assert (last.text, last.source) == ("Question 0? Answer 0.", "run, segment s9")
    with pytest.raises(RolekitError, match="no facts of this role"):
        CliRunner().invoke(app, ["facts", "Alice", str(tmp_path)], catch_exceptions=False)
