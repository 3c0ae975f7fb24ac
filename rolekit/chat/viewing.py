"""How one role of a room sees the talk: its own lines are replies, everybody else's are said to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rolekit.chat.insets import seen_from
from rolekit.chat.tree import Node


@dataclass(frozen=True, slots=True)
class View:
    """One role's view; with no slug, that of the only role, who sees a conversation as it is stored.

    The same history always gives the same view with the new lines at its end, so every role's prompt keeps its
    prefix: its own lines with the ids that the model generated, the others' as lines of a user with a name. Of what
    stands beside the messages a role sees what was decided for itself.
    """

    slug: str = ""
    user: str = ""
    """What lines of the user begin with that have no name of their own: each keeps the one it was said under."""

    def of(self, path: Sequence[Node]) -> list[Node]:
        """The messages as this role sees them, one for one."""
        return [self._seen(node) for node in path] if self.slug else list(path)

    def _seen(self, node: Node) -> Node:
        extra = seen_from(node.extra, self.slug)
        if node.speaker == "assistant" and node.slug == self.slug:
            return replace(node, name="", extra=extra)
        if node.speaker == "assistant":
            return replace(node, speaker="user", token_ids=(), vocabulary="", extra=extra)
        return replace(node, name=(node.name or self.user) if node.speaker == "user" else "", extra=extra)
