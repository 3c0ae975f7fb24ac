"""Whole steps against a real local server: rows, reasons, resuming, caps."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest

from rolekit.endpoints.failures import Stopped
from rolekit.errors import RolekitError
from rolekit.rolebench.prompting import PROMPTINGS
from rolekit.roles.role import Role
from rolekit.synthesis.generator import open_generator
from rolekit.synthesis.recipe import ContextInstruct, Dialogues, Recipe, RoleGpt
from rolekit.synthesis.rows import read_rows
from rolekit.synthesis.running import is_finished, run


async def made(recipe, ref, *, cancel=None, show=lambda funnel: None, **caps):
    generator = open_generator(recipe.folder, ref, **caps)
    try:
        return await run(recipe, generator, show, cancel or threading.Event())
    finally:
        await generator.close()


async def test_rolegpt_gives_five_references_and_a_baseline(api, author, mira, run_folder, instructions):
    recipe = Recipe(run_folder, mira, RoleGpt(instructions=str(instructions)))
    outcome = await made(recipe, api.ref)
    rows = read_rows(run_folder)
    assert outcome.finished
    assert is_finished(recipe)
    assert [row.question for row in rows][:2] == [
        "Name three things to take on a walk.",
        "Explain why the sky is blue.",
    ]
    assert len(rows) == 4  # the long one and the twin are left out
    assert all(row.verdict == "accepted" and 1 <= len(row.answers) <= 5 and row.baseline for row in rows)
    assert rows[0].raw == ("Water, bread, a coat.",)
    assert len(api.seen) == 24
    assert max(author.written.values()) == 1
    sent = api.seen[0].body
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.7, 0.95, 200)
    assert [message["role"] for message in sent["messages"]] == ["system", *["user", "assistant"] * 5, "user"]
    await made(recipe, api.ref)
    assert len(api.seen) == 24


@pytest.mark.parametrize("prompting", PROMPTINGS)
async def test_three_ways_of_prompting(api, author, mira, run_folder, instructions, prompting):
    task = RoleGpt(prompting, str(instructions), most_instructions=1, references=1, baseline=False)
    await made(Recipe(run_folder, mira, task), api.ref)
    messages = api.seen[0].body["messages"]
    assert len(messages) == (12 if prompting == "few-shot-dialogue" else 2)
    assert ("stays where it is" in messages[-1]["content"]) == (prompting == "few-shot-prompt")


async def test_the_nearest_of_all_exchanges_in_the_texts_are_shown(
    api, author, mira, run_folder, instructions
):
    turns = [
        {
            "kind": "speech",
            "text": f"What about the {thing}, keeper?",
            "source": "s.txt",
            "line": n,
            "speaker": "Jon",
        }
        for n, thing in enumerate(["sky so blue", "winter bread", "old ropes"], start=1)
    ]
    answers = [
        {**turn, "speaker": "Mira Holt", "text": turn["text"].replace("What about", "Never mind")}
        for turn in turns
    ]
    rows = [row for pair in zip(turns, answers, strict=True) for row in pair]
    (run_folder / "dialogue.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = RoleGpt(instructions=str(instructions), references=1, baseline=False)
    await made(Recipe(run_folder, mira, task), api.ref, concurrency=1)
    sky = next(seen.body["messages"] for seen in api.seen if "sky" in seen.body["messages"][-1]["content"])
    assert sky[-2]["content"] == "Never mind the sky so blue, keeper?"
    assert len(sky) == 12
    (run_folder / "dialogue.jsonl").write_text("{}\n")
    with pytest.raises(RolekitError, match="is no turn of a dialogue"):
        await made(Recipe(run_folder, mira, task, seed=0), api.ref)


FAULTS = {
    1: {"confidence": "low", "rationale": "Nothing is said of it."},
    3: {"question": "What happens in this scene?"},
    4: {"question": "Why did he leave?"},
    5: {"answer": "As an AI language model I have no boat."},
    6: {"answer": "I am playing the role of Mira Holt, so I would say yes."},
    7: {"answer": "I'm sorry, but I can't help with that."},
    8: {"answer": "My name is [your name] and I like it here."},
    9: {"question": "俺问你，那条船到底在哪里停着？", "answer": "就停在港口的北边，我天天都看得见它。"},
    10: {"answer": ""},
    11: {"quote": "Something that no segment says at all, ever, anywhere."},
    12: {"quote": "Words out of nowhere that nobody has written down."},
}


async def test_context_instruct_says_why_rows_are_out(api, author, mira, run_folder):
    author.faults = dict(FAULTS)
    author.faults[2] = {"question": "Do you lend your boat to anybody who asks?"}
    author.faults[13] = {"question": "Mira, do you lend your boat to anybody who asks?"}
    shown = []
    task = ContextInstruct(candidates=60, per_call=6, not_knowing=6, refusal=3)
    outcome = await made(Recipe(run_folder, mira, task), api.ref, show=shown.append, concurrency=1)
    rows = read_rows(run_folder)
    steps = Counter(row.step for row in rows)
    assert steps["script-agnostic"] + steps["script-based"] >= 60
    assert (steps["not-knowing"], steps["refusal"]) == (6, 3)
    reasons = Counter(row.reason for row in rows if row.verdict == "rejected")
    assert {
        "low-confidence", "incomplete-question", "ai-identity", "role-identity", "rejection", "incomplete-answer",
        "wrong-language", "malformed", "duplicate",
    } <= set(reasons)  # fmt: skip
    assert all(row.detail or row.reason == "low-confidence" for row in rows if row.verdict == "rejected")
    held = [row for row in rows if row.verdict == "held"]
    assert all(row.reason == "unsupported" and row.segment and row.support < 0.75 for row in held)
    based = [row for row in rows if row.step == "script-based" and row.verdict == "accepted"]
    assert based
    assert all(row.quote and row.segment and row.support >= 0.75 for row in based)
    funnel = outcome.funnel
    assert (
        funnel.candidates
        == len(rows)
        >= funnel.confident
        >= funnel.unique
        >= funnel.clean
        >= funnel.accepted
        > 0
    )
    assert funnel.segments == 3
    assert funnel.requests == len(api.seen)
    assert shown[-1] == outcome.funnel
    assert sum(len(funnel.newest) for funnel in shown) == len(rows)


async def test_a_later_round_knows_what_was_asked(api, author, mira, run_folder):
    await made(Recipe(run_folder, mira, ContextInstruct(60, per_call=1, not_knowing=0, refusal=0)), api.ref)
    asked = [seen.body["messages"][-1]["content"] for seen in api.seen]
    assert (
        sum("<asked>" in text for text in asked) == 60 - 3 - 28
    )  # one round is three segments and 28 themes
    assert max(author.written.values()) == 1


async def test_unreadable_answers_are_asked_for_again(api, author, mira, run_folder):
    author.garbage = 3
    task = ContextInstruct(8, per_call=4, not_knowing=0, refusal=0)
    outcome = await made(Recipe(run_folder, mira, task), api.ref, concurrency=1)
    assert outcome.finished
    assert len(read_rows(run_folder)) == 8
    assert len(api.seen) == 2 + 2 + 1


async def test_a_generator_that_writes_nothing_readable_is_given_up(api, author, mira, run_folder):
    author.garbage = 10_000
    outcome = await made(Recipe(run_folder, mira, ContextInstruct(16, not_knowing=0, refusal=0)), api.ref)
    assert len(api.seen) == 6
    assert outcome.funnel.rejected == {"malformed": 2}


async def test_the_model_check_takes_rows_out(api, author, mira, run_folder):
    task = ContextInstruct(12, per_call=6, not_knowing=0, refusal=0, check=True)
    await made(Recipe(run_folder, mira, task), api.ref)
    out = [row for row in read_rows(run_folder) if row.reason == "model-check"]
    assert out
    assert all(row.detail == "not factual: made up" for row in out)


async def test_dialogues_have_their_turns(api, author, mira, run_folder):
    recipe = Recipe(run_folder, mira, Dialogues(dialogues=5))
    await made(recipe, api.ref)
    rows = read_rows(run_folder)
    assert len(rows) == 5
    assert all(row.verdict == "accepted" and 8 <= len(row.turns) <= 24 for row in rows)
    assert len({len(row.turns) for row in rows}) > 1
    role_calls = [seen for seen in api.seen if seen.body["max_tokens"] == 160]
    assert all(seen.body["messages"][0]["content"].startswith("You are Mira Holt") for seen in role_calls)
    assert len(api.seen) == sum(len(row.turns) for row in rows)
    await made(recipe, api.ref)
    assert len(api.seen) == sum(len(row.turns) for row in rows)


async def test_a_dialogue_that_goes_in_circles_is_cut(api, mira, run_folder):
    api.respond = lambda body: "It is what it is, my friend, and that is all."
    await made(Recipe(run_folder, mira, Dialogues(dialogues=2)), api.ref)
    assert [(row.verdict, row.reason) for row in read_rows(run_folder)] == [("rejected", "repeats")] * 2


async def test_pausing_loses_nothing_and_resuming_changes_nothing(api, author, author_module, mira, tmp_path):
    task = ContextInstruct(40, per_call=4, not_knowing=4, refusal=2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    await made(Recipe(whole, mira, task), api.ref)
    once = len(api.seen)
    api.respond = author_module.Author()
    for _ in range(30):
        cancel = threading.Event()

        def stop(funnel, cancel=cancel):
            cancel.set()

        outcome = await made(Recipe(parts, mira, task), api.ref, cancel=cancel, show=stop, concurrency=2)
        if outcome.finished:
            break
    assert (parts / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    assert len(api.seen) == 2 * once
    assert max(api.respond.written.values()) == 1


async def test_caps_are_hard_and_the_run_goes_on_after(api, author, mira, run_folder):
    recipe = Recipe(run_folder, mira, ContextInstruct(40, per_call=4, not_knowing=0, refusal=0))
    with pytest.raises(Stopped, match="limit of 5 requests"):
        await made(recipe, api.ref, max_requests=5)
    assert len(api.seen) == 5
    assert not is_finished(recipe)
    outcome = await made(recipe, api.ref, max_requests=100)
    assert outcome.finished
    assert len(api.seen) == 10


async def test_a_refused_request_says_so(api, author, api_module, mira, run_folder, instructions):
    recipe = Recipe(run_folder, mira, RoleGpt(instructions=str(instructions), references=1, baseline=False))
    api.play([api_module.error(400, "Filtered.", code="content_filter")])
    await made(recipe, api.ref, concurrency=1)
    rows = read_rows(run_folder)
    assert Counter(row.reason for row in rows) == {"": 3, "refused": 1}
    assert rows[0].dropped == (("127.0.0.1 refused the request (400 Bad Request: Filtered).", "refused"),)


def changed(role, **values):
    return Role.model_validate({**role.model_dump(), **values})


async def test_another_recipe_in_the_same_folder_is_refused(api, author, mira, run_folder, instructions):
    task = RoleGpt(instructions=str(instructions), most_instructions=1, references=1, baseline=False)
    await made(Recipe(run_folder, mira, task), api.ref)
    with pytest.raises(RolekitError, match=r"role_sha256 was .*; seed was 0 and is now 3"):
        await made(Recipe(run_folder, changed(mira, personality="gay"), task, seed=3), api.ref)
    with pytest.raises(RolekitError, match="is of Mira Holt"):
        await made(Recipe(run_folder, changed(mira, name="Nobody"), Dialogues()), api.ref)
    (run_folder / "recipe.json").write_text("[]")
    with pytest.raises(RolekitError, match="no recipe of a synthesis run"):
        await made(Recipe(run_folder, mira, task), api.ref)


async def test_a_run_can_be_made_longer(api, author, mira, run_folder):
    for candidates in (8, 24):
        task = ContextInstruct(candidates, per_call=4, not_knowing=0, refusal=0)
        assert (await made(Recipe(run_folder, mira, task), api.ref)).finished
    assert len(read_rows(run_folder)) == 24
    assert len(api.seen) == 6


@pytest.mark.parametrize("language", ["zh", "de"])
async def test_other_languages(api, author_module, mira, run_folder, language):
    api.respond = author_module.Author(language)
    role = changed(
        mira,
        language=language,
        description="你是米拉，守着港口的灯塔。" if language == "zh" else "Du bist Mira, die Wärterin.",
    )
    await made(Recipe(run_folder, role, ContextInstruct(16, per_call=4, not_knowing=4, refusal=2)), api.ref)
    await made(Recipe(run_folder, role, Dialogues(2)), api.ref)
    rows = read_rows(run_folder)
    system = api.seen[0].body["messages"][0]["content"]
    assert ("全部用中文写" in system) == (language == "zh")
    assert ("Write everything in German" in system) == (language == "de")
    kept = Counter(row.step for row in rows if row.verdict == "accepted")
    assert kept["script-agnostic"] >= 4
    assert kept["not-knowing"] >= 1
    assert kept["refusal"] == 2
    assert kept["dialogue"] == 2
    assert all(row.language == language for row in rows)


def test_torn_and_foreign_rows(run_folder):
    path = run_folder / "rows.jsonl"
    good = {
        "id": "a",
        "step": "refusal",
        "role": "M",
        "language": "en",
        "question": "q",
        "answers": ["a"],
        "verdict": "held",
    }
    path.write_text(json.dumps(good) + "\n" + json.dumps(good)[:30])
    assert len(read_rows(run_folder)) == 1
    path.write_text(json.dumps(good) + "\n{}\n" + json.dumps({**good, "step": "x"}) + "\n")
    with pytest.raises(RolekitError, match=r"2 lines.*\n.*:2: no id.*\n.*:3"):
        read_rows(run_folder)
