"""LocalBackend on the real starter: the whole way from messages to replies and back into the cache."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rolekit.engine.backend import LocalBackend, open_local
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Event, Message, Piece, Progress, Reply, Request, Sampling

pytestmark = pytest.mark.model
GREEDY = Sampling(temperature=0)
ROLE = (
    Message("system", "You are Sherlock Holmes of Baker Street. You observe, then you deduce. " * 8, "role"),
    Message("assistant", "Good evening. Pray take a seat by the fire.", "greeting"),
)
Open = Callable[..., Any]


@pytest.fixture
def opened(starter_path: Path) -> Open:
    """`async with opened(…) as backend`: the starter with a small context, closed at the end."""

    @asynccontextmanager
    async def open_it(**options: Any) -> AsyncIterator[LocalBackend]:
        backend = open_local(starter_path, **{"context_tokens": 1024, "kv_cache_mib": 64, **options})
        try:
            yield backend
        finally:
            await backend.close()

    return open_it


def request(*turns: Message, max_tokens: int = 12, **options: Any) -> Request:
    return Request((*ROLE, *turns), **{"sampling": GREEDY, "max_tokens": max_tokens, **options})


async def events_of(backend: LocalBackend, asked: Request) -> list[Event]:
    return [event async for event in backend.stream(asked)]


async def answer(backend: LocalBackend, asked: Request) -> Reply:
    reply = (await events_of(backend, asked))[-1]
    assert isinstance(reply, Reply)
    return reply


def said(reply: Reply) -> Message:
    return Message("assistant", reply.text, token_ids=reply.token_ids)


USER = Message("user", "Who are you?")


def forced(text: str) -> Sampling:
    """Lets the model say exactly this."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return Sampling(temperature=0, grammar=f'root ::= "{escaped}"')


# -- a reply --------------------------------------------------------------------------------------------------------


