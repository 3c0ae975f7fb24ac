"""What a turn of a long chat costs the starter model: tokens it reads, and how long the first word takes.

    python tests/benchmarks/bench_turns.py tokens [--turns 200] [--context 4096] [--decode [--reply 48]]
    python tests/benchmarks/bench_turns.py first [--rounds 7]

tokens: a chat with lore that fires, a persona, an author's note, post-history instructions and summaries. Counted is
what is evaluated before each reply, beside the tokens of the user's own words (target: at most 96 more, on average);
what the summaries cost, while nobody waits, is counted apart. first: the time to the first token behind 6 000 tokens
of history against that behind 500, turn by turn in the same process (target: at most 1.3 times).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from measuring import fresh_home, run, starter
from memory_talk import Turn, conversation

from rolekit.chat.events import Folded
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.state import Persona
from rolekit.chat.store import Store
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.engine.backend import LocalBackend, open_local
from rolekit.engine.context import shared_length
from rolekit.messages import Event, Message, Piece, Reply, Request, Sampling, Stats
from rolekit.roles.role import Role

LORE = {
    "name": "London",
    "entries": [
        {"keys": [key], "content": text, "enabled": True, "comment": key}
        for key, text in (
            ("harbour", "The harbour is closed since the strike; only the night ferry still runs."),
            ("railway", "The new railway was built by Ellen's uncle, who lost his fortune by it."),
            ("fog", "The fog comes at four o'clock, and with it the lamplighter, who owes Ellen a book."),
            ("museum", "The museum bought three forged maps from Ellen's shop, and does not know it yet."),
            ("moon", "On nights with a full moon the cellar of the shop is flooded."),
            ("chess", "Ellen plays chess by post with somebody in Trieste whom she has never seen."),
            ("snow", "When it snows, the shop stays open all night for whoever has no bed."),
            ("Latin", "Ellen reads Latin aloud, badly, and knows it."),
        )
    ],
}
PERSONA = Persona("Ann", "{{user}} is a widow from Whitby who writes a novel about the sea and tells nobody.")
LINE = (
    "I heard that said before, my dear, on a colder night than this one. You will find the book you want on the second "
    "shelf, behind the globe, and you need not bring it back before the month is out; mind the step, and page"
)
SUMMARY = (
    "I remember that Ann came in from the cold and spoke of her sister, of the harbour and of a promise she had made. I "
    "told her what I knew of the railway, and she laughed at my Latin. She likes juniper, grew up above a bakery, and is "
    "afraid of the sea, though she writes of nothing else. I promised to keep a book for her, and I was glad she stayed."
)
NOTE = "It is late, and the shop is about to close."


class Counting:
    """The starter's template and vocabulary, and what each prompt makes it read: all behind the prefix that it holds.

    With `decodes` the model really reads and answers, and its own figures are taken; else every reply is LINE, and
    the figure is what its cache would have to evaluate (the same prefix rule, without the minutes).
    """

    def __init__(self, model: LocalBackend, *, decodes: bool) -> None:
        self.model = model
        self.label, self.vocabulary, self.context_tokens = model.label, model.vocabulary, model.context_tokens
        self.apart = 0
        """Tokens read while nobody waits: for summaries, and after a fold."""
        self._decodes = decodes
        self._held: list[int] = []

    def count_tokens(self, messages: Sequence[Message]) -> list[int]:
        """The model's own count."""
        return self.model.count_tokens(messages)

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """The model's reply, or the scripted one."""
        sums_up, ahead = not request.conversation, request.max_tokens == 1
        if self._decodes:
            async for event in self.model.stream(request):
                if isinstance(event, Reply) and (sums_up or ahead):
                    self.apart += event.stats.evaluated_tokens
                yield event
            return
        ids = list(self.model._prompts.build(request).ids)
        reused = min(shared_length(self._held, ids), len(ids) - 1)
        said = SUMMARY if sums_up else f"{LINE} {len(ids)}."
        spoken = tuple(self.model._vocabulary.tokenize(said, special=False))
        if sums_up or ahead:
            self.apart += len(ids) - reused
        if ahead:
            self._held = ids
        elif not sums_up:
            self._held = [*ids, *spoken]
        yield Piece(said)
        stats = Stats(len(ids), reused, len(ids) - reused, len(spoken))
        yield Reply(said, spoken, "end", stats)

    async def close(self) -> None:
        """The caller closes the model."""


