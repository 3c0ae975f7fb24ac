"""A server at its worst, and the books afterwards: requests sent, answers lost (0), paid twice (0)."""

from __future__ import annotations

import json
import logging
import random
import traceback
from contextlib import aclosing

import pytest

from rolekit.endpoints.address import parse_endpoint
from rolekit.endpoints.buying import Budget, Buyer
from rolekit.endpoints.calls import Answer, Call
from rolekit.endpoints.client import Client, Timeouts
from rolekit.endpoints.failures import Refused, Stopped
from rolekit.endpoints.journal import Journal
from rolekit.endpoints.keys import find_key, key_file
from rolekit.endpoints.pacing import Breaker, Retries
from rolekit.endpoints.prices import Price
from rolekit.errors import RolekitError
from rolekit.messages import Message

STUBBORN = Retries(attempts=12, base_seconds=0.005, most_seconds=0.02, patience_seconds=3.0)
SCHEMA = '{"type": "object", "required": ["question"], "properties": {"question": {"type": "string"}}}'
CALLS = 120


def trouble(api):
    """One of everything that is over after another try, with what it is called."""
    page = "<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
    return {
        "429": api.status(429),
        "429 with Retry-After": api.status(429, retry_after_ms="20"),
        "429 in seconds": api.status(429, retry_after="0"),
        "500": api.error(500, "CUDA out of memory"),
        "503": api.status(503, "overloaded"),
        "HTML error page": api.status(502, page, content_type="text/html"),
        "cut in the middle": api.Step("cut"),
        "slow drip": api.Step("drip", seconds=0.05),
        "half of a JSON": api.raw('{"choices": [{"message": {"content": "Qui'),
        "JSON of another shape": api.raw('{"choices": "none"}'),
        "no choice": api.raw('{"choices": []}'),
        "text that is no text": api.raw('{"choices": [{"message": {"content": 7}}]}'),
        "error inside 200": api.raw('{"error": {"message": "overloaded", "code": 503}}'),
    }


def oddities(api):
    """Answers that are odd, and answers all the same: they are kept, and never asked for again."""
    return {
        "content filter": api.Step(text="", finish="content_filter"),
        "truncated": api.Step(text="And then he", finish="length"),
        "duplicate choices": api.Step(choices=3),
        "not in the schema": api.Step(text='{"answer": 7}'),
        "no usage": api.Step(usage=False),
    }


def calls_of(server, number=CALLS):
    endpoint = parse_endpoint(server.ref)
    return [
        Call(endpoint, (Message("user", f"Question {n}?"),), max_tokens=10, schema=SCHEMA)
        for n in range(number)
    ]


def hardy(server, **options):
    breaker = Breaker("127.0.0.1", failures=1000)
    quick = Timeouts(connect=2, write=2, read=0.5, whole=0.4)
    return Client(
        parse_endpoint(server.ref),
        concurrency=8,
        retries=STUBBORN,
        timeouts=quick,
        breaker=breaker,
        **options,
    )


async def bought(buyer, calls):
    found = {}
    async with aclosing(buyer.ask_all(calls, concurrency=8)) as answers:
        async for index, answer in answers:
            found[index] = answer
    return found


def books(server, journal, calls):
    """What the server has seen against what the journal has."""
    kept = {call.messages[0].text for call in calls if journal.answer(call.key)}
    whole = set(server.delivered)
    return {
        "calls": len(calls),
        "requests sent": len(server.seen),
        "answers that left the server whole": server.delivered.total(),
        "answers lost": len(whole - kept),
        "paid twice": sum(number - 1 for number in server.delivered.values()),
    }


