"""What is still known after 200 turns: facts are planted and asked for, with memory on, off, and with all of the chat.

    python tests/benchmarks/bench_memory.py scripted [--conversations N] [--language en|zh]
    python tests/benchmarks/bench_memory.py starter --out ROWS.jsonl [--conversations N] [--language en|zh]
    python tests/benchmarks/bench_memory.py report ROWS.jsonl

scripted: every reply is scripted, and so is what the role writes into its summaries; counted is whether the very
message that said the fact stands in the prompt of the question. starter: the questions and the summaries are answered
by the starter model (greedy), everything else by the script; counted is the answer in its reply too. One row a
conversation is appended to --out; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import fresh_home, run, starter
from memory_talk import Fact, Turn, conversation

from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.messages import Backend, Event, Message, Request, Sampling
from rolekit.ranking import words_of
from rolekit.roles.role import Role

CONTEXT = 2048
FULL = {"scripted": 65536, "starter": 8192}
ANSWER_TOKENS = 48
ROLES = {
    "en": Role(
        name="Ellen Marsh",
        description="You are Ellen Marsh, who keeps a bookshop in London in 1890. You listen well and forget nothing.",
        greeting="Come in, {{user}}, and shut the door.",
    ),
    "zh": Role(
        name="沈砚",
        language="zh",
        description="你是沈砚，清末在城南开书铺。你善于倾听，过耳不忘。",
        greeting="进来坐，{{user}}，把门带上。",
    ),
}
FACTS = {"scripted": 18, "starter": 9}
"""Questions a conversation; each makes the starter read what is new since the one before."""
CONDITIONS = {"on": (True, False), "off": (False, False), "full": (False, True)}
"""Memory, and whether the context holds everything."""


class Relay:
    """Says what it is told to say; what it is not told, the model answers, where there is one."""

    def __init__(self, model: Backend | None, context_tokens: int) -> None:
        self.model = model
        self.line = ""
        """The next reply; empty leaves it to the model."""
        self.requests: list[Request] = []
        self.label = model.label if model else "scripted"
        self.vocabulary = model.vocabulary if model else ""
        self.context_tokens = context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> list[int]:
        """The model's own count; without one, four tokens for three words, and what a template puts around."""
        if self.model is not None:
            return self.model.count_tokens(messages)
        return [len(words_of(message.text)) * 4 // 3 + 5 for message in messages]

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """One reply. Summaries of the script say nothing, so that only recall can know."""
        self.requests.append(request)
        sums_up, reads_ahead = not request.conversation, request.max_tokens == 1
        if self.model is not None and not reads_ahead and (sums_up or not self.line):
            source = self.model.stream(request)
        else:
            line = "We talked of this and that." if sums_up else self.line or "Yes."
            source = ScriptedBackend([line]).stream(request)
        async for event in source:
            yield event

    async def close(self) -> None:
        """Nothing is held here."""


@dataclass
class Asked:
    """One question: whether the prompt had the fact, whether the reply says it."""

    fact: Fact
    in_prompt: bool
    recalled: bool
    answered: bool


async def ask(
    talk: Sequence[Turn], language: str, relay: Relay, store: Store, *, memory: bool
) -> list[Asked]:
    """Hold the conversation; how every question went."""
    sampling = Sampling(temperature=0.0, repeat_penalty=1.05)
    options = ChatOptions(
        user="Ann", seed=7, guard=False, memory=memory, max_tokens=ANSWER_TOKENS, sampling=sampling
    )
    session = Session.start(store, relay, ROLES[language], "bench", options=options)
    rows = []
    for turn in talk:
        relay.line = turn.reply if relay.model is None or turn.asks is None else ""
        async for _ in session.say(turn.user):
            pass
        if turn.asks is not None:
            before = [m for m in relay.requests[-1].messages if m.text != turn.user]
            has = [m for m in before if turn.asks.said in m.text]
            answered = turn.asks.answer.casefold() in session.path[-1].text.casefold()
            rows.append(Asked(turn.asks, bool(has), any(m.block == "note" for m in has), answered))
        if session.reflection_due:
            await session.reflect()
        relay.requests.clear()
    return rows


def hold(language: str, number: int, condition: str, model: Backend | None) -> list[Asked]:
    """One conversation under one condition."""
    memory, everything = CONDITIONS[condition]
    mode = "starter" if model else "scripted"
    context = FULL[mode] if everything else CONTEXT
    talk = conversation(language, number, facts=FACTS[mode])
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "chats.db") as store:
        return run(ask(talk, language, Relay(model, context), store, memory=memory))