def lore_role(folder: Path) -> Role:
    """A role with a lorebook and post-history instructions."""
    book = folder / "london.json"
    book.write_text(json.dumps(LORE), encoding="utf-8")
    return Role(
        name="Ellen Marsh",
        description="You are Ellen Marsh, who keeps a bookshop in London in 1890. You listen well and forget nothing.",
        greeting="Come in, {{user}}, and shut the door.",
        post_history="Answer in two sentences.",
        lorebooks=(str(book),),
    )


async def chat(session: Session, backend: Counting, talk: Sequence[Turn]) -> None:
    """Hold the conversation and print what its turns read."""
    own, read, beside, folds, summaries = [], [], [], 0, 0
    for number, turn in enumerate(talk, start=1):
        async for event in session.say(turn.user):
            folds += isinstance(event, Folded)
        assert session.last_stats is not None
        read.append(session.last_stats.evaluated_tokens)
        own.append(session.seat.prompting.count(turn.user))
        woven = session.why()
        beside.append(sum(inset.tokens for inset in woven.insets) if woven else 0)
        before = session.store.row(session.id)["fold_node"]
        if session.reflection_due:
            summaries += await session.reflect() is not None
            folds += session.store.row(session.id)["fold_node"] != before
        if number % 50 == 0:
            print(
                f"turn {number:3}: read {statistics.mean(read):6.1f} a turn, own words {statistics.mean(own):5.1f}, "
                f"insets {statistics.mean(beside):5.1f}, beyond own words {statistics.mean(read) - statistics.mean(own):6.1f} "
                f"(median {statistics.median(r - o for r, o in zip(read, own, strict=True)):.0f}, most {max(read)}); "
                f"{folds} folds, {summaries} summaries, {backend.apart / number:.1f} read a turn while nobody waits",
                flush=True,
            )


def tokens(turns: int, context: int, reply: int, *, decodes: bool) -> None:
    """Print what the turns of one chat read."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "chats.db") as store:
        model = open_local(starter(), context_tokens=context, kv_cache_mib=512)
        backend = Counting(model, decodes=decodes)
        sampling = Sampling(temperature=0.8, repeat_penalty=1.1)
        options = ChatOptions(
            user="Ann", seed=7, max_tokens=reply, sampling=sampling, guard=decodes, persona=PERSONA
        )
        session = Session.start(store, backend, lore_role(Path(folder)), "ellen", options=options)
        session.set_note(NOTE)
        talk = conversation("en", 0, turns=max(turns, 200))[:turns]
        run(chat(session, backend, talk))
        run(model.close())


async def _first_tokens(folder: Path, store: Store, history: int, rounds: int) -> list[float]:
    """Seconds to the first token, turn by turn, behind at least that much history."""
    model = open_local(starter(), context_tokens=8192, kv_cache_mib=512)
    options = ChatOptions(user="Ann", seed=7, max_tokens=12, guard=False)
    talk = conversation("en", 1)
    scripted = ScriptedBackend([LINE], context_tokens=0)
    session = Session.start(store, scripted, lore_role(folder), f"ellen{history}", options=options)
    spoken = 0
    while sum(model.count_tokens([Message("user", node.text) for node in session.path])) < history - 64:
        async for _ in session.say(talk[spoken].user):
            pass
        spoken += 1
    session.set_backend(model)
    times = []
    for turn in talk[spoken : spoken + rounds + 1]:
        async for _ in session.say(turn.user):
            pass
        assert session.last_stats is not None
        times.append(session.last_stats.ttft_seconds)
        await asyncio.sleep(1.0)  # the saving of the KV is not part of what is measured
    await model.close()
    return times[1:]  # the first one reads the history


def first(rounds: int) -> None:
    """Print the first token's time behind short and long histories."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "chats.db") as store:
        found = {}
        for length in (6000, 500):
            times = found[length] = run(_first_tokens(Path(folder), store, length, rounds))
            shown = " ".join(f"{value:.3f}" for value in times)
            print(
                f"first token behind {length}: median {statistics.median(times):.3f} s ({shown})", flush=True
            )
        ratio = statistics.median(found[6000]) / statistics.median(found[500])
        print(f"ratio {ratio:.2f}   target <= 1.3")


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("tokens", "first"))
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--reply", type=int, default=48)
    parser.add_argument("--decode", action="store_true", help="let the model really read and answer")
    parser.add_argument("--rounds", type=int, default=7)
    wanted = parser.parse_args()
    with fresh_home():
        if wanted.mode == "tokens":
            tokens(wanted.turns, wanted.context, wanted.reply, decodes=wanted.decode)
        else:
            first(wanted.rounds)


if __name__ == "__main__":
    main()