async def test_a_stream_is_progress_then_pieces_then_one_reply(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        protocol: Backend = backend
        assert (protocol.label, protocol.context_tokens) == ("smollm2-135m Q4_1", 1024)
        events = await events_of(backend, request(USER))
        kinds = [type(event) for event in events]
        first_piece = kinds.index(Piece)
        assert set(kinds[:first_piece]) == {Progress}
        assert set(kinds[first_piece:-1]) == {Piece}
        reply = events[-1]
        assert isinstance(reply, Reply)
        assert "".join(event.text for event in events if isinstance(event, Piece)) == reply.text
        progress = [event for event in events if isinstance(event, Progress)]
        assert progress[-1].done_tokens == progress[-1].total_tokens == reply.stats.prompt_tokens
        stats = reply.stats
        assert (stats.reused_tokens, stats.evaluated_tokens) == (0, stats.prompt_tokens)
        assert (stats.generated_tokens, reply.stop_reason) == (12, "length")
        assert 0 < stats.ttft_seconds <= stats.seconds
        assert sum(backend.count_tokens([*ROLE, USER])) == stats.prompt_tokens


async def test_the_first_piece_does_not_wait_for_the_second(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        seen = threading.Event()
        in_time: list[bool] = []

        def work(emit: Callable[[Event], None]) -> None:
            emit(Progress(1, 1))
            emit(Piece("I"))
            in_time.append(seen.wait(5))

        async for event in backend._run(work, lambda: None):
            if isinstance(event, Piece):
                seen.set()
        assert in_time == [True]


async def test_every_turn_evaluates_only_what_is_new(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        turns: list[Message] = [USER]
        held = 0
        for question in ("Where do you live?", "Do you play the violin?", "Who is Watson?", "Thank you."):
            reply = await answer(backend, request(*turns, max_tokens=40))
            if held:
                assert (
                    reply.stats.reused_tokens >= held - 1
                )  # -1: a reply's last token, when the next turn is quick
                assert reply.stats.evaluated_tokens <= 25
            held = reply.stats.prompt_tokens + len(reply.token_ids)
            turns += [said(reply), Message("user", question)]


async def test_a_regenerated_reply_evaluates_one_token_and_repeats_with_its_seed(opened: Open) -> None:
    async with opened() as backend:
        lively = {"sampling": Sampling(temperature=1.2), "max_tokens": 20}
        first = await answer(backend, request(USER, seed=5, **lively))
        again = await answer(backend, request(USER, seed=5, **lively))
        other = await answer(backend, request(USER, seed=6, **lively))
        assert (again.text, again.stats.evaluated_tokens) == (first.text, 1)
        assert other.text != first.text
    async with opened() as backend:
        assert (await answer(backend, request(USER, seed=5, **lively))).text == first.text


async def test_continuing_goes_on_where_the_reply_was_cut_off(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        whole = await answer(backend, request(USER, max_tokens=24))
        start = await answer(backend, request(USER, max_tokens=12))
        rest = await answer(backend, request(USER, said(start), max_tokens=12, continue_last=True))
        assert start.token_ids + rest.token_ids == whole.token_ids
        assert start.text + rest.text == whole.text
        assert rest.stats.evaluated_tokens <= 2


async def test_what_does_not_fit_says_how_much_it_is(opened: Open) -> None:
    async with opened(context_tokens=256) as backend:
        with pytest.raises(RolekitError) as error:
            await answer(backend, request(Message("user", "word " * 500)))
        assert "but the context holds 256" in error.value.what_happened
        assert "--ctx" in error.value.what_to_do
        assert (await answer(backend, request(USER, max_tokens=3))).text  # and nothing is broken


async def test_a_reply_ends_where_the_context_does(opened: Open) -> None:
    async with opened(context_tokens=256) as backend:
        count = sum(backend.count_tokens([*ROLE, USER]))
        filler = Message("user", "Tell me a very long story. " * ((230 - count) // 6))
        reply = await answer(
            backend, request(filler, max_tokens=0, sampling=Sampling(grammar='root ::= "tea "+'))
        )
        assert reply.stop_reason == "length"
        assert reply.stats.prompt_tokens + reply.stats.generated_tokens == 256


async def test_a_context_beyond_the_models_own_is_capped_with_a_notice(opened: Open) -> None:
    async with opened(context_tokens=100_000) as backend:
        assert backend.context_tokens == 8192
        assert "8192" in backend.notice
    async with opened() as backend:
        assert backend.notice == ""


# -- what is cut out of it ------------------------------------------------------------------------------------------


async def test_speaking_for_the_user_ends_the_reply_and_leaves_no_trace(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        asked = request(
            USER, sampling=forced("I am he.\nYou: And who am I?"), stop_names=("You",), max_tokens=0
        )
        events = await events_of(backend, asked)
        reply = events[-1]
        assert isinstance(reply, Reply)
        assert (reply.text, reply.stop_reason) == ("I am he.", "speaks_for_user")
        assert "".join(event.text for event in events if isinstance(event, Piece)) == "I am he."
        pieces = b"".join(backend._model.vocabulary.piece(token) for token in reply.token_ids)
        assert pieces == b"I am he."
        following = await answer(backend, request(USER, said(reply), Message("user", "Good."), max_tokens=2))
        assert following.stats.evaluated_tokens <= 15


async def test_the_roles_own_heading_is_taken_off(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        asked = request(
            USER, sampling=forced("Sherlock Holmes: I am he."), role_names=("Sherlock Holmes",), max_tokens=0
        )
        assert (await answer(backend, asked)).text == "I am he."


async def test_thoughts_stay_out_of_text_ids_and_cache(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        thought = "<think>\nHe asks who I am.\n</think>\n\nI am he."
        reply = await answer(backend, request(USER, sampling=forced(thought), max_tokens=0))
        assert (reply.text, reply.thinking) == ("I am he.", "He asks who I am.")
        pieces = b"".join(backend._model.vocabulary.piece(token) for token in reply.token_ids)
        assert pieces.strip() == b"I am he."
        again = await answer(backend, request(USER, max_tokens=3))
        assert again.stats.evaluated_tokens == 1


async def test_a_reply_of_thoughts_only_is_tried_again_without(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        thought = "<think>Hm, who am I?</think>"
        length = len(backend._model.vocabulary.tokenize(thought, special=False))
        reply = await answer(backend, request(USER, sampling=forced(thought), max_tokens=0))
        assert (reply.text, reply.token_ids, reply.thinking) == ("", (), "Hm, who am I?")
        assert reply.stats.generated_tokens > length  # the grammar made the second try think as well
        cancelled = request(USER, sampling=forced(thought), max_tokens=0)
        async for event in backend.stream(cancelled):
            if isinstance(event, Progress) and event.done_tokens == event.total_tokens:
                cancelled.cancel.set()
        assert isinstance(event, Reply)
        assert event.stats.generated_tokens <= 1


async def test_a_cancel_while_the_second_try_begins_is_a_cancel(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        asked = request(USER, sampling=forced("<think>Hm, who am I?</think>"), max_tokens=0)
        read_once = False

        def emit(event: Event) -> None:
            nonlocal read_once
            if isinstance(event, Progress):
                if read_once:
                    asked.cancel.set()
                read_once = read_once or event.done_tokens == event.total_tokens

        reply = backend._generator.reply(asked, (), emit)
        assert asked.cancel.is_set()
        assert (reply.text, reply.stop_reason) == ("", "cancelled")


async def test_characters_are_whole_and_control_bytes_are_the_callers_care(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        text = "福尔摩斯 👩‍👩‍👧 naïve"
        events = await events_of(backend, request(USER, sampling=forced(text), max_tokens=0))
        pieces = [event.text for event in events if isinstance(event, Piece)]
        assert "".join(pieces) == text
        assert all("\ufffd" not in piece for piece in pieces)


# -- cancel ---------------------------------------------------------------------------------------------------------


async def test_cancel_while_speaking_keeps_what_came(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        asked = request(USER, max_tokens=300, sampling=Sampling(grammar='root ::= "tea "+'))
        pieces: list[str] = []
        async for event in backend.stream(asked):
            if isinstance(event, Piece):
                pieces.append(event.text)
                asked.cancel.set()
            last = event
        assert isinstance(last, Reply)
        assert last.stop_reason == "cancelled"
        assert last.text.startswith(pieces[0])
        assert last.stats.generated_tokens < 100


async def test_cancel_while_reading_evaluates_the_rest_later(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        long = Message("user", "I met a man upon the stair, and when I looked he was not there. " * 40)
        asked = request(long, max_tokens=4)
        threading.Timer(0.3, asked.cancel.set).start()
        start = time.perf_counter()
        broken = await answer(backend, asked)
        assert (broken.text, broken.token_ids, broken.stop_reason) == ("", (), "cancelled")
        cancelled_after = time.perf_counter() - start
        whole = await answer(backend, request(long, max_tokens=4))
        assert whole.stats.ttft_seconds > cancelled_after / 4
        fresh = await answer(backend, request(USER, max_tokens=2))
        assert fresh.text
    async with opened(kv_cache_mib=0) as backend:
        assert (await answer(backend, request(long, max_tokens=4))).text == whole.text


async def test_leaving_the_stream_cancels(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        asked = request(USER, max_tokens=800, sampling=Sampling(grammar='root ::= "tea "+'))
        async with aclosing(backend.stream(asked)) as events:
            async for event in events:
                if isinstance(event, Piece):
                    break
        assert asked.cancel.is_set()
        assert (await answer(backend, request(USER, max_tokens=2))).text


async def test_cancelling_the_task_cancels_the_reply(opened: Open) -> None:
    async with opened(kv_cache_mib=0) as backend:
        asked = request(USER, max_tokens=800, sampling=Sampling(grammar='root ::= "tea "+'))
        task = asyncio.create_task(answer(backend, asked))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asked.cancel.is_set()


# -- snapshots ------------------------------------------------------------------------------------------------------


async def test_a_reopened_chat_evaluates_none_of_its_history(opened: Open) -> None:
    async with opened() as backend:
        first = await answer(backend, request(USER, conversation="one"))
    async with opened() as backend:
        turns = (USER, said(first), Message("user", "Where do you live?"))
        reply = await answer(backend, request(*turns, conversation="one"))
        assert reply.stats.reused_tokens >= first.stats.prompt_tokens + len(first.token_ids)
        assert reply.stats.evaluated_tokens <= 16
    async with opened(kv_cache_mib=0) as backend:
        assert (await answer(backend, request(*turns, conversation="one"))).stats.reused_tokens == 0


async def test_a_second_chat_evaluates_nothing_of_the_role(opened: Open) -> None:
    async with opened() as backend:
        role_tokens = (await answer(backend, request(USER, conversation="one"))).stats.prompt_tokens
        role_tokens -= backend.count_tokens([*ROLE, USER])[-1]
    async with opened() as backend:
        reply = await answer(backend, request(Message("user", "Is it raining?"), conversation="two"))
        assert reply.stats.reused_tokens >= role_tokens
        assert reply.stats.evaluated_tokens <= 16


async def test_chats_in_turn_each_keep_their_place(opened: Open) -> None:
    async with opened() as backend:
        one = await answer(backend, request(USER, conversation="one"))
        await answer(backend, request(Message("user", "Is it raining? " * 20), conversation="two"))
        back = await answer(
            backend, request(USER, said(one), Message("user", "Where do you live?"), conversation="one")
        )
        assert back.stats.evaluated_tokens <= 17


@pytest.mark.parametrize("options", [{"context_tokens": 768}, {"kv_cache_mib": 0}])
async def test_other_settings_do_not_find_it(opened: Open, options: dict[str, int]) -> None:
    async with opened() as backend:
        await answer(backend, request(USER, conversation="one"))
    async with opened(**options) as backend:
        assert (await answer(backend, request(USER, conversation="one"))).stats.reused_tokens == 0


async def test_damaged_snapshots_are_evaluated_again_and_removed(opened: Open, home: Path) -> None:
    async with opened() as backend:
        first = await answer(backend, request(USER, conversation="one"))
    files = list((home / "cache/kv").glob("*.kv"))
    assert len(files) == 2  # the role's and the conversation's
    for path in files:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    async with opened(kv_cache_mib=64) as backend:
        again = await answer(backend, request(USER, conversation="one"))
        assert (again.text, again.stats.reused_tokens) == (first.text, 0)


async def test_snapshots_stay_within_their_budget(opened: Open, home: Path) -> None:
    async with opened(kv_cache_mib=12) as backend:
        for name in ("one", "two", "three", "four"):
            await answer(backend, request(Message("user", f"{name}? " * 20), conversation=name, max_tokens=2))
    sizes = [path.stat().st_size for path in (home / "cache/kv").iterdir()]
    assert 0 < sum(sizes) <= 12 << 20


# -- life and death -------------------------------------------------------------------------------------------------


async def test_an_unusable_template_or_adapter_opens_nothing(starter_path: Path, tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match="chatmml"):
        open_local(starter_path, chat_template="chatmml")
    with pytest.raises(RolekitError, match=r"missing\.gguf"):
        open_local(starter_path, context_tokens=256, adapters=[(tmp_path / "missing.gguf", 1.0)])


async def test_closing_twice_is_fine(starter_path: Path) -> None:
    backend = open_local(starter_path, context_tokens=256)
    await backend.close()
    await backend.close()
    assert backend._model.pointer is None


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_thousand_replies_leave_no_memory_behind(opened: Open) -> None:
    short = Sampling(temperature=0.8, dry_multiplier=0.8, repeat_penalty=1.05)
    async with opened(context_tokens=256) as backend:

        async def many(count: int) -> float:
            for number in range(count):
                asked = Request((Message("user", f"Hi {number % 10}"),), short, max_tokens=1)
                await answer(backend, asked)
            gc.collect()
            return resident_mib()

        before = await many(100)
        assert await many(900) - before < 16


@pytest.mark.parametrize("ending", ["pass", "os._exit(0)", "raise SystemExit(0)", "sys.exit()"])
def test_leaving_python_with_an_open_model_is_no_crash(starter_path: Path, ending: str) -> None:
    code = f"""
import asyncio, os, sys
from pathlib import Path
from rolekit.engine.backend import open_local
from rolekit.messages import Message, Request
async def main():
    async for event in backend.stream(Request((Message("user", "Hi"),), max_tokens=3)):
        pass
backend = open_local(Path({str(starter_path)!r}), context_tokens=256)
asyncio.run(main())
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
