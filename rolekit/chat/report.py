"""/context: what the model sees of a conversation, and what each part costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rolekit.chat.events import ContextReport, ContextRow
from rolekit.chat.insets import messages_around
from rolekit.chat.memory import message_of
from rolekit.chat.tree import Node
from rolekit.messages import Backend, Message, ShowsPrompt
from rolekit.text import one_line

_LABEL_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class PromptPart:
    """One message of a prompt."""

    source: str
    """Where it comes from: `the role block`, `Ann`, `lore and reminders`, …"""
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class PromptReport:
    """A prompt, part by part and as one text."""

    parts: tuple[PromptPart, ...]
    exact: str
    """The template's text around the messages included; empty where the backend cannot say."""


def prompt_report(backend: Backend, names: tuple[str, str], messages: Sequence[Message]) -> PromptReport:
    """What the backend is sent. names: the user's, the role's."""
    sources = {
        "role": "the role block",
        "example": "an example of the role",
        "greeting": "the greeting",
        "summary": "what is remembered",
        "note": "lore, reminders and memories",
    }
    speakers = {"user": names[0], "assistant": names[1], "system": "a note"}
    costs = backend.count_tokens(messages)
    parts = tuple(
        PromptPart(one_line(sources.get(m.block, speakers[m.speaker])), m.text, cost)
        for m, cost in zip(messages, costs, strict=True)
    )
    return PromptReport(parts, backend.prompt_text(messages) if isinstance(backend, ShowsPrompt) else "")


def context_report(
    backend: Backend,
    names: tuple[str, str],
    opening: Sequence[Message],
    path: Sequence[Node],
    *,
    kept: Collection[int],
    examples_kept: bool,
) -> ContextReport:
    """One row for the role block, one for the examples, one a message. names: the user's, the role's."""
    user, role = names
    shown = [node for node in path if node.speaker != "system" and node.text]
    around = [
        (node, m) for node in shown for m in messages_around(node, message_of(node, backend.vocabulary))
    ]
    messages = [*opening, *(message for _, message in around)]
    costs = backend.count_tokens(messages)
    rows = [
        ContextRow(
            one_line(f"who {role} is", _LABEL_CHARACTERS), "role", _sum(opening, costs, "role"), True, None
        )
    ]
    if dialogues := sum(message.block == "example" and message.speaker == "user" for message in opening):
        tokens = _sum(opening, costs, "example")
        rows.append(ContextRow(f"{dialogues} example dialogues", "example", tokens, examples_kept, None))
    if summaries := _sum(opening, costs, "summary"):
        rows.append(ContextRow("what is remembered of folded turns", "summary", summaries, True, None))
    for (node, message), cost in zip(around, costs[len(opening) :], strict=True):
        speaker = {"user": user, "assistant": role}.get(message.speaker, "beside it")
        label = one_line(f"{speaker}: {message.text}", _LABEL_CHARACTERS)
        rows.append(ContextRow(label, message.block, cost, node.id in kept, node.id))
    used = sum(row.tokens for row in rows if row.kept)
    return ContextReport(backend.context_tokens, used, rows)


def _sum(opening: Sequence[Message], costs: Sequence[int], block: str) -> int:
    return sum(cost for message, cost in zip(opening, costs, strict=False) if message.block == block)
