"""A sample answer of the model in training: the same question again and again, so that one sees the voice arrive."""

from __future__ import annotations

from collections.abc import Callable

from rolekit.messages import Message
from rolekit.train.backends import Generate
from rolekit.train.base_text import BaseText
from rolekit.train.openings import Openings
from rolekit.train.recipe import Recipe
from rolekit.train.sources import Dialogue

Sampler = Callable[[], str]


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

    def sample() -> str:
        ids = generate(prompt.ids, stops, recipe.run.sample_tokens)
        return b"".join(map(vocabulary.piece, ids)).decode("utf-8", "replace").strip()

    return sample
