"""What stands before every question: the role block as system instruction, or retrieved dialogues (the ablation).

Roles, retrieved pairs and their wording are those of `rolekit bench run`: what a condition is trained on is what it
is measured with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rolekit.messages import Message
from rolekit.rolebench.casting import Cast, Casting, read_descriptions
from rolekit.rolebench.prompting import messages_for
from rolekit.rolebench.records import Record
from rolekit.rolebench.retrieval import MOST_PAIRS, Pair, Pairs
from rolekit.roles.block import opening_messages, role_block
from rolekit.roles.library import RoleLibrary
from rolekit.roles.names import fold
from rolekit.train.recipe import Recipe
from rolekit.train.sources import Dialogue


@dataclass(slots=True)
class Openings:
    """The opening messages of every dialogue of a recipe. Make it with Openings.of()."""

    recipe: Recipe
    casting: Casting
    pairs: Pairs
    bare: set[str] = field(default_factory=set)
    """Roles that came up and have no profile: their block says their name and no more."""
    replaced: int = 0
    """Dialogues whose own system text made way for the role block."""

    @classmethod
    def of(cls, recipe: Recipe, trained: Iterable[Dialogue]) -> Openings:
        """The recipe's openings; under retrieval the rows that are trained on (never others) are what is shown.

        Raises RolekitError when RoleBench's descriptions beside the data cannot be read.
        """
        descriptions: dict[str, str] = {}
        for source in recipe.data.sources:
            descriptions = {**read_descriptions(Path(source.path).parent), **descriptions}
        rows = (_record(dialogue) for dialogue in trained) if recipe.condition == "retrieval" else ()
        return cls(recipe, Casting(RoleLibrary(), descriptions), Pairs(rows, ()))

    def before(self, dialogue: Dialogue) -> tuple[Message, ...]:
        """What stands in front of the dialogue's turns; none of it is learned."""
        cast = self.casting.cast(dialogue.role, dialogue.language) if dialogue.role else None
        if cast is None or (dialogue.system and cast.source == "name"):
            return (Message("system", dialogue.system, "role"),)
        self.replaced += bool(dialogue.system)
        if cast.source == "name":
            self.bare.add(dialogue.role)
        if self.recipe.condition == "retrieval":
            return self._retrieved(dialogue, cast)
        if self.recipe.opening == "chat":
            return opening_messages(cast.role, self.recipe.user)
        return (Message("system", role_block(cast.role, self.recipe.user), "role"),)

    def _retrieved(self, dialogue: Dialogue, cast: Cast) -> tuple[Message, ...]:
        """The pairs nearest to the question, but none that asks it: that would put the answer into the prompt."""
        asked = fold(dialogue.question)
        found = self.pairs.nearest(dialogue.role, cast.role, dialogue.question, MOST_PAIRS + 1)
        others: list[Pair] = [pair for pair in found if fold(pair.user) != asked]
        return messages_for(cast, dialogue.question, others[-MOST_PAIRS:], "zero-shot", "retrieval")[:-1]


def _record(dialogue: Dialogue) -> Record:
    return Record(dialogue.role, dialogue.question, (dialogue.turns[-1].text,), "role_specific")