async def test_every_misfortune_at_once_loses_nothing_and_pays_nothing_twice(api, api_module, tmp_path):
    faults, odd = trouble(api_module), oddities(api_module)
    steps = [
        *[step for step in faults.values() for _ in range(5)],
        *[step for step in odd.values() for _ in range(4)],
    ]
    random.Random(7).shuffle(steps)
    calls, price = calls_of(api), Price(input=1.0, output=1.0)
    with Journal(tmp_path / "journal.db") as journal:
        client = hardy(api)
        api.play(steps)
        answers = await bought(Buyer(client, journal, Budget(price)), calls)
        assert len(answers) == CALLS
        assert all(isinstance(answer, Answer) for answer in answers.values())
        assert not api.script, "every fault was met"
        found = books(api, journal, calls)
        sent = CALLS + 5 * len(faults)
        assert found == {
            "calls": CALLS, "requests sent": sent, "answers that left the server whole": CALLS, "answers lost": 0,
            "paid twice": 0,
        }  # fmt: skip
        spent = journal.spending()
        assert (spent.sent, spent.answered) == (sent, CALLS)
        reasons = [answer.finish_reason for answer in answers.values()]
        assert (reasons.count("content_filter"), reasons.count("length")) == (4, 4)
        texts = {answer.text for answer in answers.values()}
        assert texts == {"", "And then he", "Quite so.", '{"answer": 7}'}
        again = await bought(Buyer(client, journal, Budget(price)), calls)
        assert again == answers
        assert len(api.seen) == sent, "the second run sends nothing"
        await client.close()
    print("figures:", json.dumps(found))


@pytest.mark.parametrize("end", ["key rejected", "web page", "no credit", "asked to wait for an hour"])
async def test_what_ends_a_run_keeps_what_came_and_the_next_run_goes_on(api, api_module, tmp_path, end):
    step = {
        "key rejected": api_module.error(401, "Incorrect API key provided."),
        "web page": api_module.raw("<html>It works!</html>", "text/html"),
        "no credit": api_module.error(429, "You exceeded your quota.", code="insufficient_quota"),
        "asked to wait for an hour": api_module.status(429, retry_after="3600"),
    }[end]
    calls = calls_of(api, 40)
    with Journal(tmp_path / "journal.db") as journal:
        client = hardy(api)
        api.play([*[api_module.Step()] * 10, *[step] * 8])
        with pytest.raises(Stopped):
            await bought(Buyer(client, journal, Budget()), calls)
        kept = journal.spending().answered
        assert 10 <= kept < 40
        assert api.delivered.total() == kept
        await client.close()
        api.script.clear()
        client = hardy(api)
        assert len(await bought(Buyer(client, journal, Budget()), calls)) == 40
        found = books(api, journal, calls)
        assert (found["answers lost"], found["paid twice"]) == (0, 0)
        assert api.delivered.total() == 40
        await client.close()


async def last_part(client, asked):
    async with aclosing(client.stream(asked)) as parts:
        return [part async for part in parts][-1]


async def test_streams_break_with_a_sentence_or_come_whole(api, api_module):
    client, text = hardy(api), "one two three four"
    whole, said = 0, 0
    for number in range(24):
        kind = ("cut mid-SSE", "cut before a word", "duplicate choices", "plain")[number % 4]
        api.play(
            {
                "cut mid-SSE": [api_module.Step("cut", text=text, words=2)],
                "cut before a word": [api_module.Step("cut", text=text, words=0), api_module.Step(text=text)],
                "duplicate choices": [api_module.Step(text=text, choices=3)],
                "plain": [api_module.Step(text=text)],
            }[kind]
        )
        (asked,) = calls_of(api, 1)
        if kind == "cut mid-SSE":
            with pytest.raises(Refused, match="broke off in the middle"):
                await last_part(client, asked)
            said += 1
        else:
            assert (await last_part(client, asked)).text == text
            whole += 1
    assert (whole, said) == (18, 6)
    await client.close()


class Drawer:
    """A keyring in memory, behind keyring's real API."""

    def __new__(cls, kept, fault=None):
        from keyring.backend import KeyringBackend

        class Backend(KeyringBackend):
            priority = 1

            def get_password(self, service, username):
                if fault:
                    raise fault
                return kept.get((service, username))

            def set_password(self, service, username, password):
                kept[service, username] = password

            def delete_password(self, service, username):
                del kept[service, username]

        return Backend()


