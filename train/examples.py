"""What a model is trained on: one row of token ids, and which of them it has to learn to predict."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Kind = Literal["role_specific", "general", "refusal", "unknown"]
"""What a row teaches: the role's own matters, general instructions in its voice, to refuse, not to know."""

KINDS: tuple[Kind, ...] = ("role_specific", "general", "refusal", "unknown")


@dataclass(frozen=True, slots=True)
class Example:
    """One row: a prompt, the answer, and the token that ends it; several answers where the row has more turns.

    Both tuples are as long as the row, in tokens; a row that was cut to the longest allowed length is never one of
    these (it is counted and left out).
    """

    ids: tuple[int, ...]
    """The whole row as the model reads it, BOS included where the model has one."""
    supervised: tuple[bool, ...]
    """Whether predicting ids[i] (from what stands before it) counts in the loss; never true for ids[0]."""
    prefix_tokens: int = 0
    """How many ids at the beginning are the shared role block: the same ones, to the id, in every row of this
    role, and none of them supervised; 0 where the row shares none."""
    role: str = ""
    """The role's name as the data writes it."""
    kind: Kind = "role_specific"
    key: str = ""
    """example_key(role, question): the same in every run and in every order of the data."""
    origin: str = ""
    """Where the row came from, for people: `data.jsonl:17`."""

    @property
    def supervised_tokens(self) -> int:
        """How many of its tokens count in the loss."""
        return sum(self.supervised)


def example_key(role: str, question: str) -> str:
    """A stable name for one question to one role; white space around and inside the question does not matter."""
    text = f"{' '.join(role.split())}\0{' '.join(question.split())}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]


def check_examples(examples: list[Example]) -> None:
    """Assert what every consumer relies on: lengths, prefixes equal to the id within a role, some supervision.

    Raises ValueError; examples that rolekit.train.rows built always pass.
    """
    prefixes: dict[str, tuple[int, ...]] = {}
    for example in examples:
        if len(example.ids) != len(example.supervised) or not any(example.supervised[1:]):
            raise ValueError(f"{example.origin}: a row without supervised tokens, or of unequal lengths")
        head = example.ids[: example.prefix_tokens]
        if example.supervised[0] or any(example.supervised[: len(head)]):
            raise ValueError(f"{example.origin}: the shared prefix is supervised")
        if head and prefixes.setdefault(example.role, head) != head:
            raise ValueError(f"{example.origin}: another prefix than the role's other rows")
