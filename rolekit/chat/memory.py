"""What of a conversation fits the context: the oldest whole turns are folded away, in few and large steps.

Everything here is pure: the session keeps the fold point, the backend counts. A fold frees at least a quarter of
the context, so that the prefix of the prompt then stays the same for many turns and is not read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rolekit.chat.insets import messages_around
from rolekit.chat.tree import Node
from rolekit.errors import RolekitError
from rolekit.messages import Message
from rolekit.text import count

Counter = Callable[[Sequence[Message]], list[int]]

_FREED_SHARE = 4
"""A fold frees at least one part in this many of the context."""
_HEADER_TOKENS = 16
"""What a template may put before the reply; not a part of any message's count."""
_MOST_CHARACTERS_PER_TOKEN = 16
"""Text longer than this times the context cannot fit, whatever the tokenizer; it need not be counted."""


@dataclass(frozen=True, slots=True)
class FoldPoint:
    """Up to where a conversation is folded, and for which context length that was decided."""

    node_id: int | None = None
    context_tokens: int = 0
    examples: bool = False
    """The example dialogues are left out too."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A user's message and the replies to it; at the beginning, the greeting alone."""

    nodes: tuple[Node, ...]
    messages: tuple[Message, ...]

    @property
    def pinned(self) -> bool:
        """Whether the user wants it kept for good."""
        return any(node.pinned for node in self.nodes)

    @property
    def characters(self) -> int:
        """How long the texts are."""
        return sum(len(message.text) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Plan:
    """The messages to send, and what became of the rest."""

    messages: tuple[Message, ...]
    fold: FoldPoint
    kept: frozenset[int]
    """Ids of the nodes that are sent."""
    folded_turns: int = 0
    """Turns this plan folds that were not folded before."""
    freed_tokens: int = 0


def message_of(node: Node, vocabulary: str) -> Message:
    """The node as the backend gets it; token ids go along only within the vocabulary they came from.

    What somebody with a name says begins with it.
    """
    ids = node.token_ids if vocabulary and node.vocabulary == vocabulary else ()
    greets = node.parent_id is None and node.speaker == "assistant"
    named = node.speaker == "user" and node.name
    text = f"{node.name}: {node.text}" if named else node.text
    return Message(node.speaker, text, "greeting" if greets else "turn", ids)


def turns_of(path: Sequence[Node], vocabulary: str) -> list[Turn]:
    """The path cut before each message of the user. Notes and empty replies are never sent."""
    groups: list[list[Node]] = []
    for node in path:
        if node.speaker == "system" or not node.text:
            continue
        if node.speaker == "user" or not groups:
            groups.append([])
        groups[-1].append(node)
    return [
        Turn(
            tuple(group),
            tuple(m for node in group for m in messages_around(node, message_of(node, vocabulary))),
        )
        for group in groups
    ]


def reserve_tokens(max_tokens: int, context_tokens: int) -> int:
    """How much of the context is kept free for the reply."""
    if max_tokens:
        return min(max_tokens + _HEADER_TOKENS, context_tokens // 2)
    return min(512, context_tokens // 4)


def turns_to_fold(
    costs: Sequence[int], pinned: Sequence[bool], *, excess: int, context_tokens: int, newest: int
) -> tuple[int, bool]:
    """How many of the oldest turns to fold, and whether that frees enough.

    Enough is the excess, and a quarter of the context at least. Pinned turns stay where they are and free nothing;
    the newest are not touched.
    """
    wanted = max(excess, -(-context_tokens // _FREED_SHARE))
    freed = 0
    turns = 0
    for index in range(len(costs) - newest):
        if not pinned[index]:
            freed += costs[index]
            turns = index + 1
        if freed >= wanted:
            return turns, True
    return turns, False


def plan(
    opening: Sequence[Message],
    path: Sequence[Node],
    fold: FoldPoint,
    counter: Counter,
    *,
    vocabulary: str,
    context_tokens: int,
    max_tokens: int,
    spare_tokens: int = 0,
) -> Plan:
    """What to send for a reply to path, folding more where it does not fit any longer with spare_tokens beside it.

    opening is the role block and its examples; the greeting is in path. A context of 0 tokens is unknown: all is
    sent. Raises RolekitError when the role, the pinned turns and the newest message alone are too long.
    """
    turns = turns_of(path, vocabulary)
    if not context_tokens:
        return _Folder(opening, turns, counter, 0, 0).plan(fold, 0)
    limit = context_tokens - reserve_tokens(max_tokens, context_tokens) - spare_tokens
    folder = _Folder(opening, turns, counter, context_tokens, limit)
    on_path = fold.node_id is None or any(node.id == fold.node_id for node in path)
    return folder.fit(fold if on_path and context_tokens <= fold.context_tokens else FoldPoint())


class _Folder:
    """The turns of one conversation, and how many of them are folded so far."""

    def __init__(
        self, opening: Sequence[Message], turns: list[Turn], counter: Counter, context_tokens: int, limit: int
    ) -> None:
        self.opening = opening
        self.turns = turns
        self.counter = counter
        self.context_tokens = context_tokens
        self.limit = limit
        self.folded = 0
        self.examples = any(message.block == "example" for message in opening)
        self.used = 0
        self.costs: list[int] = []
        self.role_tokens = 0

    def fit(self, fold: FoldPoint) -> Plan:
        """The plan with as little folded as fits, beyond what fold says already."""
        before = next((i + 1 for i, turn in enumerate(self.turns) if self._has(turn, fold.node_id)), 0)
        self.examples = self.examples and not fold.examples
        self.folded = self._hopeless(before)
        self._measure()
        start = self.used
        if self.used > self.limit:
            self._shrink()
        node_id = self.turns[self.folded - 1].nodes[-1].id if self.folded else None
        has_examples = any(message.block == "example" for message in self.opening)
        after = FoldPoint(node_id, self.context_tokens, has_examples and not self.examples)
        return self.plan(after, before, start - self.used)

    def plan(self, fold: FoldPoint, before: int, freed: int = 0) -> Plan:
        """The plan as things stand."""
        kept = [turn for index, turn in enumerate(self.turns) if index >= self.folded or turn.pinned]
        newly = sum(not turn.pinned for turn in self.turns[before : self.folded])
        ids = frozenset(node.id for turn in kept for node in turn.nodes)
        return Plan(tuple(self._messages()), fold, ids, newly, freed)

    def _shrink(self) -> None:
        """Fold old turns; where they are too few, leave out the examples; at last keep only the newest turn."""
        enough = self._fold(2, only_if_enough=self.examples)
        if not enough and self.examples:
            self.examples = False
            self._measure()
        for newest in (2, 1):
            while self.used > self.limit and self._fold(newest):
                pass
        if self.used > self.limit:
            raise self._too_long()

    def _fold(self, newest: int, *, only_if_enough: bool = False) -> bool:
        """Fold one step; whether that changed anything (or, if asked, would have been enough)."""
        pinned = [turn.pinned for turn in self.turns[self.folded :]]
        excess = self.used - self.limit
        turns, enough = turns_to_fold(
            self.costs, pinned, excess=excess, context_tokens=self.context_tokens, newest=newest
        )
        if not turns or (only_if_enough and not enough):
            return False
        self.folded += turns
        self._measure()
        return True

    def _messages(self) -> list[Message]:
        messages = [message for message in self.opening if self.examples or message.block != "example"]
        for index, turn in enumerate(self.turns):
            if index >= self.folded or turn.pinned:
                messages += turn.messages
        return messages

    def _measure(self) -> None:
        """Count the prompt as it stands: `used` in all, `costs` of each turn that is not folded."""
        messages = self._messages()
        tokens = self.counter(messages)
        self.used = sum(tokens)
        roles = [message.block == "role" for message in messages]
        self.role_tokens = sum(cost for cost, is_role in zip(tokens, roles, strict=True) if is_role)
        self.costs = []
        position = len(messages) - sum(len(turn.messages) for turn in self.turns[self.folded :])
        for turn in self.turns[self.folded :]:
            self.costs.append(sum(tokens[position : position + len(turn.messages)]))
            position += len(turn.messages)

    def _hopeless(self, folded: int) -> int:
        """How many turns to fold without counting them, because what follows fills the context many times."""
        room = self.context_tokens * _MOST_CHARACTERS_PER_TOKEN
        for index in range(len(self.turns) - 1, folded - 1, -1):
            room -= self.turns[index].characters
            if room < 0:
                if index == len(self.turns) - 1:
                    raise self._message_too_long()
                return min(index + 1, max(folded, len(self.turns) - 2))
        return folded

    @staticmethod
    def _has(turn: Turn, node_id: int | None) -> bool:
        return node_id is not None and any(node.id == node_id for node in turn.nodes)

    def _too_long(self) -> RolekitError:
        reserve = self.context_tokens - self.limit
        if self.role_tokens >= self.limit:
            wanted = -(-(self.role_tokens + 2 * reserve) // 256) * 256
            return RolekitError(
                f"The role alone needs {count(self.role_tokens)} tokens, and the context of "
                f"{count(self.context_tokens)} leaves {count(self.limit)} beside the reply.",
                f"Use a longer context (--ctx {wanted}) or a shorter role.",
            )
        newest = self.costs[-1] if self.costs else 0
        left = self.limit - (self.used - newest)
        return RolekitError(
            f"Your message needs {count(newest)} tokens, and the context of {count(self.context_tokens)} has "
            f"room for {count(max(0, left))} beside the role, the pinned turns and the reply.",
            "Shorten it, unpin a turn, or use a longer context (--ctx N).",
        )

    def _message_too_long(self) -> RolekitError:
        length = self.turns[-1].characters
        return RolekitError(
            f"Your message has {count(length)} characters, far more than the context of "
            f"{count(self.context_tokens)} tokens can hold.",
            "Shorten it, or use a longer context (--ctx N).",
        )
