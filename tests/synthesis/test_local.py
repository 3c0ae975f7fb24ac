"""The engine in this process as the generator: JSON by grammar, the same journal, nothing written twice."""

from __future__ import annotations

import json
import threading

import pytest

from rolekit.endpoints.calls import Answer
from rolekit.endpoints.failures import Refused, Stopped
from rolekit.messages import Message
from rolekit.synthesis.desk import Desk
from rolekit.synthesis.generator import open_generator
from rolekit.synthesis.recipe import ContextInstruct, Recipe, RoleGpt
from rolekit.synthesis.rows import read_rows
from rolekit.synthesis.running import run
from rolekit.synthesis.triplets import BASED, schema_of

pytestmark = pytest.mark.model


@pytest.fixture
async def generator(starter_path, run_folder):
    opened = open_generator(run_folder, str(starter_path), context_tokens=1024, threads=1, max_requests=6)
    yield opened
    await opened.close()


async def test_a_step_on_the_starter(generator, mira, run_folder):
    recipe = Recipe(run_folder, mira, ContextInstruct(1, per_call=1, not_knowing=0, refusal=0))
    assert (await run(recipe, generator)).finished
    (row,) = read_rows(run_folder)
    assert row.question
    assert row.confidence in ("high", "low")
    assert generator.endpoint.base_url.startswith("local:")
    before = (run_folder / "rows.jsonl").read_bytes()
    recipe.done_file.unlink()
    outcome = await run(recipe, generator)
    assert outcome.funnel.requests == 1
    assert (run_folder / "rows.jsonl").read_bytes() == before


async def test_grammar_caps_and_cancel(generator, mira, run_folder):
    desk = Desk(Recipe(run_folder, mira, RoleGpt()), generator, lambda funnel: None, threading.Event())
    schema = schema_of(("question", "confidence"), 2, True)
    asked = (Message("user", "Write two questions about bread."),)
    calls = [desk.call(asked, 60, schema=schema, sample=n) for n in range(2)]
    calls += [desk.call((Message("user", "word " * 2000),), 10)]
    answers = {index: answer async for index, answer in generator.ask_all(calls)}
    for index in (0, 1):
        if answers[index].finish_reason == "stop":
            items = json.loads(answers[index].text)["items"]
            assert len(items) == 2
            assert {item["confidence"] for item in items} <= {"high", "low"}
        assert answers[index].text.startswith('{"items": [{"question": "')
    assert isinstance(answers[2], Refused)
    cancel = threading.Event()
    cancel.set()
    more = [desk.call((Message("user", f"Say {n}."),), 4) for n in range(9)]
    assert [pair async for pair in generator.ask_all(more, cancel)] == []
    said = []

    async def say():
        async for _, answer in generator.ask_all(more):
            said.append(answer)

    with pytest.raises(Stopped, match="limit of 6 requests"):
        await say()
    assert len(said) == 4
    assert all(isinstance(answer, Answer) for answer in said)
    assert schema_of(BASED, 2, True) != schema_of(BASED, 2, False)
