"""From a branch of messages to the next prompt: what stands in front, what is woven in, what is folded away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rolekit.chat import memory
from rolekit.chat.branch import Branch
from rolekit.chat.insets import woven_of
from rolekit.chat.memory import FoldPoint, Plan
from rolekit.chat.room import Room
from rolekit.chat.staging import Staging
from rolekit.chat.state import ChatState, fold_of, state_of, with_fold, with_state
from rolekit.chat.store import Store
from rolekit.chat.tree import Node
from rolekit.chat.viewing import View
from rolekit.chat.weaving import weave
from rolekit.messages import Backend, Message
from rolekit.roles.facts import Fact
from rolekit.roles.role import Role

_MOST_PLANS = 4
"""A fold brings a summary into the prompt, which may make another fold necessary, and so on; not for ever."""
_SUMMARY_SHARE = 8
"""Summaries may take one part in this many of the context; the oldest give way, and can still be recalled."""


class Prompting:
    """The prompts of one role of a conversation. Changing the backend is allowed between replies.

    Histories are given as they are stored; in a room the role gets its own view of them, its own state and fold.
    """

    def __init__(
        self,
        store: Store,
        branch: Branch,
        role: Role,
        conversation_id: str,
        backend: Backend,
        *,
        memory: bool = True,
        seat: str = "",
        room: Room | None = None,
        facts: Sequence[Fact] = (),
    ) -> None:
        """seat: the role's slug in that room. facts: what the role knows beside its block, recalled when it fits."""
        self.memory = memory
        """Whether what is folded is summed up and recalled."""
        self._store, self._branch, self._role, self._id = store, branch, role, conversation_id
        self.backend = backend
        self._seat, self._room, self._facts = seat, room, tuple(facts)
        row = store.row(conversation_id)
        whole = (row["fold_node"], row["fold_context"], bool(row["fold_examples"]))
        self.fold = FoldPoint(*(fold_of(row["extra"], seat) if seat else whole))
        self.staging = self._staged(state_of(row["extra"], seat))

    @property
    def state(self) -> ChatState:
        """Persona, author's note and summaries."""
        return self.staging.state

    def set_state(self, state: ChatState) -> None:
        """Keep another state; the next prompt follows it."""
        extra = self._store.row(self._id)["extra"]
        self._store.set_extra(self._id, with_state(extra, state, self._seat))
        self.staging = self._staged(state)

    def _staged(self, state: ChatState) -> Staging:
        info = self._store.conversation(self._id)
        others = (
            [member.name for member in self._room.members if member.slug != self._seat] if self._room else []
        )
        return Staging(
            self._role,
            info,
            state,
            self.count,
            self.backend.context_tokens,
            memory=self.memory,
            facts=self._facts,
            others=others,
        )

    def seen(self, history: Sequence[Node]) -> list[Node]:
        """The history as the role sees it."""
        return View(self._seat, self.staging.user_label).of(history)

    def count(self, text: str) -> int:
        """What a text adds to a prompt, in tokens, without what a template puts around it."""
        empty, full = (sum(self.backend.count_tokens([Message("user", part)])) for part in ("", text))
        return max(full - empty, 0)

    def opening(self) -> list[Message]:
        """The role block, its examples and the summaries; the greeting is the conversation's own first node."""
        return self.staging.opening(self.state.shown)

    def visible(self, history: Sequence[Node]) -> list[Node]:
        """The messages of a branch that are not folded away, as the role sees them."""
        history = self.seen(history)
        folded = next((i + 1 for i, node in enumerate(history) if node.id == self.fold.node_id), 0)
        return [node for i, node in enumerate(history) if i >= folded or node.pinned]

    def woven(self, history: list[Node]) -> list[Node]:
        """The history, with what stands beside its last message decided, if that was said to the role and is new."""
        seen = self.seen(history)
        if not seen or seen[-1].speaker != "user" or woven_of(seen[-1]) is not None:
            return history
        visible = [node.id for node in self.visible(history)]
        loom = self.staging.loom(seen)
        found = weave(seen, visible, loom, self.count, self.backend.context_tokens)
        return [*history[:-1], self._branch.weave(history[-1], found, self._seat)]

    def plan(
        self, history: Sequence[Node], max_tokens: int, *, keep: bool = False, spare_tokens: int = 0
    ) -> Plan:
        """What to send for a reply to history, with so much to spare; keep makes a fold that it needed last.

        Raises RolekitError when the role, the pinned turns and the newest message alone are too long.
        """
        turns, freed, fold, state = 0, 0, self.fold, self.state
        history = self.seen(history)
        for _ in range(_MOST_PLANS):
            plan = memory.plan(
                self.staging.opening(state.shown),
                history,
                fold,
                self.backend.count_tokens,
                vocabulary=self.backend.vocabulary,
                context_tokens=self.backend.context_tokens,
                max_tokens=max_tokens,
                spare_tokens=spare_tokens,
            )
            turns, freed = turns + plan.folded_turns, freed + plan.freed_tokens
            shown = self._shown(state, plan.fold)
            if shown == state or plan.fold == fold:
                break
            fold, state = plan.fold, shown
        if keep and (turns or freed):
            self._keep_fold(plan.fold)
            if state != self.state:
                self.set_state(state)
        return replace(plan, folded_turns=turns, freed_tokens=freed)

    def _keep_fold(self, fold: FoldPoint) -> None:
        self.fold = fold
        if not self._seat:
            self._store.set_fold(self._id, fold)
            return
        extra = self._store.row(self._id)["extra"]
        kept = with_fold(extra, (fold.node_id, fold.context_tokens, fold.examples), self._seat)
        self._store.set_extra(self._id, kept)

    def _shown(self, state: ChatState, fold: FoldPoint) -> ChatState:
        """The state in which the summaries of all that is folded are shown, the newest that there is room for.

        Only a fold changes what is shown: it makes the model read its history anew anyway.
        """
        if fold.node_id is None:
            return replace(state, shown_from=0, shown_to=0)
        end = sum(summary.last_node <= fold.node_id for summary in state.summaries)
        room = self.backend.context_tokens // _SUMMARY_SHARE
        begin = end
        while begin and (cost := self.count(state.summaries[begin - 1].text)) <= room:
            begin, room = begin - 1, room - cost
        return replace(state, shown_from=begin, shown_to=end)
