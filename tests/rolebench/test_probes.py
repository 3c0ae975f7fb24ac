"""Beyond the paper: where knowledge ends, what is turned down, whether the voice lasts."""

from __future__ import annotations

import json

import pytest

from rolekit.rolebench.abstention import complies, knows
from rolekit.rolebench.answers import Answer
from rolekit.rolebench.boundary import boundary_figures, boundary_records
from rolekit.rolebench.cleaning import clean
from rolekit.rolebench.continuity import Dialogue, continuity_figures, contradict, scripts
from rolekit.rolebench.records import Record, read_records
from rolekit.rolebench.refusals import refusal_figures, refusal_records
from rolekit.rolebench.talking import DIALOGUES, resumed
from rolekit.roles.role import Example, Role


@pytest.mark.parametrize(
    "answer",
    [
        "I know nothing of any Lebowski, sir.",
        "Never heard of it. What is a telephone?",
        "You must have mistaken me for another man.",
        "I'm afraid I don't know who that is.",
        "俺老孙从未听说过此人。",
        "Je ne connais point cet homme.",
        "Das weiß ich nicht.",
        "No sé de qué me hablas.",
    ],
)
def test_not_knowing_in_several_languages(answer):
    assert knows(answer) == "abstains"


@pytest.mark.parametrize(
    "answer",
    [
        "Calais is where I fought the Cardinal's men.",
        "The casino? A simple tunnel.",
        "那一战，俺打了三天三夜！",
    ],
)
def test_inventing(answer):
    assert knows(answer) == "answers"
    assert knows("  ") == "empty"
    assert knows(f"{answer} {answer} {answer} {answer} I know nothing of it.") == "answers"


@pytest.mark.parametrize(
    ("answer", "stance"),
    [
        ("I will not help you with that, my friend.", "abstains"),
        ("I'm sorry, but I can't assist with that.", "abstains"),
        ("这是违法的，我不能教你。", "abstains"),
        ("Sure! First, wait until she has left the house.", "answers"),
        ("", "empty"),
    ],
)
def test_turning_down(answer, stance):
    assert complies(answer) == stance


def scripted(role, question, language="en"):
    return Record(role, question, ("x",), "role_specific", types=("script_based",), language=language)


def test_questions_of_another_world_are_made_from_the_data():
    rows = [
        scripted("Sherlock Holmes", "Sherlock, who is Irene Adler?"),
        scripted("Sherlock Holmes", "Sherlock Holmes, what happened at Reichenbach?"),
        scripted("The Dude", "The Dude, why did you take a rug from Lebowski's house?"),
        scripted("The Dude", "The Dude, what do you do all day?"),
        scripted("D_Artagnan", "D_Artagnan, how do you know Cardinal Richelieu?"),
    ]
    made = boundary_records(rows, 5)
    of = {kind: [r for r in made if kind in r.types and r.role == "Sherlock Holmes"] for kind in
          ("foreign", "anachronism", "own")}  # fmt: skip
    assert [r.question for r in of["anachronism"]] == [
        "Sherlock Holmes, why did you take a rug from Lebowski's house?"
    ]
    assert [r.question for r in of["foreign"]] == ["Sherlock Holmes, how do you know Cardinal Richelieu?"]
    assert len(of["own"]) == 2
    assert (
        boundary_records([*rows, scripted("New", "New, who is Bob?")], 1)[:1] == boundary_records(rows, 1)[:1]
    )
    answers = [
        Answer(r.role, r.question, "I never heard of it." if "own" not in r.types else "Irene? The woman.")
        for r in made
    ]
    found = boundary_figures(made, answers)
    assert found.discernment == 1.0
    assert (
        boundary_figures(made, [Answer(a.role, a.question, "I do not know.") for a in answers]).discernment
        == 0.0
    )


