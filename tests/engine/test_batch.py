"""Replies decoded together: word for word what each request would get alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from rolekit.engine.backend import LocalBackend, open_local
from rolekit.engine.batch import lanes_for
from rolekit.engine.lane import Job, Jobs
from rolekit.engine.presets import load_preset
from rolekit.engine.prompt import Prompt
from rolekit.errors import RolekitError
from rolekit.messages import Message, Reply, Request, Sampling

pytestmark = pytest.mark.model
ROLE = Message(
    "system", "You are Captain Nemo. You hate the land and love the sea and your Nautilus. " * 8, "role"
)
QUESTIONS = (
    "Who are you?",
    "Where do you live?",
    "Do you play the organ?",
    "Who is Aronnax?",
    "Name a fish.",
)


@pytest.fixture
def backend(starter_path: Path) -> Iterator[LocalBackend]:
    backend = open_local(starter_path, context_tokens=1024, kv_cache_mib=0)
    yield backend
    asyncio.run(backend.close())


def requests(sampling: Sampling, max_tokens: int = 16, role: Message = ROLE) -> list[Request]:
    return [
        Request((role, Message("user", question)), sampling, seed=seed, max_tokens=max_tokens)
        for seed, question in enumerate(QUESTIONS)
    ]


async def together(backend: LocalBackend, asked: Sequence[Request], parallel: int = 16) -> dict[int, Reply]:
    return {index: reply async for index, reply in backend.generate_batch(asked, parallel=parallel)}


async def alone(backend: LocalBackend, request: Request) -> Reply:
    events = [event async for event in backend.stream(request)]
    assert isinstance(events[-1], Reply)
    return events[-1]


@pytest.mark.parametrize(("preset", "parallel"), [("greedy", 2), ("default", 5)])
async def test_each_reply_is_the_one_it_would_get_alone(
    backend: LocalBackend, preset: str, parallel: int
) -> None:
    asked = requests(load_preset(preset))
    replies = await together(backend, asked, parallel)
    assert sorted(replies) == list(range(len(asked)))
    for index, request in enumerate(asked):
        single = await alone(backend, request)
        assert replies[index].token_ids == single.token_ids
        assert (replies[index].text, replies[index].stop_reason) == (single.text, single.stop_reason)


async def test_the_shared_beginning_is_evaluated_once(backend: LocalBackend) -> None:
    replies = await together(backend, requests(Sampling(temperature=0), max_tokens=4))
    role_tokens = backend.count_tokens([ROLE, Message("user", "")])[0]
    rows = [reply.stats for reply in replies.values()]
    assert all(row.prompt_tokens == row.reused_tokens + row.evaluated_tokens for row in rows)
    assert sorted(row.reused_tokens == 0 for row in rows) == [False] * 4 + [True]
    assert all(row.evaluated_tokens < 30 for row in rows if row.reused_tokens)
    assert sum(row.evaluated_tokens for row in rows) < role_tokens + 5 * 30


async def test_other_roles_between_do_not_mix(backend: LocalBackend) -> None:
    other = Message("system", "You are Alice, seven years old, and you fell down a rabbit hole. " * 8, "role")
    mixed = [
        request
        for pair in zip(
            requests(Sampling(temperature=0), 8),
            requests(Sampling(temperature=0), 8, other),
            strict=True,
        )
        for request in pair
    ][:6]
    replies = await together(backend, mixed, parallel=3)
    for index, request in enumerate(mixed):
        assert replies[index].token_ids == (await alone(backend, request)).token_ids


def test_lanes_share_sequences_and_threads() -> None:
    assert lanes_for(90 << 20, 2, 16) == [(8, 1), (8, 1)]
    assert lanes_for(90 << 20, 8, 16) == [(4, 2)] * 4
    assert lanes_for(90 << 20, 6, 15) == [(5, 2)] * 3
    assert lanes_for(90 << 20, 3, 11) == [(6, 2), (5, 1)]
    assert lanes_for(90 << 20, 2, 7) == [(7, 2)]  # too few for two
    assert lanes_for(90 << 20, 1, 16) == [(16, 1)]
    assert lanes_for(4 << 30, 8, 16) == [(16, 8)]  # a large model keeps all threads busy by itself


def test_a_lane_without_work_takes_from_the_end_of_the_longest_queue() -> None:
    prompt = Prompt((1, 2), 0)
    jobs = Jobs([Job(index, Request(()), prompt) for index in range(5)], 2)
    taken = [jobs.take(lane) for lane in (0, 0, 0, 0, 1, 1)]
    assert [job.index if job else None for job in taken] == [0, 1, 4, 3, 2, None]


async def test_replies_of_lanes_are_the_ones_they_would_get_alone(starter_path: Path) -> None:
    backend = open_local(starter_path, context_tokens=256, kv_cache_mib=0, threads=2)
    short = Message("system", "You are Captain Nemo. You love the sea.", "role")
    try:
        asked = [*requests(load_preset("default"), 4, short), *requests(Sampling(temperature=0), 4, short)][
            :8
        ]
        asked[6].cancel.set()
        replies = await together(backend, asked, parallel=8)
        assert sorted(replies) == list(range(8))
        assert [i for i in range(8) if replies[i].stop_reason == "cancelled"] == [6]
        assert not [one for one in threading.enumerate() if one.name.startswith("rolekit-lane")]
        for index, request in enumerate(asked):
            if index != 6:
                assert replies[index].token_ids == (await alone(backend, request)).token_ids
        broken = replace(asked[7], sampling=Sampling(grammar="root ::= ("))
        with pytest.raises(RolekitError, match="grammar"):
            await together(backend, [*asked[:7], broken], parallel=8)
        assert not [one for one in threading.enumerate() if one.name.startswith("rolekit-lane")]
    finally:
        await backend.close()


async def test_cancelling_one_leaves_the_others(backend: LocalBackend) -> None:
    asked = requests(Sampling(temperature=0), max_tokens=8)
    asked[1].cancel.set()
    replies = await together(backend, asked, parallel=2)
    assert replies[1].stop_reason == "cancelled"
    assert replies[1].token_ids == ()
    assert [replies[index].stop_reason == "cancelled" for index in (0, 2, 3, 4)] == [False] * 4


async def test_leaving_the_loop_ends_all(backend: LocalBackend) -> None:
    asked = requests(Sampling(temperature=0), max_tokens=4) + requests(
        Sampling(temperature=0), max_tokens=700
    )
    async with aclosing(backend.generate_batch(asked, parallel=2)) as rows:
        index, _ = await anext(rows)
        assert index in (0, 1)
    assert all(request.cancel.is_set() for request in asked)
    assert (await alone(backend, requests(Sampling(temperature=0), max_tokens=2)[0])).text


async def test_no_requests_and_one_too_long(backend: LocalBackend) -> None:
    assert await together(backend, []) == {}
    long = Request((Message("user", "word " * 3000),))
    with pytest.raises(RolekitError, match="context holds 1024"):
        await together(backend, [*requests(Sampling(), 4), long])


async def test_a_grammar_and_a_stop_name_hold_in_a_batch(backend: LocalBackend) -> None:
    yes = Request(
        (ROLE, Message("user", "Do you like the sea?")), Sampling(grammar='root ::= "Yes." | "No."')
    )
    told = replace(
        requests(Sampling(grammar='root ::= "Aye.\\nNed: Hello"'))[0], stop_names=("Ned",), max_tokens=0
    )
    replies = await together(backend, [yes, told])
    assert replies[0].text in ("Yes.", "No.")
    assert (replies[1].text, replies[1].stop_reason) == ("Aye.", "speaks_for_user")
