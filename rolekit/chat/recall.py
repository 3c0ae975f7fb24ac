"""Remembering: what was said and is folded away, and what the role knows, found again by BM25 when it matters.

RoleLLM's Context-Instruct trains a role's episodes into the weights; here they are found again at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rolekit.chat.insets import Inset
from rolekit.chat.tree import Node
from rolekit.ranking import Bm25
from rolekit.text import one_line

_MOST = 3
"""Memories that come up at once."""
_TEXT_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Fact:
    """Something the role knows beside its block."""

    id: str
    text: str


@dataclass(slots=True)
class Recall:
    """Finds memories for a message. frame words them for the model, `{}` being the memories."""

    names: tuple[str, str]
    """The user's, the role's."""
    frame: str
    facts: Sequence[Fact] = ()
    budget_tokens: int = 96
    _indexed: tuple[tuple[int, ...], Bm25, list[tuple[str, str]]] | None = field(default=None, init=False)

    def insets(
        self,
        path: Sequence[Node],
        visible: set[int],
        told_before: Mapping[str, str],
        count_tokens: Callable[[str], int],
    ) -> list[Inset]:
        """The memories that belong beside the last node of path, as one inset each; none where nothing fits.

        visible are the nodes that the prompt has already; told_before the ids of insets that it has.
        """
        folded = [
            node for node in path[:-1] if node.id not in visible and node.text and node.speaker != "system"
        ]
        index, memories = self._index(folded)
        found: list[Inset] = []
        spent = 0
        for number, score in index.rank(path[-1].text)[: 4 * _MOST]:
            identity, text = memories[number]
            if identity in told_before:
                continue
            worded = self.frame.format(text)
            tokens = count_tokens(worded)
            if spent + tokens > self.budget_tokens:
                continue
            spent += tokens
            why = f"like what was just said (score {score:.1f})"
            found.append(Inset("recall", identity, worded, why, one_line(text, 60), tokens))
            if len(found) == _MOST:
                break
        return found

    def _index(self, folded: Sequence[Node]) -> tuple[Bm25, list[tuple[str, str]]]:
        """The index over what is folded and known; made anew only when more was folded."""
        key = tuple(node.id for node in folded)
        if self._indexed is None or self._indexed[0] != key:
            memories = [*self._turns(folded), *((fact.id, fact.text) for fact in self.facts)]
            self._indexed = key, Bm25([text for _, text in memories]), memories
        return self._indexed[1], self._indexed[2]

    def _turns(self, folded: Sequence[Node]) -> list[tuple[str, str]]:
        """Each folded message, and who said it."""
        rows = []
        for node in folded:
            name = node.name or self.names[node.speaker == "assistant"]
            text = " ".join(node.text.split())
            short = text if len(text) <= _TEXT_CHARACTERS else text[: _TEXT_CHARACTERS - 1] + "…"
            rows.append((f"message {node.id}", f"{name}: {short}"))
        return rows


def recall_frame(language: str) -> str:
    """How a memory is worded for the model."""
    if language.startswith("zh"):
        return "（你想起先前的话——{}）"
    return "(You remember from earlier: {})"
