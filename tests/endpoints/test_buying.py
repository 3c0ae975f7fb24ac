"""Journal, prices and budget: nothing is paid twice, and no cap is passed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from rolekit.endpoints.address import parse_endpoint
from rolekit.endpoints.buying import Budget, Buyer
from rolekit.endpoints.calls import Answer, Call, Usage
from rolekit.endpoints.failures import Refused, Stopped
from rolekit.endpoints.journal import Journal
from rolekit.endpoints.prices import FREE, Price, needed_price, price_file, price_of
from rolekit.endpoints.tokens import estimated_tokens, most_tokens
from rolekit.errors import RolekitError
from rolekit.messages import Message

WORKER = Path(__file__).with_name("buying_worker.py")


def calls_of(api, number):
    endpoint = parse_endpoint(api.ref)
    return [Call(endpoint, (Message("user", f"Question {n}?"),), max_tokens=10) for n in range(number)]


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.db") as opened:
        yield opened


async def bought(buyer, calls, concurrency=3):
    async with aclosing(buyer.ask_all(calls, concurrency=concurrency)) as answers:
        return {index: answer async for index, answer in answers}


async def test_nothing_is_asked_twice(api, client, journal):
    buyer = Buyer(client, journal, Budget())
    calls = calls_of(api, 5)
    first = await bought(buyer, [*calls, *calls])
    assert len(first) == 10
    assert len(api.seen) == 5
    assert await bought(Buyer(client, journal, Budget()), calls) == {n: first[n] for n in range(5)}
    assert len(api.seen) == 5
    assert journal.spending().requests == journal.spending().answered == 5


async def test_a_key_knows_everything_that_decides_the_answer(api):
    (call,) = calls_of(api, 1)
    others = [
        replace(call, temperature=0.1), replace(call, max_tokens=11), replace(call, seed=1), replace(call, sample=1),
        replace(call, prompt_version="2"), replace(call, schema="{}"), replace(call, stop=("x",)),
        replace(call, endpoint=parse_endpoint("openai:other@http://127.0.0.1/v1")),
        replace(call, messages=(Message("system", "Question 0?"),)),
    ]  # fmt: skip
    assert len({call.key, *(other.key for other in others)}) == 10
    assert replace(call, messages=(Message("user", "Question 0?", "example"),)).key == call.key


async def test_a_request_is_in_the_journal_before_it_is_sent(api, client, journal):
    rows = []

    def look(body):
        with sqlite3.connect(journal.path) as other:
            rows.extend(other.execute("SELECT sent, reserved_usd, answer FROM request").fetchall())
        other.close()
        return "Aye."

    api.respond = look
    await bought(Buyer(client, journal, Budget(Price(input=1, output=1))), calls_of(api, 1))
    assert rows[0][0] == 1
    assert rows[0][1] > 0
    assert rows[0][2] is None


async def test_the_cap_in_dollars_is_hard(api, client, journal):
    price = Price(input=1000.0, output=10_000.0)
    cap = price.most(calls_of(api, 1)[0]) * 3.5
    buyer = Buyer(client, journal, Budget(price, max_usd=cap))
    with pytest.raises(Stopped, match=r"budget of .* is used up") as caught:
        await bought(buyer, calls_of(api, 100), concurrency=8)
    assert "--max-usd" in caught.value.what_to_do
    spent = journal.spending()
    assert 3 <= spent.answered < 100
    assert spent.usd == pytest.approx(sum(price.cost(Usage(6, 2)) for _ in range(spent.answered)))
    assert spent.usd <= cap
    assert buyer.budget.reserved_usd == pytest.approx(0)
    more = Buyer(client, journal, Budget(price, max_usd=cap))  # the next run knows what the first has spent
    assert more.budget.spent_usd == pytest.approx(spent.usd)
    assert len(await bought(more, calls_of(api, spent.answered))) == spent.answered


async def test_the_cap_in_requests_counts_repetitions(api, client, journal, api_module):
    api.play([api_module.status(500)] * 2)
    with pytest.raises(Stopped, match="limit of 4 requests"):
        await bought(Buyer(client, journal, Budget(max_requests=4)), calls_of(api, 10), concurrency=1)
    assert len(api.seen) == 4


async def test_a_lost_answer_counts_against_the_budget(api, client, journal, api_module):
    price = Price(input=1000.0, output=1000.0)
    (call,) = calls_of(api, 1)
    api.play([api_module.Step("cut"), api_module.status(500)])
    buyer = Buyer(client, journal, Budget(price, max_usd=100))
    answer = await buyer.ask(call)
    spent = journal.spending()
    assert spent.lost_usd == pytest.approx(price.most(call))  # the cut one; a 500 costs nothing
    assert spent.sent == 3
    assert buyer.budget.spent_usd == pytest.approx(price.cost(answer.usage) + price.most(call))


async def test_one_refusal_leaves_the_others_alone(api, client, journal, api_module):
    api.play([api_module.error(400, "Filtered.", code="content_filter")])
    answers = await bought(Buyer(client, journal, Budget()), calls_of(api, 6), concurrency=1)
    assert isinstance(answers[0], Refused)
    assert all(isinstance(answers[n], Answer) for n in range(1, 6))
    assert list(journal.failures().values()) == [1]


async def test_a_rejected_key_stops_all_and_keeps_what_came(api, client, journal, api_module):
    api.play([api_module.Step(), api_module.Step(), *[api_module.error(401, "No.")] * 8])
    got = []

    async def buy():
        async for pair in Buyer(client, journal, Budget()).ask_all(calls_of(api, 50), concurrency=2):
            got.append(pair)

    with pytest.raises(Stopped, match="rejected the key"):
        await buy()
    assert len(got) == 2
    assert len(api.seen) <= 4


def test_damaged_and_foreign_journals(tmp_path):
    (tmp_path / "j.db").write_text("this is no database, and long enough to be looked at" * 20)
    with pytest.raises(RolekitError, match="cannot be used"):
        Journal(tmp_path / "j.db")
    with sqlite3.connect(tmp_path / "k.db") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(RolekitError, match="another version"):
        Journal(tmp_path / "k.db")


def test_prices(home):
    openai = parse_endpoint("openai:gpt-4o")
    assert price_of(openai).output == 10.0
    assert price_of(parse_endpoint("openai:gpt-4o-2024-08-06")) == price_of(openai)
    assert price_of(parse_endpoint("openai:gpt-4o@https://example.org/v1")) is None
    assert price_of(parse_endpoint("openai:anything@http://localhost:8080/v1")) == FREE
    with pytest.raises(RolekitError, match=r"price of x at example\.org is not known") as caught:
        needed_price(parse_endpoint("openai:x@https://example.org/v1"))
    home.mkdir()
    price_file().write_text(caught.value.what_to_do.partition("\n")[2].replace("0.0", "2.0"))
    assert needed_price(parse_endpoint("openai:x@https://example.org/v1")) == Price(input=2, output=2)
    price_file().write_text('["x"]\ninput = -1\noutputs = 3')
    with pytest.raises(RolekitError, match=r"x\.input.*x\.output.*x\.outputs"):
        price_of(openai)
    price_file().write_text("x = [")
    with pytest.raises(RolekitError, match="has faults"):
        price_of(openai)


def test_what_tokens_cost():
    price = Price(input=2, output=10, cached_input=1)
    assert price.cost(Usage(1_000_000, 100_000, 500_000)) == 1 + 0.5 + 1
    assert Price(input=2, output=10).cost(Usage(1_000_000, 0, 500_000)) == 2


@pytest.mark.parametrize("text", ["To be, or not to be.", "俺老孙来也！", "🐒🐒", ""])
def test_the_bound_is_above_the_estimate(text):
    assert estimated_tokens(text) <= most_tokens([Message("user", text)])


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_9_loses_no_answer_that_had_arrived(api, tmp_path):
    api.seconds = 0.01
    moments, arrived, wanted = random.Random(4), 0, 60
    path = tmp_path / "journal.db"
    lives = 0
    while arrived < wanted:
        lives += 1
        assert lives < 60
        with subprocess.Popen(
            [sys.executable, str(WORKER), api.ref, str(path), str(wanted)], stdout=subprocess.PIPE
        ) as worker:
            worker.stdout.readline()
            time.sleep(moments.uniform(0.02, 0.25))
            os.kill(worker.pid, signal.SIGKILL)
            said = worker.stdout.read().split()
        with Journal(path) as journal:
            before, arrived = arrived, journal.spending().answered
            assert arrived >= before
            assert all(journal.answer(key.decode()) for key in said)
    in_flight = 4 * lives
    assert wanted <= len(api.seen) <= wanted + in_flight


def test_two_buyers_of_the_same_call_pay_once(api, journal):
    async def both():
        from rolekit.endpoints.client import Client

        client = Client(parse_endpoint(api.ref))
        buyer = Buyer(client, journal, Budget())
        (call,) = calls_of(api, 1)
        answers = await asyncio.gather(*(buyer.ask(call) for _ in range(5)))
        await client.close()
        return answers

    api.seconds = 0.05
    assert len(set(asyncio.run(both()))) == 1
    assert len(api.seen) == 1
