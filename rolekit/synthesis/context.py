"""Context-Instruct: questions about the role itself, from its profile and from its segments (arXiv 2310.00746).

Rounds over segments and themes until there are enough candidates; each round knows what was asked of a segment or
theme before it. Then the rows of the training mix that the paper lacks: not knowing, and turning down.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path

from rolekit.endpoints.calls import Answer, Call
from rolekit.synthesis import prompts
from rolekit.synthesis.checking import checked
from rolekit.synthesis.desk import Desk
from rolekit.synthesis.reading import Question, Unread
from rolekit.synthesis.recipe import ContextInstruct
from rolekit.synthesis.rows import Candidate, Step, row_id
from rolekit.synthesis.segments import Segment
from rolekit.synthesis.triplets import (
    AGNOSTIC,
    BASED,
    ITEM_TOKENS,
    PLAIN,
    Item,
    Items,
    Judge,
    read_items,
    schema_of,
)
from rolekit.text import sanitize

_MOST_ROUNDS = 12
_SERVER_ITEMS, _LOCAL_ITEMS = 8, 3
_REFUSAL_TOKENS = 320
_REFUSALS = Path(__file__).with_name("refusal_requests.toml")


@dataclass(frozen=True, slots=True)
class Source:
    """What one call of a round asks about."""

    step: Step
    theme: str = ""
    segment: Segment | None = None

    @property
    def name(self) -> str:
        """What rows say of where they come from."""
        return self.segment.id if self.segment else self.theme


async def context_rows(desk: Desk, task: ContextInstruct) -> AsyncGenerator[Candidate, None]:
    """All rows of the step, in an order that depends on the recipe and the answers alone."""
    judge = Judge(desk.role, list(desk.written.values()))
    desk.expected = expected_calls(task, items_each(desk, task))
    parts = (
        _rounds(desk, task, judge, task.candidates, lambda number: triplet_sources(desk, number)),
        _rounds(desk, task, judge, task.not_knowing, lambda number: unknown_sources(desk, number)),
        _refusals(desk, task, judge),
    )
    for part in parts:
        async with aclosing(part) as rows:
            async for row in rows:
                yield row


def items_each(desk: Desk, task: ContextInstruct) -> int:
    """How many rows one call asks for."""
    return task.per_call or (_LOCAL_ITEMS if desk.generator.local else _SERVER_ITEMS)


def expected_calls(task: ContextInstruct, each: int) -> int:
    """About how many calls the task takes: answers that hold as many rows as they were asked for."""
    calls = math.ceil(task.candidates / each) + math.ceil(task.not_knowing / each)
    checks = math.ceil((task.candidates + task.not_knowing) / 6) if task.check else 0
    return calls + checks + task.refusal


def triplet_sources(desk: Desk, number: int) -> list[Source]:
    """The sources of one round: segments and themes in turn, both in an order of the round's own."""
    based = [Source("script-based", segment=segment) for segment in desk.segments]
    agnostic = [Source("script-agnostic", theme) for theme in prompts.themes_of(desk.role)]
    mixed = zip_longest(_shuffled(desk, number, based), _shuffled(desk, number, agnostic))
    return [source for source in chain.from_iterable(mixed) if source is not None]


def unknown_sources(desk: Desk, number: int) -> list[Source]:
    """What lies outside the role's world, in an order of the round's own."""
    return _shuffled(desk, number, [Source("not-knowing", theme) for theme in prompts.unknown_of(desk.role)])


def source_call(desk: Desk, source: Source, each: int, number: int, asked: Sequence[str]) -> Call:
    """The call that asks for each rows about a source, in the round of this number."""
    role, local = desk.role, desk.generator.local
    known = tuple(asked)
    fields: tuple[str, ...]
    if source.segment is not None:
        messages, fields = prompts.based_messages(role, source.segment.text, each, known), BASED
    elif source.step == "not-knowing":
        messages, fields = prompts.not_knowing_messages(role, source.theme, each, known), PLAIN
    else:
        messages, fields = prompts.agnostic_messages(role, source.theme, each, known), AGNOSTIC
    return desk.call(messages, each * ITEM_TOKENS + 100, schema=schema_of(fields, each, local), sample=number)


