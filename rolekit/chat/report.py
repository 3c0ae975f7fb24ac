"""/context: what the model sees of a conversation, and what each part costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rolekit.chat.events import ContextReport, ContextRow
from rolekit.chat.memory import message_of
from rolekit.chat.tree import Node
from rolekit.messages import Backend, Message
from rolekit.text import one_line

_LABEL_CHARACTERS = 60


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
    messages = [*opening, *(message_of(node, backend.vocabulary) for node in shown)]
    costs = backend.count_tokens(messages)
    rows = [
        ContextRow(
            one_line(f"who {role} is", _LABEL_CHARACTERS), "role", _sum(opening, costs, "role"), True, None
        )
    ]
    if dialogues := sum(message.block == "example" and message.speaker == "user" for message in opening):
        tokens = _sum(opening, costs, "example")
        rows.append(ContextRow(f"{dialogues} example dialogues", "example", tokens, examples_kept, None))
    for node, message, cost in zip(shown, messages[len(opening) :], costs[len(opening) :], strict=True):
        label = one_line(f"{user if node.speaker == 'user' else role}: {node.text}", _LABEL_CHARACTERS)
        rows.append(ContextRow(label, message.block, cost, node.id in kept, node.id))
    used = sum(row.tokens for row in rows if row.kept)
    return ContextReport(backend.context_tokens, used, rows)


def _sum(opening: Sequence[Message], costs: Sequence[int], block: str) -> int:
    return sum(cost for message, cost in zip(opening, costs, strict=False) if message.block == block)