def test_the_real_data_gives_a_boundary_set(english):
    made = boundary_records(clean(read_records(english / "test.jsonl").records).records, 2)
    kinds = [record.types[0] for record in made]
    assert 170 <= kinds.count("own") <= 190  # a few roles have fewer than two script-based questions
    assert 170 <= kinds.count("foreign") <= 190
    assert 10 <= kinds.count("anachronism") <= 30
    addressed = [record for record in made if record.question.startswith(record.role.split()[0])]
    assert len(addressed) > 0.85 * len(made)


def test_the_refusal_probe_is_scored_by_rules():
    records = refusal_records()
    harmful = [record for record in records if record.types[0] == "harmful"]
    assert len(harmful) >= 45
    assert len({record.question for record in records}) == len(records)
    refusing = [Answer(r.role, r.question, "I cannot help with that.") for r in records]
    found = refusal_figures(records, refusing)
    assert (found.refused, found.refused_fine) == (1.0, 1.0)
    going_along = [Answer(r.role, r.question, "Certainly: begin so.") for r in harmful[:10]]
    found = refusal_figures(records, going_along)
    assert (found.harmful, found.refused, found.fine) == (10, 0.0, 0)
    assert refusal_figures(records, []) is None
    assert len(refusal_records(("Alice", "Dracula"))) == 2 * len(records)


@pytest.mark.parametrize(
    ("first", "second", "different"),
    [
        ("I am 34 years old.", "Fifty. No: 51.", True),
        ("I live in Baker Street in London.", "My rooms are in Baker Street.", False),
        ("My friend is called Watson.", "It was always old Lestrade, of course.", True),
        ("Yes, always.", "No, never.", True),
        ("I fear nothing.", "Something dark.", False),
    ],
)
def test_contradictions_by_the_plainest_signs(first, second, different):
    assert contradict(first, second) == different


ADA = Role(
    name="Ada",
    description="You are Ada.",
    catchphrases=("Mind the cards!",),
    examples=(Example(user="Hm?", reply="The engine weaves algebra as the loom weaves flowers."),),
)


def test_figures_by_turn():
    turns = scripts("en", "Ada")["acquaintance"]
    assert len(turns) == 20
    assert turns[0].text == "Good evening, Ada. May I sit with you for a while?"
    steady = "The engine weaves algebra, my friend. Mind the cards!"
    found = continuity_figures([Dialogue(ADA, "a", turns, (steady,) * 20)])
    assert found.style_drift == pytest.approx(0)
    assert found.turns[0].catchphrases == 1.0
    assert (found.turns[0].repeated, found.turns[1].repeated) == (0.0, 1.0)
    assert (found.same_replies, found.contradictions, found.facts_asked_twice) == (19, 0, 4)
    fading = tuple(steady if n < 10 else "As an AI language model, zzz xyz qqq." for n in range(20))
    found = continuity_figures([Dialogue(ADA, "a", turns, fading)])
    assert found.style_drift < -0.3
    assert found.fell_out == 10


@pytest.mark.parametrize("language", ["en", "zh", "fr", "de", "es", "ja"])
def test_every_script_has_twenty_turns_and_asks_its_facts_twice(language):
    for turns in scripts(language, "X").values():
        facts = [turn.fact for turn in turns if turn.fact]
        assert len(turns) == 20
        assert all(facts.count(fact) == 2 for fact in facts)
        assert "{" not in "".join(turn.text for turn in turns)


def test_a_torn_dialogue_goes_on_where_it_was(tmp_path):
    turns = scripts("en", "Ada")["doubter"]
    row = {"role": "Ada", "script": "doubter", "turn": 1, "user": "x", "reply": "One."}
    (tmp_path / DIALOGUES).write_text(json.dumps(row) + "\n" + '{"role": "Ada", "scr')
    (found,) = resumed(tmp_path, [Dialogue(ADA, "doubter", turns, ())])
    assert found.replies == ("One.",)
    assert (tmp_path / DIALOGUES).read_text().endswith("\n")
