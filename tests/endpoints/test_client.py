"""The client against a real server that misbehaves."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rolekit.endpoints.address import parse_endpoint
from rolekit.endpoints.calls import Call
from rolekit.endpoints.chunks import Part
from rolekit.endpoints.client import Client
from rolekit.endpoints.failures import Refused, Stopped
from rolekit.endpoints.pacing import Breaker, Retries, asked_wait, duration, exhausted_for
from rolekit.endpoints.sse import EventReader
from rolekit.messages import Message

SAY = (Message("system", "Be Ada."), Message("user", "Who are you?"))


def call(api, text="Who are you?", **more):
    return Call(parse_endpoint(api.ref), (SAY[0], Message("user", text)), **more)


async def heard(client, asked):
    async with aclosing(client.stream(asked)) as parts:
        return [part async for part in parts]


async def test_an_answer_with_usage(api, client):
    answer = await client.complete(call(api, temperature=0.7, max_tokens=50, seed=3, stop=("\nYou:",)))
    assert (answer.text, answer.finish_reason, answer.model) == ("Quite so.", "stop", "gpt-test-0")
    assert answer.usage.measured
    assert answer.usage.completion_tokens == 2
    seen = api.seen[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.body == {
        "model": "gpt-test",
        "messages": [{"role": "system", "content": "Be Ada."}, {"role": "user", "content": "Who are you?"}],
        "temperature": 0.7, "max_tokens": 50, "seed": 3, "stop": ["\nYou:"],
    }  # fmt: skip
    assert "authorization" not in seen.headers


async def test_a_stream_arrives_piece_by_piece(api, client):
    parts = await heard(client, call(api))
    assert [part.text for part in parts if isinstance(part, Part)] == ["Quite ", "so."]
    assert parts[-1].text == "Quite so."
    assert parts[-1].usage.measured
    assert api.seen[0].body["stream_options"] == {"include_usage": True}


async def test_a_server_without_usage_is_estimated(api, client, api_module):
    api.play([api_module.Step(usage=False), api_module.Step(usage=False)])
    for answer in (await client.complete(call(api)), (await heard(client, call(api)))[-1]):
        assert not answer.usage.measured
        assert answer.usage.prompt_tokens > 4
        assert answer.usage.completion_tokens == 3


async def test_a_server_that_does_not_stream(api, client, api_module):
    whole = '{"choices": [{"message": {"content": "All at once."}, "finish_reason": "stop"}]}'
    api.play([api_module.raw(whole)])
    parts = await heard(client, call(api))
    assert [part.text for part in parts] == ["All at once.", "All at once."]


async def test_json_mode_and_schema(api, client):
    await client.complete(call(api, schema="{}"))
    await client.complete(call(api, schema='{"type": "object"}'))
    plain, strict = (seen.body["response_format"] for seen in api.seen)
    assert plain == {"type": "json_object"}
    assert strict["json_schema"]["schema"] == {"type": "object"}


async def test_retry_after_is_obeyed(api, client, api_module):
    api.play([api_module.status(429, retry_after="1"), api_module.status(429, retry_after_ms="50")])
    start = time.monotonic()
    assert (await client.complete(call(api))).text == "Quite so."
    first, second, third = (seen.at for seen in api.seen)
    assert second - first >= 1.0
    assert third - second >= 0.05
    assert time.monotonic() - start < 2.5


async def test_a_429_that_only_says_when_the_quota_is_back(api, client, api_module):
    headers = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "300ms"}
    api.play([api_module.status(429, **headers)])
    await client.complete(call(api))
    first, second = (seen.at for seen in api.seen)
    assert second - first >= 0.3


async def test_429_and_500_without_advice_are_tried_again_with_growing_waits(api, client, api_module):
    api.play([api_module.status(429), api_module.status(500, "boom"), api_module.status(503)])
    assert (await client.complete(call(api))).text == "Quite so."
    assert client.attempts == 4


async def test_a_long_wait_ends_the_run(api, client, api_module):
    api.play([api_module.status(429, retry_after="3600")])
    with pytest.raises(Stopped, match="no request for 3600 s"):
        await client.complete(call(api))
    assert client.attempts == 1


async def test_a_server_that_keeps_failing_on_one_request(api, client, api_module):
    api.play([api_module.error(500, "CUDA out of memory")] * 4)
    with pytest.raises(Refused, match=r"failed 4 times on one request \(500 Internal Server Error: CUDA"):
        await client.complete(call(api))
    assert (await client.complete(call(api))).text == "Quite so."


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("cut", "cut"), ("drip", "within 2 s|not a word|cut"), ("silent", "not a word")],
)
async def test_connections_that_die_are_tried_again(api, client, api_module, kind, sentence):
    step = api_module.Step(kind, seconds=0.1)
    api.play([step])
    assert (await client.complete(call(api))).text == "Quite so."
    assert client.attempts == 2


async def test_a_stream_that_is_cut_before_its_first_word_is_begun_again(api, client, api_module):
    api.play([api_module.Step("cut", words=0)])
    assert (await heard(client, call(api)))[-1].text == "Quite so."


async def test_a_stream_that_is_cut_in_the_middle_says_so(api, client, api_module):
    api.play([api_module.Step("cut", text="one two three four", words=2)])
    with pytest.raises(Refused, match="broke off in the middle"):
        await heard(client, call(api))


@pytest.mark.parametrize(
    "body", ['{"choices": [{"mess', "[]", '{"choices": []}', '{"choices": [{"message": null}]}', "null"]
)
async def test_malformed_json_is_tried_again(api, client, api_module, body):
    api.play([api_module.raw(body)])
    assert (await client.complete(call(api))).text == "Quite so."
    assert client.attempts == 2


async def test_html_where_an_answer_should_be(api, client, api_module):
    page = "<!DOCTYPE html><html><body>It works!</body></html>"
    for step in (api_module.raw(page, "text/html"), api_module.status(404, page, content_type="text/html")):
        for ask in (client.complete, lambda asked: heard(client, asked)):
            api.play([step])
            with pytest.raises(Stopped, match="web page") as caught:
                await ask(call(api))
            assert "address" in caught.value.what_to_do


async def test_a_proxy_s_error_page_is_only_a_bad_moment(api, client, api_module):
    api.play([api_module.status(502, "<html>Bad Gateway</html>", content_type="text/html")])
    assert (await client.complete(call(api))).text == "Quite so."


async def test_a_rejected_key_says_where_keys_go_and_hides_it(api, api_module, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ROLEKIT_API_KEY", "rk-secret-123")
    client = Client(parse_endpoint(api.ref))
    api.play([api_module.error(401, "Incorrect API key provided: rk-secret-123.")])
    with pytest.raises(Stopped, match=r"rejected the key \(401 Unauthorized: Incorrect API key") as caught:
        await client.complete(call(api))
    await client.close()
    assert "ROLEKIT_API_KEY" in caught.value.what_to_do
    assert api.seen[0].headers["authorization"] == "Bearer rk-secret-123"
    assert "rk-secret-123" not in str(caught.value) + caplog.text + repr(client.__dict__)
    assert client.attempts == 1


@pytest.mark.parametrize(
    ("code", "fields", "kind", "sentence"),
    [
        (429, {"code": "insufficient_quota"}, Stopped, "no credit left"),
        (404, {"code": "model_not_found"}, Stopped, "no model 'gpt-test'"),
        (400, {"code": "context_length_exceeded"}, Refused, "longer than what"),
        (400, {"code": "content_filter"}, Refused, "refused the request"),
    ],
)
async def test_refusals_in_words(api, client, api_module, code, fields, kind, sentence):
    api.play([api_module.error(code, "No.", **fields)])
    with pytest.raises(kind, match=sentence):
        await client.complete(call(api))
    assert client.attempts == 1


async def test_parameters_that_a_server_does_not_take_are_left_out(api, client, api_module):
    api.play(
        [
            api_module.error(
                400,
                "Unsupported parameter: 'max_tokens' is not supported; use 'max_completion_tokens'.",
                param="max_tokens",
                code="unsupported_parameter",
            ),
            api_module.error(
                400,
                "Unsupported value: 'temperature' does not support 0.5",
                param="temperature",
                code="unsupported_value",
            ),
            api_module.error(422, "response_format: extra inputs are not permitted"),
        ]
    )
    asked = call(api, temperature=0.5, max_tokens=9, schema='{"type": "object"}')
    assert (await client.complete(asked)).text == "Quite so."
    last = api.seen[-1].body
    assert last["max_completion_tokens"] == 9
    assert not {"max_tokens", "temperature"} & set(last)
    assert last["response_format"] == {"type": "json_object"}
    assert len(client.notices) == 2
    await client.complete(asked)
    assert len(api.seen) == 5


async def test_concurrency_is_bounded_and_halved_when_the_server_complains(api, api_module):
    api.seconds = 0.05
    client = Client(
        parse_endpoint(api.ref),
        concurrency=6,
        retries=Retries(attempts=9, base_seconds=0.01, most_seconds=0.02),
    )
    await asyncio.gather(*(client.complete(call(api, f"question {n}")) for n in range(30)))
    assert 4 <= api.most_under_way <= 6
    api.play([api_module.status(429)] * 3)
    await asyncio.gather(*(client.complete(call(api, f"again {n}")) for n in range(3)))
    assert client._gate.limit < 6
    await client.close()


async def test_a_dead_server_is_given_up(api):
    dead = parse_endpoint("openai:m@http://127.0.0.1:9/v1")
    breaker = Breaker("127.0.0.1", failures=5, seconds=0.0, cool_down_seconds=0.2)
    client = Client(dead, retries=Retries(attempts=50, base_seconds=0.01, most_seconds=0.01), breaker=breaker)
    asked = Call(dead, SAY)
    with pytest.raises(Stopped, match=r"has not answered 5 requests in a row.*cannot be reached"):
        await client.complete(asked)
    before = client.attempts
    with pytest.raises(Stopped):
        await client.complete(asked)
    assert client.attempts == before
    await asyncio.sleep(0.25)
    with pytest.raises(Stopped):
        await client.complete(asked)
    assert client.attempts == before + 1  # after the cool-down one may look
    await client.close()


async def test_an_error_inside_a_good_status(api, client, api_module):
    api.play([api_module.raw('{"error": {"message": "overloaded", "code": 503}}')])
    assert (await client.complete(call(api))).text == "Quite so."
    assert client.attempts == 2


def test_what_servers_say_about_waiting():
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert asked_wait({}) is None
    assert asked_wait({"retry-after": "7"}) == 7
    assert 28 < asked_wait({"retry-after": format_datetime(soon, usegmt=True)}) <= 30
    assert asked_wait({"retry-after": "soon"}) is None
    assert duration("6m0.5s") == 360.5
    assert duration("120ms") == 0.12
    assert exhausted_for({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}) == 2
    assert exhausted_for({"x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "2s"}) == 0


def test_waits_grow_and_differ():
    retries = Retries(base_seconds=1.0, most_seconds=8.0)
    for attempt, most in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
        waits = {retries.delay(attempt) for _ in range(20)}
        assert len(waits) > 1
        assert all(most / 2 <= wait <= most for wait in waits)
    assert retries.delay(1, 5.0) >= 5.0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_come_out_the_same_however_they_are_cut(size):
    stream = (
        'data: {"a": "x\u2028y é"}\r\n\r\n: a comment\n\nevent: e\ndata: one\ndata: two\n\rdata:three\r\rdata: [DONE]\n'
    ).encode()
    reader, events = EventReader(), []
    for start in range(0, len(stream), size):
        events += reader.feed(stream[start : start + size])
    events += reader.finish()
    assert events == ['{"a": "x\u2028y é"}', "one\ntwo", "three", "[DONE]"]
