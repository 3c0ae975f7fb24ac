"""Letting roles talk with scripted users: turn by turn, saved as they go, gone on with after any interruption."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from rolekit.endpoints.failures import Refused
from rolekit.errors import RolekitError
from rolekit.messages import Message, Request, Sampling
from rolekit.paths import write_text
from rolekit.rolebench.answering import Answerer
from rolekit.rolebench.continuity import Dialogue, turn_row
from rolekit.rolebench.rows import Fault, cut_torn_line, read_rows
from rolekit.rolebench.runs import DONE
from rolekit.roles.block import opening_messages

DIALOGUES = "dialogues.jsonl"


@dataclass(frozen=True, slots=True)
class Said:
    """A reply has come."""

    dialogue: Dialogue
    done: int
    total: int


async def talk(
    folder: Path,
    dialogues: Sequence[Dialogue],
    answerer: Answerer,
    sampling: Sampling,
    *,
    max_tokens: int,
    seed: int,
) -> AsyncGenerator[Said, None]:
    """Let every dialogue run to its end; each exchange is on disk before it is handed on.

    dialogues begin where their replies end (see resumed). Raises RolekitError when no reply can be made; what was said
    is kept.
    """
    total = sum(len(dialogue.turns) for dialogue in dialogues)
    done = sum(len(dialogue.replies) for dialogue in dialogues)
    with (folder / DIALOGUES).open("a", encoding="utf-8", newline="\n") as file:
        for dialogue in dialogues:
            while len(dialogue.replies) < len(dialogue.turns):
                reply = await _reply(dialogue, answerer, sampling, max_tokens, seed)
                dialogue = replace(dialogue, replies=(*dialogue.replies, reply))
                file.write(
                    json.dumps(turn_row(dialogue, len(dialogue.replies) - 1), ensure_ascii=False) + "\n"
                )
                file.flush()
                done += 1
                yield Said(dialogue, done, total)
    write_text(folder / DONE, json.dumps({"replies": done}) + "\n")


def resumed(folder: Path, dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The dialogues with the replies that are in the folder already; a half-written last row is left out."""
    path = folder / DIALOGUES
    if not path.is_file():
        return list(dialogues)
    said: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    cut_torn_line(path)
    for row in read_rows(path):
        if isinstance(row, Fault):
            raise RolekitError(f"A row of {path} cannot be read: {row}.", "Remove the folder, and run again.")
        key = (str(row.value.get("role")), str(row.value.get("script")))
        if row.value.get("turn") == len(said[key]) + 1:
            said[key].append(str(row.value.get("reply", "")))
    return [
        replace(one, replies=tuple(said[one.role.name, one.script][: len(one.turns)])) for one in dialogues
    ]


async def _reply(
    dialogue: Dialogue, answerer: Answerer, sampling: Sampling, max_tokens: int, seed: int
) -> str:
    messages = [message for message in opening_messages(dialogue.role, "") if message.block != "greeting"]
    for turn, reply in zip(dialogue.turns, dialogue.replies, strict=False):
        messages += [Message("user", turn.text), Message("assistant", reply or "…")]
    messages.append(Message("user", dialogue.turns[len(dialogue.replies)].text))
    request = Request(
        tuple(messages),
        sampling,
        seed=seed + len(dialogue.replies),
        max_tokens=max_tokens,
        role_names=(dialogue.role.name, *dialogue.role.aliases),
    )
    async with aclosing(answerer.answers([request])) as answers:
        async for _, answer in answers:
            if isinstance(answer, Refused):
                raise answer
            return answer.text
    raise RolekitError("The model broke off without a reply.", "Run the same command again.")
