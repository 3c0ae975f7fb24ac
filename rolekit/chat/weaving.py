"""Deciding what stands beside the user's newest message: lore, reminders, memories of what is folded away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rolekit.chat.insets import STILL, Inset, Woven, fired_on, woven_of
from rolekit.chat.recall import Recall
from rolekit.chat.tree import Node
from rolekit.messages import Speaker
from rolekit.roles.lore.book import Book, LoreEntry
from rolekit.roles.lore.firing import Line, LoreOptions, Moment, Told, fire, merged
from rolekit.roles.macros import Scene, expand

_LORE_SHARE = 4
"""Lore may take one part in this many of the context, as in SillyTavern."""
_REMINDER_TOKENS = 12
"""What reminders may cost per message, on average; longer ones are repeated less often."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """A text that should never be far from the end: an author's note, post-history instructions, lore at depth."""

    id: str
    text: str
    label: str
    depth: int = 4
    speaker: Speaker = "system"


@dataclass(frozen=True, slots=True)
class Loom:
    """What a chat has to weave with."""

    names: tuple[str, str]
    """The user's, the role's."""
    scene: Scene
    books: tuple[Book, ...] = ()
    reminders: tuple[Reminder, ...] = ()
    options: LoreOptions = field(default_factory=LoreOptions)
    recall: Recall | None = None


def weave(
    path: Sequence[Node],
    visible: Iterable[int],
    loom: Loom,
    count_tokens: Callable[[str], int],
    context_tokens: int,
) -> Woven:
    """What stands beside the last node of path, the user's newest message.

    visible are the ids of the nodes that the prompt still has; what stands beside one of them is not told again.
    """
    seen = set(visible)
    told_before = {
        inset.id: inset.text
        for node in path[:-1]
        if node.id in seen and (woven := woven_of(node))
        for inset in woven.insets
    }
    lore, cut, notices = _lore(path, loom, told_before, count_tokens, context_tokens)
    insets = [*lore]
    if loom.recall is not None:
        insets += loom.recall.insets(path, seen, told_before, count_tokens)
    insets += _reminders(path, seen, loom, count_tokens)
    return Woven(tuple(insets), tuple(cut), tuple(notices), len(path))


def _lore(
    path: Sequence[Node],
    loom: Loom,
    told_before: dict[str, str],
    count_tokens: Callable[[str], int],
    context_tokens: int,
) -> tuple[list[Inset], list[tuple[str, str]], list[str]]:
    if not loom.books:
        return [], [], []
    spoken = [node for node in path if node.speaker != "system"]
    lines = [Line(node.name or loom.names[node.speaker == "assistant"], node.text) for node in spoken]
    replies = sum(node.speaker == "assistant" for node in spoken)
    first = path[0]
    moment = Moment(
        lines,
        len(path),
        replies,
        first.version - 1 if first.speaker == "assistant" and first.parent_id is None else None,
        merged(fired_on(path[:-1])),
        "\n".join(reminder.text for reminder in loom.reminders),
        loom.scene.seed,
    )
    budget = context_tokens // _LORE_SHARE if context_tokens else loom.options.budget_tokens
    options = LoreOptions(
        loom.options.scan_depth, budget, loom.options.recursive, loom.options.max_steps,
        loom.options.case_sensitive, loom.options.whole_words, loom.options.include_names,
    )  # fmt: skip
    outcome = fire(loom.books, moment, options, count_tokens, lambda text: expand(text, loom.scene))
    cut = [(row.entry.label, row.reason) for row in outcome.cut]
    insets = []
    for told in outcome.told:
        if told_before.get(told.id) == told.text:
            cut.append((told.entry.label, "it already stands in the chat"))
        else:
            insets.append(_lore_inset(told))
    return insets, cut, list(outcome.notices)


def _lore_inset(told: Told) -> Inset:
    entry: LoreEntry = told.entry
    behind = entry.place == "note_bottom" or (entry.place == "depth" and entry.depth == 0)
    why = STILL if told.sticky else told.why
    return Inset("lore", told.id, told.text, why, entry.label, told.tokens, behind, entry.speaker)


def _reminders(
    path: Sequence[Node], seen: set[int], loom: Loom, count_tokens: Callable[[str], int]
) -> list[Inset]:
    """The reminders that have drifted too far up, or were folded away."""
    due = []
    for reminder in loom.reminders:
        text = expand(reminder.text, loom.scene).strip()
        if not text:
            continue
        tokens = count_tokens(text)
        if _distance(path, seen, reminder) > max(reminder.depth, tokens // _REMINDER_TOKENS):
            why = "at the end" if reminder.depth == 0 else f"never more than {reminder.depth} messages up"
            due.append(
                Inset(
                    "note",
                    reminder.id,
                    text,
                    why,
                    reminder.label,
                    tokens,
                    reminder.depth == 0,
                    reminder.speaker,
                )
            )
    return due


def _distance(path: Sequence[Node], seen: set[int], reminder: Reminder) -> int:
    """How many messages ago the reminder was last given; more than any depth where it is not in the prompt."""
    for back, node in enumerate(reversed(path[:-1]), start=1):
        woven = woven_of(node) if node.id in seen else None
        if woven and any(inset.kind == "note" and inset.id == reminder.id for inset in woven.insets):
            return back
    return 1 << 30