def refusal_call(desk: Desk, request: str) -> Call:
    """The call that asks how the role turns a request down."""
    schema = schema_of(PLAIN, 1, desk.generator.local)
    return desk.call(prompts.refusal_messages(desk.role, request), _REFUSAL_TOKENS, schema=schema)


def refusal_requests(desk: Desk, most: int) -> list[str]:
    """The requests that are turned down, in an order of the recipe's seed."""
    requests = _requests()["zh" if prompts.is_chinese(desk.role) else "en"]
    return sorted(requests, key=lambda text: _rank(desk, 0, text))[:most]


async def _rounds(
    desk: Desk, task: ContextInstruct, judge: Judge, wanted: int, sources_of: Callable[[int], list[Source]]
) -> AsyncGenerator[Candidate, None]:
    """Rows until there are as many as wanted, those that are rejected among them."""
    each, got = items_each(desk, task), 0
    asked: defaultdict[str, list[str]] = defaultdict(list)
    for number in range(_MOST_ROUNDS):
        if got >= wanted or desk.cancel.is_set():
            return
        sources = sources_of(number)[: math.ceil((wanted - got) / each)]
        calls = [source_call(desk, one, each, number, asked[one.name]) for one in sources]
        before, waiting = got, list[Candidate]()
        async with aclosing(desk.read([Question(call, read_items) for call in calls])) as meanings:
            async for index, value in meanings:
                rows = _rows_of(desk, judge, sources[index], calls[index], value)
                got += 0 if isinstance(value, Unread) else len(rows)
                asked[sources[index].name] += [row.question for row in rows if row.question]
                for row in rows:
                    if task.check and row.verdict != "rejected" and row.id not in desk.written:
                        waiting.append(row)
                    else:
                        yield row
        async with aclosing(checked(desk, waiting)) as looked_over:
            async for row in looked_over:
                yield row
        if got == before:
            return  # a generator that writes nothing readable is not paid for ever


def _rows_of(desk: Desk, judge: Judge, source: Source, call: Call, value: Items | Unread) -> list[Candidate]:
    """The rows of one answer; those of an earlier life as they were judged then."""
    if isinstance(value, Unread):
        return [unread_row(desk, source.step, call, value, source.name)]
    rows = []
    for number, item in enumerate(value.items):
        key = f"{call.key[:16]}.{number}"
        known = desk.written.get(row_id(source.step, desk.role.name, item.question, key))
        rows.append(known or judge.row(source.step, item, key, segment=source.segment, source=source.name))
    return rows


def unread_row(desk: Desk, step: Step, call: Call, value: Unread, source: str) -> Candidate:
    """The row that stands for an answer without rows."""
    role, text = desk.role, sanitize(value.text)
    id_ = row_id(step, role.name, "", call.key[:16])
    answers = (text[:500],) if text.strip() else ()
    return Candidate(
        id_, step, role.name, role.language, "", answers, "rejected", value.reason, "no rows in the answer",
        source=source,
    )  # fmt: skip


async def _refusals(desk: Desk, task: ContextInstruct, judge: Judge) -> AsyncGenerator[Candidate, None]:
    if not task.refusal or desk.cancel.is_set():
        return
    requests = refusal_requests(desk, task.refusal)
    calls = [refusal_call(desk, request) for request in requests]
    own = desk.role.language.split("-")[0] in ("en", "zh")
    async with aclosing(desk.read([Question(call, _read_one) for call in calls])) as meanings:
        async for index, value in meanings:
            if isinstance(value, Unread):
                yield unread_row(desk, "refusal", calls[index], value, "")
                continue
            item = replace(value, question=requests[index]) if own else value
            key = calls[index].key[:16]
            known = desk.written.get(row_id("refusal", desk.role.name, item.question, key))
            yield known or judge.row("refusal", item, key)


def _read_one(answer: Answer) -> Item | None:
    items = read_items(answer)
    return items.items[0] if items and items.items[0].answer else None


def _shuffled(desk: Desk, number: int, sources: Sequence[Source]) -> list[Source]:
    return sorted(sources, key=lambda source: _rank(desk, number, source.name))


def _rank(desk: Desk, number: int, name: str) -> bytes:
    text = f"{desk.recipe.seed}\0{number}\0{name}"
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


@cache
def _requests() -> dict[str, list[str]]:
    with _REFUSALS.open("rb") as file:
        table: dict[str, list[str]] = tomllib.load(file)
    return table
