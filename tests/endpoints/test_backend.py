"""A model behind a server as a Backend, and `rolekit chat` with it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from contextlib import aclosing

import pytest

from rolekit.commands.opening import ModelChoice, open_backend
from rolekit.config import Config
from rolekit.endpoints.backend import open_endpoint
from rolekit.errors import RolekitError
from rolekit.messages import Message, Piece, Progress, Reply, Request, Sampling


def request(**more):
    return Request((Message("system", "Be Ada.", "role"), Message("user", "Who are you?")), **more)


async def events_of(backend, asked):
    async with aclosing(backend.stream(asked)) as events:
        return [event async for event in events]


@pytest.fixture
async def backend(api):
    opened = open_endpoint(api.ref)
    yield opened
    await opened.close()


async def test_a_reply(api, backend):
    sampling = Sampling(temperature=0.5, frequency_penalty=0.1)
    events = await events_of(backend, request(sampling=sampling, seed=2**31 + 5, max_tokens=9))
    assert isinstance(events[0], Progress)
    assert "".join(event.text for event in events if isinstance(event, Piece)) == "Quite so."
    reply = events[-1]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.stop_reason, reply.token_ids) == ("Quite so.", "end", ())
    assert reply.stats.prompt_tokens == reply.stats.evaluated_tokens + reply.stats.reused_tokens
    assert 0 < reply.stats.ttft_seconds <= reply.stats.seconds
    assert api.seen[0].body["seed"] == 5
    assert api.seen[0].body["max_tokens"] == 9
    assert backend.label == f"gpt-test @ 127.0.0.1:{api.port}"
    assert backend.context_tokens == 0


async def test_names_are_cut_and_thoughts_kept_apart(api, backend, api_module):
    api.play([api_module.Step(text="<think>hm</think>Ada: I am I.\nYou: And I?")])
    reply = (await events_of(backend, request(stop_names=("You",), role_names=("Ada",))))[-1]
    assert reply.text == "I am I."
    assert reply.stop_reason == "speaks_for_user"
    assert reply.thinking == "hm"


async def test_cancel_closes_the_connection_and_keeps_what_came(api, backend, api_module):
    api.play([api_module.Step("drip", text="one two three four five six seven", seconds=0.2)])
    asked = request()

    def stop() -> None:
        while not api.seen:
            time.sleep(0.01)
        time.sleep(0.5)
        asked.cancel.set()

    threading.Thread(target=stop).start()
    reply = (await events_of(backend, asked))[-1]
    assert reply.stop_reason == "cancelled"
    assert reply.text.startswith("one")
    assert "seven" not in reply.text


async def test_leaving_early_leaves_nothing_behind(api, backend, api_module):
    api.play([api_module.Step("drip", text="one two three", seconds=0.2)])
    async with aclosing(backend.stream(request())) as events:
        async for event in events:
            if isinstance(event, Piece):
                break
    assert len(asyncio.all_tasks()) == 1
    assert (await events_of(backend, request()))[-1].text == "Quite so."


async def test_length_is_told(api, backend, api_module):
    api.play([api_module.Step(finish="length")])
    assert (await events_of(backend, request()))[-1].stop_reason == "length"


@pytest.mark.parametrize("choice", [{"adapters": ("x.gguf",)}, {"chat_template": "chatml"}])
def test_what_only_local_models_can(api, choice):
    with pytest.raises(RolekitError, match="runs on a server"):
        open_backend(ModelChoice(api.ref, **choice), Config())


def test_the_chat_command_talks_to_a_server(api, home):
    def respond(body):
        return f"I heard: {body['messages'][-1]['content']}"

    api.respond = respond
    arguments = [
        "chat",
        "--role",
        "ada",
        "--model",
        api.ref,
        "--json",
        "--say",
        "Good evening.",
        "--say",
        "And?",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "rolekit", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["reply"] for row in rows] == ["I heard: Good evening.", "I heard: And?"]
    assert done.stderr == ""
    assert [message["role"] for message in api.seen[1].body["messages"]][-3:] == ["user", "assistant", "user"]


def test_the_chat_command_without_a_server(home):
    ref = "openai:m@http://127.0.0.1:9/v1"
    done = subprocess.run(
        [sys.executable, "-m", "rolekit", "chat", "--role", "ada", "--model", ref, "--say", "Hello."],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