def scripted(languages: Sequence[str], conversations: int) -> None:
    """Print the share of facts that stand in the prompt of their question."""
    for language in languages:
        for condition in CONDITIONS:
            start = time.perf_counter()
            rows = [row for n in range(conversations) for row in hold(language, n, condition, None)]
            kinds: defaultdict[str, list[bool]] = defaultdict(list)
            for row in rows:
                kinds[row.fact.kind].append(row.in_prompt)
            for missed in (row for row in rows if condition == "on" and not row.in_prompt):
                print(f"   missed: {missed.fact.question}   said: {missed.fact.said}")
            share = ", ".join(f"{kind} {_percent(found)}" for kind, found in sorted(kinds.items()))
            total = _percent([row.in_prompt for row in rows])
            seconds = time.perf_counter() - start
            print(
                f"{language} {condition:5} {len(rows):4} asked, in the prompt {total} ({share}); {seconds:.0f} s",
                flush=True,
            )


def with_starter(languages: Sequence[str], conversations: int, out: Path) -> None:
    """Hold the conversations that out does not have yet, and append a row for each."""
    from rolekit.engine.backend import open_local

    done = {(row["language"], row["number"], row["condition"]) for row in _rows(out)}
    for number in range(conversations):
        for language in languages:
            for condition in CONDITIONS:
                if (language, number, condition) in done:
                    continue
                context = FULL["starter"] if condition == "full" else CONTEXT
                model = open_local(starter(), context_tokens=context, kv_cache_mib=512)
                start = time.perf_counter()
                rows = hold(language, number, condition, model)
                run(model.close())
                row: dict[str, Any] = {
                    "language": language, "number": number, "condition": condition,
                    "seconds": round(time.perf_counter() - start, 1),
                    "rows": [[row.fact.kind, row.in_prompt, row.recalled, row.answered] for row in rows],
                }  # fmt: skip
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print_report(out)


def print_report(out: Path) -> None:
    """Print what the rows in out come to."""
    groups: defaultdict[tuple[str, str], list[list[Any]]] = defaultdict(list)
    for row in _rows(out):
        groups[row["language"], row["condition"]] += row["rows"]
    for (language, condition), rows in sorted(groups.items()):
        had = [row for row in rows if row[1]]
        print(
            f"{language} {condition:5} {len(rows):4} asked, in the prompt {_percent([r[1] for r in rows])}, "
            f"answered {_percent([r[3] for r in rows])}, of those in the prompt {_percent([r[3] for r in had])}"
        )


def _rows(out: Path) -> list[dict[str, Any]]:
    if not out.exists():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _percent(found: Sequence[bool]) -> str:
    return f"{100 * sum(found) / len(found):.1f} %" if found else "-"


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("scripted", "starter", "report"))
    parser.add_argument("rows", nargs="?", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--conversations", type=int, default=10)
    parser.add_argument("--language", choices=("en", "zh"))
    wanted = parser.parse_args()
    languages = [wanted.language] if wanted.language else ["en", "zh"]
    with fresh_home():
        if wanted.mode == "scripted":
            scripted(languages, wanted.conversations)
        elif wanted.mode == "starter":
            with_starter(languages, wanted.conversations, wanted.out)
        else:
            print_report(wanted.rows)


if __name__ == "__main__":
    main()
