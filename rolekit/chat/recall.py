"""Remembering: what was said and is folded away, and what the role knows, found again by BM25 when it matters.

RoleLLM's Context-Instruct trains a role's episodes into the weights; here they are found again at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rolekit.chat.insets import Inset
from rolekit.chat.tree import Node
from rolekit.ranking import Bm25, terms_of, words_of
from rolekit.roles.facts import Fact
from rolekit.text import one_line

_MOST = 3
"""Memories that come up at once."""
_TEXT_CHARACTERS = 600
_PARTNER_SHARE = 0.5
"""What a message gains by how well the other one of its exchange fits."""
_QUESTION_SHARE = 0.7
"""What a question counts beside a statement that fits as well."""
_COMMON = 0.1
"""A fact comes up for a word that at most one in ten facts has: what they all share says nothing."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """One thing that may come up."""

    id: str
    text: str
    frame: str
    source: str
    partner: int = -1
    """The number of the message it answers, or that answers it; -1 where there is none."""
    asks: bool = False


@dataclass(slots=True)
class Recall:
    """Finds memories for a message, worded in a language (BCP 47 tag) for the model."""

    names: tuple[str, str]
    """The user's, the role's."""
    language: str
    facts: Sequence[Fact] = ()
    """What the role knows of its own life beside its block."""
    budget_tokens: int = 96
    _told: tuple[tuple[int, ...], Bm25, list[_Memory]] | None = field(default=None, init=False)
    _known: tuple[Bm25, list[_Memory]] | None = field(default=None, init=False)

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
        found: list[Inset] = []
        spent = 0
        for memory, score in self._ranked(path[-1].text, folded):
            if memory.id in told_before:
                continue
            worded = memory.frame.format(memory.text)
            tokens = count_tokens(worded)
            if spent + tokens > self.budget_tokens:
                continue
            spent += tokens
            why = f"{memory.source}, like what was just said (score {score:.1f})"
            found.append(Inset("recall", memory.id, worded, why, one_line(memory.text, 60), tokens))
            if len(found) == _MOST:
                break
        return found

    def _ranked(self, text: str, folded: Sequence[Node]) -> list[tuple[_Memory, float]]:
        """What was said and what is known, in turn, the best of each first."""
        query = " ".join(dict.fromkeys(words_of(text)))
        said, messages = self._said(folded)
        known, facts = self._facts()
        turns = _by_exchange(messages, said.rank(text, once=True))[: 4 * _MOST]
        own = [(facts[number], score) for number, score in known.rank(query, common=_COMMON)[: 4 * _MOST]]
        pairs = zip_longest(turns, own)
        return [memory for pair in pairs for memory in pair if memory is not None]

    def _said(self, folded: Sequence[Node]) -> tuple[Bm25, list[_Memory]]:
        """The index over what is folded; made anew only when more was folded."""
        key = tuple(node.id for node in folded)
        if self._told is None or self._told[0] != key:
            memories = self._turns(folded)
            self._told = key, Bm25([memory.text for memory in memories], terms_of), memories
        return self._told[1], self._told[2]

    def _facts(self) -> tuple[Bm25, list[_Memory]]:
        if self._known is None:
            frame = _frames(self.language)[1]
            memories = [_Memory(fact.id, fact.text, frame, fact.source or "a fact") for fact in self.facts]
            self._known = Bm25([memory.text for memory in memories]), memories
        return self._known

    def _turns(self, folded: Sequence[Node]) -> list[_Memory]:
        """Each folded message, and who said it."""
        frame = _frames(self.language)[0]
        rows = []
        for number, node in enumerate(folded):
            name = node.name or self.names[node.speaker == "assistant"]
            text = " ".join(node.text.split())
            short = text if len(text) <= _TEXT_CHARACTERS else text[: _TEXT_CHARACTERS - 1] + "…"
            partner, asks = _partner(folded, number), text.endswith(("?", "？"))
            rows.append(
                _Memory(f"message {node.id}", f"{name}: {short}", frame, "said earlier", partner, asks)
            )
        return rows


def _partner(folded: Sequence[Node], number: int) -> int:
    """The number of the message that this one answers, or of its answer; -1 where that is not folded."""
    node = folded[number]
    if number and node.speaker == "assistant" and folded[number - 1].id == node.parent_id:
        return number - 1
    follows = number + 1 < len(folded) and folded[number + 1].parent_id == node.id
    return number + 1 if follows and node.speaker == "user" else -1


def _by_exchange(
    messages: Sequence[_Memory], ranked: Sequence[tuple[int, float]]
) -> list[tuple[_Memory, float]]:
    """The messages that fit, best first.

    A question and its answer speak of the same thing, though only one of them may say the word; and of the two the
    question tells less.
    """
    scores: dict[int, float] = {}
    for number, score in ranked:
        scores[number] = scores.get(number, 0.0) + score
        if (partner := messages[number].partner) >= 0:
            scores[partner] = scores.get(partner, 0.0) + score * _PARTNER_SHARE
    weighed = ((n, score * (_QUESTION_SHARE if messages[n].asks else 1.0)) for n, score in scores.items())
    return [(messages[n], score) for n, score in sorted(weighed, key=lambda pair: (-pair[1], pair[0]))]


def _frames(language: str) -> tuple[str, str]:
    """How what was said, and what the role knows of itself, are worded for the model."""
    if language.startswith("zh"):
        return "（你想起先前的话——{}）", "（你记得自己的事——{}）"
    return "(You remember from earlier: {})", "(You know of your own life: {})"
