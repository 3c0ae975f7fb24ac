"""Asking a run's questions: ordered by role, saved one by one, gone on with after any interruption."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import IO

from rolekit.endpoints.failures import Refused
from rolekit.messages import Reply, Request
from rolekit.paths import write_text
from rolekit.rolebench.answering import Answerer
from rolekit.rolebench.answers import Answer, as_row
from rolekit.rolebench.casting import Casting
from rolekit.rolebench.prompting import messages_for, needs_pairs
from rolekit.rolebench.recipe import Recipe, answered_keys
from rolekit.rolebench.records import Record
from rolekit.rolebench.retrieval import Pairs
from rolekit.rolebench.runs import DONE, Run
from rolekit.rolebench.sampling import stable_rank


@dataclass(frozen=True, slots=True)
class Step:
    """What has just happened in a run: an answer, or the reason why there is none."""

    record: Record
    answer: Answer | None
    refusal: str
    done: int
    """Questions of the run that have their answer by now."""
    total: int


async def ask(
    run: Run,
    recipe: Recipe,
    records: Sequence[Record],
    answerer: Answerer,
    casting: Casting,
    pairs: Pairs,
) -> AsyncGenerator[Step, None]:
    """Ask what has no answer yet; each answer is in the run's folder before its step is handed on.

    Closing the generator ends the run; the same call goes on with it. Raises RolekitError when no more answers will
    come; those that came are kept.
    """
    done = answered_keys(run)
    waiting = by_role([record for record in records if (record.role, record.question) not in done])
    finished = len(records) - len(waiting)
    if waiting:
        requests = [request_for(record, recipe, casting, pairs) for record in waiting]
        with run.answers_file.open("a", encoding="utf-8", newline="\n") as file:
            async with aclosing(answerer.answers(requests)) as answers:
                async for index, reply in answers:
                    record = waiting[index]
                    if isinstance(reply, Refused):
                        yield Step(record, None, reply.what_happened, finished, len(records))
                        continue
                    finished += 1
                    answer = _answer(record, reply, recipe)
                    _append(file, answer)
                    yield Step(record, answer, "", finished, len(records))
    if finished == len(records):
        write_text(run.folder / DONE, json.dumps({"answered": finished, "finished": int(time.time())}) + "\n")


def by_role(records: Sequence[Record]) -> list[Record]:
    """The records grouped by role, in the order in which roles first appear: each role is then read once."""
    places = {role: place for place, role in enumerate(dict.fromkeys(record.role for record in records))}
    return sorted(records, key=lambda record: places[record.role])


def unique(records: Sequence[Record]) -> tuple[tuple[Record, ...], int]:
    """The records with one for each role and question, the first; and how many were left out."""
    kept: dict[tuple[str, str], Record] = {}
    for record in records:
        kept.setdefault((record.role, record.question), record)
    return tuple(kept.values()), len(records) - len(kept)


def request_for(record: Record, recipe: Recipe, casting: Casting, pairs: Pairs) -> Request:
    """The request of one record under the recipe's condition."""
    cast = casting.cast(record.role, record.language)
    question = record.question.strip()
    shown = (
        pairs.nearest(record.role, cast.role, question)
        if needs_pairs(recipe.prompting, recipe.customise)
        else ()
    )
    return Request(
        messages_for(cast, question, shown, recipe.prompting, recipe.customise),
        recipe.sampling,
        seed=seed_of(record, recipe.seed),
        max_tokens=recipe.max_tokens,
        role_names=tuple(dict.fromkeys((record.role, cast.role.name, *cast.role.aliases))),
    )


def seed_of(record: Record, seed: int) -> int:
    """The record's own seed, the same whatever else is asked."""
    rank = stable_rank(str(seed), record.role, record.question)
    return int.from_bytes(rank[:4], "big") >> 1


def _answer(record: Record, reply: Reply, recipe: Recipe) -> Answer:
    return Answer(
        role=record.role,
        question=record.question,
        text=reply.text,
        kind=record.kind,
        condition=recipe.condition,
        stop_reason=reply.stop_reason,
        prompt_tokens=reply.stats.prompt_tokens,
        generated_tokens=reply.stats.generated_tokens,
        seconds=round(reply.stats.seconds, 3),
    )


def _append(file: IO[str], answer: Answer) -> None:
    file.write(json.dumps(as_row(answer), ensure_ascii=False) + "\n")
    file.flush()