@pytest.fixture
def drawer():
    """Puts a keyring into place of the system's."""
    keyring = pytest.importorskip("keyring")
    before = keyring.get_keyring()

    def use(kept, fault=None):
        keyring.set_keyring(Drawer(kept, fault))

    yield use
    keyring.set_keyring(before)


def test_a_key_comes_from_the_keyring_for_its_own_host_alone(drawer, home, monkeypatch):
    drawer({("rolekit", "api.example.com"): "rk-of-example"})
    ours, other = (
        parse_endpoint(f"openai:m@https://{host}/v1") for host in ("api.example.com", "evil.example")
    )
    assert find_key(ours).reveal() == "rk-of-example"
    assert find_key(other) is None
    home.mkdir()
    key_file().write_text("rk-of-file")
    key_file().chmod(0o600)
    assert find_key(ours).reveal() == "rk-of-example"
    assert find_key(other).reveal() == "rk-of-file"
    monkeypatch.setenv("ROLEKIT_API_KEY", "rk-of-environment")
    assert find_key(ours).reveal() == "rk-of-environment"


def test_a_locked_keyring_says_what_to_do_and_an_absent_one_is_none(drawer):
    from keyring.errors import KeyringLocked, NoKeyringError

    far, near = (
        parse_endpoint("openai:m@https://api.example.com/v1"),
        parse_endpoint("openai:m@http://localhost:1/v1"),
    )
    drawer({}, KeyringLocked("rk-secret of the user"))
    with pytest.raises(RolekitError, match="cannot be read") as caught:
        find_key(far)
    assert "rk-secret" not in "".join(traceback.format_exception(caught.value))
    assert find_key(near) is None
    drawer({}, NoKeyringError())
    assert find_key(far) is None


def locals_in(error):
    """The traceback of an error and of what caused it, with every local variable of the program's own frames."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    while trace:
        frames = [frame for frame in trace.stack if frame.filename != __file__]
        assert any("rolekit" in frame.filename for frame in frames)
        yield from traceback.StackSummary.from_list(frames).format()
        trace = trace.__cause__


@pytest.mark.parametrize("source", ["environment", "keyring", "file"])
async def test_a_key_is_nowhere_but_in_the_header(
    api, api_module, tmp_path, monkeypatch, caplog, drawer, home, source
):
    """Logs at debug level, the whole run folder (journal included), traceback with locals, repr of everything."""
    caplog.set_level(logging.DEBUG)
    secret = "rk-51cret-" + source
    if source == "environment":
        monkeypatch.setenv("ROLEKIT_API_KEY", secret)
    elif source == "keyring":
        drawer({("rolekit", "127.0.0.1"): secret})
    else:
        home.mkdir()
        key_file().write_text(secret + "\n")
        key_file().chmod(0o600)
    run = tmp_path / "run"
    calls = calls_of(api, 6)
    with Journal(run / "journal.db") as journal:
        client = hardy(api)
        api.play(
            [
                api_module.Step(text=f"Your key is {secret}."), api_module.error(500, f"bad key {secret}"),
                api_module.error(400, f"no {secret}", code="content_filter"), api_module.Step("cut"),
                *[api_module.error(401, f"Incorrect API key provided: {secret}.")] * 8,
            ]
        )  # fmt: skip
        with pytest.raises(Stopped) as caught:
            await bought(Buyer(client, journal, Budget()), calls)
        seen = "".join(locals_in(caught.value)) + caplog.text + repr(vars(client)) + str(caught.value)
        await client.close()
    assert all(request.headers["authorization"] == f"Bearer {secret}" for request in api.seen)
    assert secret not in seen
    for file in run.iterdir():
        assert secret.encode() not in file.read_bytes(), file.name
