"""What a person decides: kept whatever happens, the last word wins, and it is counted against the rules."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.synthesis.audit import DECISIONS, agreement, decide, effective, read_decisions
from rolekit.synthesis.rows import Candidate, append_rows, read_rows

ROWS = [
    Candidate(f"r{n}", "script-based", "Ada", "en", f"Question {n}?", (f"Answer {n}.",), verdict, reason)
    for n, (verdict, reason) in enumerate(
        [("accepted", ""), ("accepted", ""), ("rejected", "duplicate"), ("rejected", "ai-identity"),
         ("held", "unsupported"), ("held", "unsupported"), ("accepted", "")]
    )
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    append_rows(tmp_path, ROWS)
    return tmp_path


def test_without_decisions_the_rules_stand(run: Path) -> None:
    assert [row.id for row in effective(run)] == ["r0", "r1", "r6"]
    found = agreement(read_rows(run), read_decisions(run))
    assert (found.decided, found.share, found.kappa) == (0, None, None)


def test_the_last_decision_wins_and_an_edit_is_the_answer(run: Path) -> None:
    decide(run, "r0", "reject")
    decide(run, "r0", "edit", "  Aye, that I did. ")
    decide(run, "r1", "reject")
    decide(run, "r2", "accept")
    decide(run, "r4", "accept")
    decide(run, "r6", "reject")
    decide(run, "r6", "undo")
    assert {row.id: row.answers for row in effective(run)} == {
        "r0": ("Aye, that I did.",), "r2": ("Answer 2.",), "r4": ("Answer 4.",), "r6": ("Answer 6.",),
    }  # fmt: skip
    assert [row.verdict for row in read_rows(run)] == [row.verdict for row in ROWS], "rows stay as they were"
    assert len((run / DECISIONS).read_text().splitlines()) == 7, "nothing is overwritten"


def test_a_dialogue_is_edited_in_its_last_turn(run: Path) -> None:
    turns = ("Hail.", "Well met.", "And now?", "Now we go.")
    append_rows(
        run, [Candidate("d", "dialogue", "Ada", "en", "Hail.", ("Well met.",), "accepted", turns=turns)]
    )
    decide(run, "d", "edit", "Now we dine.")
    assert effective(run)[-1].turns == (*turns[:3], "Now we dine.")


def test_agreement_counts_both_sides(run: Path) -> None:
    for row_id, verb in (("r0", "accept"), ("r1", "reject"), ("r2", "reject"), ("r3", "accept"), ("r4", "reject"),
                         ("r5", "accept"), ("gone", "accept")):  # fmt: skip
        decide(run, row_id, verb)
    decide(run, "r6", "edit", "Better.")
    found = agreement(read_rows(run), read_decisions(run)).as_json()
    assert found == {
        "decided": 7, "both_accept": 2, "both_reject": 1, "only_rules_accept": 1, "only_person_accepts": 1,
        "held_accepted": 1, "held_rejected": 1, "edited": 1, "unknown": 1, "agreement": 0.6, "kappa": 0.1667,
    }  # fmt: skip


def test_a_torn_line_costs_only_itself(run: Path) -> None:
    decide(run, "r0", "reject")
    with (run / DECISIONS).open("ab") as file:
        file.write(b'{"id": "r1", "deci')
    decide(run, "r2", "accept")
    with (run / DECISIONS).open("ab") as file:
        file.write(b'[1]\n{"id": "r1", "decision": "maybe"}\n{"id": "r1", "decision": "edit"}\n\xff\n')
    found = read_decisions(run)
    assert (set(found.by_id), found.faults) == ({"r0", "r2"}, 5)


def test_bad_edits_are_refused(run: Path) -> None:
    with pytest.raises(RolekitError, match="cannot be empty"):
        decide(run, "r0", "edit", "  ")
    with pytest.raises(RolekitError, match="more than 20000"):
        decide(run, "r0", "edit", "a" * 20_001)
    assert not (run / DECISIONS).exists()
    decide(run, "r0", "edit", "half \ud83d of it")
    assert effective(run)[0].answers == ("half ? of it",)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_9_keeps_every_decision_that_was_confirmed(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rolekit.synthesis.audit import decide\n"
        "n = 0\nwhile True:\n    decide(Path(sys.argv[1]), f'k{n}', 'accept'); print(n, flush=True); n += 1"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout
        said = [worker.stdout.readline() for _ in range(20)]
        os.kill(worker.pid, signal.SIGKILL)
        said += worker.stdout.read().split("\n")
    confirmed = {f"k{int(line)}" for line in said if line.strip().isdigit()}
    assert len(confirmed) >= 20
    assert confirmed <= set(read_decisions(run).by_id)
