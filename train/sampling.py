"""A sample answer of the model in training: the same question again and again, so that one sees the voice arrive."""

from __future__ import annotations

from typing import Protocol

from rolekit.messages import Message
from rolekit.train.backends import Generate
from rolekit.train.base_text import BaseText
from rolekit.train.openings import Openings
from rolekit.train.recipe import Recipe
from rolekit.train.sources import Dialogue


class Sampler(Protocol):
    """Asks the role the recipe's question."""

    def __call__(self, most: int = 0) -> str:
        """The answer, of at most so many tokens; 0: as many as the recipe says."""
        ...


def sampler(
    recipe: Recipe, text: BaseText, openings: Openings, first: Dialogue, generate: Generate
) -> Sampler:
    """A function that asks the role of the first row the recipe's question, greedily; raw text, not sanitized."""
    asked = Dialogue(
        first.role,
        first.kind,
        (Message("user", recipe.run.sample_question),),
        "sample",
        first.language,
        first.system,
    )
    opening = openings.before(asked)
    prompt = text.prompter.build([*opening, *asked.turns], think=not text.prompter.opens_thinking)
    vocabulary = text.vocabulary
    ends = {token for token in vocabulary.control_tokens.values() if vocabulary.is_end(token)}
    stops = frozenset({*ends, *text.maker.end_ids[-1:]})

    def sample(most: int = 0) -> str:
        ids = generate(prompt.ids, stops, most or recipe.run.sample_tokens)
        return b"".join(map(vocabulary.piece, ids)).decode("utf-8", "replace").strip()

    return sample
