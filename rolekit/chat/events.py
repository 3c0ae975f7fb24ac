"""What a session tells its face while a reply is made."""

from __future__ import annotations

from dataclasses import dataclass

from rolekit.chat.moderation import Decision
from rolekit.chat.tree import Node
from rolekit.messages import Block, Piece, Progress, Reply


@dataclass(frozen=True, slots=True)
class UserSaved:
    """The user's message is on disk; from here on it cannot be lost."""

    node: Node


@dataclass(frozen=True, slots=True)
class Speaking:
    """In a room: this role answers next. Its Progress, Pieces and Finished follow, then perhaps another's."""

    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Old turns were taken out of the context to make room. They stay in the conversation."""

    turns: int
    """Can be 0: then only the example dialogues were left out."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Retried:
    """A reply went wrong and is kept as a version; another one begins."""

    node: Node
    reason: str
    """Why, in a few words: `it broke character`."""


@dataclass(frozen=True, slots=True)
class Moderated:
    """The user's moderation rules had something to say about the message just saved, or the reply just made."""

    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The reply is on disk."""

    node: Node | None
    """None when the user stopped it before the first word: nothing was written, the history is as before."""
    reply: Reply
    """What was generated just now; after continue_last the node's text is longer."""


SessionEvent = UserSaved | Speaking | Folded | Progress | Piece | Retried | Moderated | Finished


@dataclass(frozen=True, slots=True)
class ContextRow:
    """One part of the conversation and what it costs in the context."""

    label: str
    """One line, safe to print."""
    block: Block
    tokens: int
    kept: bool
    """False: folded, the model does not see it."""
    node_id: int | None
    """None for what belongs to the role."""


@dataclass(frozen=True, slots=True)
class ContextReport:
    """How the context is used by the next reply's prompt."""

    context_tokens: int
    """0 where the backend does not know."""
    used_tokens: int
    rows: list[ContextRow]
