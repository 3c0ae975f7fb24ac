"""A 20-turn chat against llama-cpp-python's Llama; reopening a long chat; a second chat with the same role.

python tests/benchmarks/bench_chat.py [role] [reopen] [turns] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from measuring import QUESTIONS, answer, fresh_home, in_turn, report, role, run, starter

from rolekit.engine.backend import open_local
from rolekit.engine.threads import physical_cores
from rolekit.messages import Message, Request, Sampling

PLAIN = Sampling(repeat_penalty=1.05, penalty_tokens=64)
REPLY_TOKENS = 48


@dataclass
class Chat:
    """What a chat of 20 turns took."""

    evaluated: int = 0
    seconds: float = 0.0
    first_tokens: list[float] = field(default_factory=list)


async def our_chat() -> Chat:
    """20 turns with rolekit."""
    backend = open_local(starter(), context_tokens=4096, kv_cache_mib=512)
    chat, messages = Chat(), [role(300)]
    start = time.perf_counter()
    for number, question in enumerate(QUESTIONS):
        messages.append(Message("user", question))
        request = Request(tuple(messages), PLAIN, seed=number, max_tokens=REPLY_TOKENS, conversation="bench")
        reply, _ = await answer(backend, request)
        chat.evaluated += reply.stats.evaluated_tokens
        chat.first_tokens.append(reply.stats.ttft_seconds)
        messages.append(Message("assistant", reply.text, token_ids=reply.token_ids))
    chat.seconds = time.perf_counter() - start
    await backend.close()
    return chat


def peer_chat() -> Chat:
    """The same questions with llama-cpp-python's chat completion."""
    from llama_cpp import Llama

    threads = physical_cores()
    llama: Any = Llama(str(starter()), n_ctx=4096, n_threads=threads, n_threads_batch=threads, verbose=False)
    chat = Chat()
    evaluate = llama.eval
    decoded = 0

    def counted(tokens: Any) -> None:
        nonlocal decoded
        chat.evaluated += len(tokens)
        decoded += len(tokens) == 1
        evaluate(tokens)

    llama.eval = counted
    messages = [{"role": "system", "content": role(300).text}]
    start = time.perf_counter()
    for number, question in enumerate(QUESTIONS):
        messages.append({"role": "user", "content": question})
        asked, first, text = time.perf_counter(), 0.0, ""
        chunks = llama.create_chat_completion(
            messages,
            max_tokens=REPLY_TOKENS,
            stream=True,
            seed=number,
            temperature=PLAIN.temperature,
            top_k=PLAIN.top_k,
            top_p=PLAIN.top_p,
            min_p=PLAIN.min_p,
            repeat_penalty=PLAIN.repeat_penalty,
        )
        for chunk in chunks:
            piece = chunk["choices"][0]["delta"].get("content", "")
            first = first or (time.perf_counter() - asked if piece else 0.0)
            text += piece
        chat.first_tokens.append(first)
        messages.append({"role": "assistant", "content": text})
    chat.seconds = time.perf_counter() - start
    chat.evaluated -= decoded
    llama.close()
    return chat


def twenty_turns(rounds: int) -> None:
    """Print evaluated prompt tokens, wall time and the first token's way through the chat."""
    mine, theirs = [], []
    for _ in range(rounds):
        with fresh_home():
            mine.append(run(our_chat()))
        theirs.append(peer_chat())
    report("20 turns, prompt tokens evaluated", *([c.evaluated for c in x] for x in (mine, theirs)), "tokens")
    report("20 turns, wall time", *([c.seconds for c in x] for x in (mine, theirs)), "s")
    for name, chats in (("rolekit", mine), ("Llama", theirs)):
        second, last = ([chat.first_tokens[turn] for chat in chats] for turn in (1, 19))
        report(
            f"{name}: first token, turn 20 vs turn 2",
            last,
            second,
            "s",
            "<= 1.3" if name == "rolekit" else "",
        )
        middle = statistics.median(chat.first_tokens[turn] for chat in chats for turn in range(2, 20))
        print(f"{name}: median first token over turns 3 to 20: {middle:.3f} s")


async def _first_token(
    messages: list[Message], conversation: str, kv_cache_mib: int, max_tokens: int = 1
) -> float:
    backend = open_local(starter(), context_tokens=8192, kv_cache_mib=kv_cache_mib)
    request = Request(tuple(messages), PLAIN, seed=1, max_tokens=max_tokens, conversation=conversation)
    reply, _ = await answer(backend, request)
    await backend.close()
    return reply.stats.ttft_seconds


def long_chat(tokens: int) -> list[Message]:
    """A chat of about that many tokens."""
    text = "I went down to the harbour and asked every sailor about the man with the scar. " * 4
    messages = [role(300)]
    while len(messages) < 2 * ((tokens - 300) // 114):
        messages += [
            Message("user", QUESTIONS[len(messages) % 20] + " " + text[:150]),
            Message("assistant", text),
        ]
    return messages


def reopened(rounds: int) -> None:
    """The first token of a 4,000-token chat: from its snapshot, and with nothing kept."""
    chat = long_chat(4000)
    numbers = iter(range(1000))

    def following() -> list[Message]:
        return [*chat, Message("user", f"Where were we, {next(numbers)} nights ago?")]

    with fresh_home():
        run(_first_token([*chat, Message("user", "And then?")], "yesterday", 2048))
        cold, warm = in_turn(
            rounds,
            lambda: run(_first_token(following(), "yesterday", 0)),
            lambda: run(_first_token(following(), "yesterday", 2048)),
        )
    report("4,000-token chat, first token: cold vs reopened", cold, warm, "s", ">= 20")


def same_role(rounds: int) -> None:
    """The first token of a new chat with an 800-token role that another chat has used before."""
    one = [role(800), Message("user", "Who are you?")]
    with fresh_home():
        run(_first_token(one, "first", 2048))
        numbers = iter(range(1000))
        cold, warm = in_turn(
            rounds,
            lambda: run(_first_token(one, f"other {next(numbers)}", 0)),
            lambda: run(_first_token(one, f"other {next(numbers)}", 2048)),
        )
    report("new chat, 800-token role: cold vs known role", cold, warm, "s", ">= 5")


PARTS = {"role": same_role, "reopen": reopened, "turns": twenty_turns}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; default all")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for part in options.parts or PARTS:
        PARTS[part](options.rounds)


if __name__ == "__main__":
    main()
