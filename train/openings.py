"""What stands before every question: the role block as system instruction, or retrieved dialogues (the ablation)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rolekit.messages import Message
from rolekit.roles.block import opening_messages, role_block
from rolekit.roles.casting import Casting, bare_role
from rolekit.roles.retrieval import TOP_PAIRS, Bm25, retrieved_turns
from rolekit.roles.role import Example as Pair
from rolekit.roles.role import Role
from rolekit.train.recipe import Recipe
from rolekit.train.sources import Dialogue


@dataclass(slots=True)
class Openings:
    """The opening messages of every dialogue of a recipe; system and role block are the chat engine's own."""

    recipe: Recipe
    casting: Casting = field(default_factory=Casting)
    replaced: int = 0
    """Dialogues whose own system text made way for the role block."""
    _pairs: dict[str, tuple[list[Pair], Bm25]] = field(default_factory=dict, init=False)

    def remember(self, dialogues: Iterable[Dialogue]) -> None:
        """Let roles without example dialogues of their own retrieve from these (the rows to train on, never others)."""
        rows: dict[str, list[Pair]] = {}
        for dialogue in dialogues:
            if dialogue.role and dialogue.question:
                rows.setdefault(dialogue.role, []).append(
                    Pair(user=dialogue.question, reply=dialogue.turns[-1].text)
                )
        for name, pairs in rows.items():
            own = list(self.casting.role(name).examples)
            chosen = own if len(own) >= TOP_PAIRS else [*own, *pairs]
            self._pairs[name] = chosen, Bm25([pair.user for pair in chosen])

    def before(self, dialogue: Dialogue) -> tuple[Message, ...]:
        """What stands in front of the dialogue's turns; none of it is learned."""
        role = self.casting.role(dialogue.role, dialogue.language) if dialogue.role else None
        if dialogue.system and (role is None or dialogue.role in self.casting.nameless):
            return (Message("system", dialogue.system, "role"),)
        self.replaced += bool(dialogue.system)
        assert role is not None, "a dialogue without a role brings a system text"
        if self.recipe.condition == "retrieval":
            return self._retrieved(role, dialogue)
        if self.recipe.opening == "chat":
            return opening_messages(role, self.recipe.user)
        return (Message("system", role_block(role, self.recipe.user), "role"),)

    def _retrieved(self, role: Role, dialogue: Dialogue) -> tuple[Message, ...]:
        """The role's name alone, and the dialogues nearest to the question in place of its description."""
        block = role_block(bare_role(role.name, role.language), self.recipe.user)
        pairs, ranking = self._pairs.get(dialogue.role) or (
            list(role.examples),
            Bm25([p.user for p in role.examples]),
        )
        return (Message("system", block, "role"), *retrieved_turns(pairs, ranking, dialogue.question))
