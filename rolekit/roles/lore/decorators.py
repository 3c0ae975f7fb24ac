"""V3 decorators: lines such as `@@depth 2` at the head of an entry's content, and their fallbacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from rolekit.messages import Speaker
from rolekit.roles.lore.book import Conditions, LoreEntry, Place

_LINE = re.compile(r"[ \t]*(@@@?)([A-Za-z_]+)[ \t]*(.*?)[ \t]*")
_PLACES: dict[str, Place] = {
    "after_desc": "after", "before_desc": "before", "personality": "after", "scenario": "after",
}  # fmt: skip
_SPEAKERS: dict[str, Speaker] = {"assistant": "assistant", "system": "system", "user": "user"}
_REPEATABLE = {"additional_keys"}

Change = Callable[[LoreEntry, str], LoreEntry | None]
"""Applies a decorator's value to an entry; None when the value means nothing."""


def apply_decorators(entry: LoreEntry) -> LoreEntry:
    """The entry with its decorators carried out and taken out of its content.

    An unknown one is passed over, its fallback (`@@@name` in the next line) tried; of two the first counts.
    """
    lines = entry.content.split("\n")
    used = 0
    seen: set[str] = set()
    failed = False
    for line in lines:
        found = _LINE.fullmatch(line.rstrip("\r"))
        if found is None:
            break
        used += 1
        marks, name, value = found[1], found[2].lower(), found[3]
        if marks == "@@@" and not failed:
            continue
        change = _KNOWN.get(name)
        changed = None
        if change is not None and (name in _REPEATABLE or name not in seen):
            changed = change(entry, value)
        failed = change is None or (changed is None and name not in seen)
        if changed is not None:
            entry = changed
            seen.add(name)
    return replace(entry, content="\n".join(lines[used:])) if used else entry


def _number(value: str) -> int | None:
    return int(value) if re.fullmatch(r"[+-]?\d{1,9}", value) else None


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _conditions(**changes: Callable[[str], object]) -> Change:
    """A decorator that sets one of the entry's conditions to what its value means."""

    def change(entry: LoreEntry, value: str) -> LoreEntry | None:
        found = {name: read(value) for name, read in changes.items()}
        if any(item is None or item == () for item in found.values()):
            return None
        return replace(entry, conditions=replace(entry.conditions, **found))  # type: ignore[arg-type]

    return change


def _flag(name: str) -> Change:
    def change(entry: LoreEntry, value: str) -> LoreEntry:
        conditions: Conditions = replace(entry.conditions, **{name: True})  # type: ignore[arg-type]
        return replace(entry, conditions=conditions)

    return change


def _depth(entry: LoreEntry, value: str) -> LoreEntry | None:
    number = _number(value)
    return None if number is None or number < 0 else replace(entry, place="depth", depth=min(number, 1000))


def _scan_depth(entry: LoreEntry, value: str) -> LoreEntry | None:
    number = _number(value)
    return None if number is None or number < 0 else replace(entry, scan_depth=min(number, 1000))


def _role(entry: LoreEntry, value: str) -> LoreEntry | None:
    speaker = _SPEAKERS.get(value.lower())
    return replace(entry, speaker=speaker) if speaker else None


def _position(entry: LoreEntry, value: str) -> LoreEntry | None:
    place = _PLACES.get(value.lower())
    return replace(entry, place=place) if place else None


def _additional_keys(entry: LoreEntry, value: str) -> LoreEntry | None:
    """Keys of which one must be found as well; several such lines add up."""
    words = _words(value)
    if not words:
        return None
    return replace(entry, selective=True, secondary_keys=(*entry.secondary_keys, *words))


def _whole(entry: LoreEntry, value: str) -> LoreEntry:
    return replace(entry, whole_words=True)


def _partial(entry: LoreEntry, value: str) -> LoreEntry:
    return replace(entry, whole_words=False)


def _probability(entry: LoreEntry, value: str) -> LoreEntry | None:
    number = _number(value.removesuffix("%"))
    return None if number is None else replace(entry, probability=float(min(max(number, 0), 100)))


def _priority(entry: LoreEntry, value: str) -> LoreEntry | None:
    number = _number(value)
    return None if number is None else replace(entry, priority=number)


def _unrecursive(entry: LoreEntry, value: str) -> LoreEntry:
    return replace(entry, recursion=replace(entry.recursion, prevent=True))


def _no_recursive_search(entry: LoreEntry, value: str) -> LoreEntry:
    return replace(entry, recursion=replace(entry.recursion, exclude=True))


_KNOWN: dict[str, Change] = {
    "activate": _flag("activate"),
    "dont_activate": _flag("dont_activate"),
    "activate_only_after": _conditions(only_after=_number),
    "activate_only_every": _conditions(only_every=_number),
    "is_greeting": _conditions(greeting=_number),
    "exclude_keys": _conditions(exclude_keys=_words),
    "exclude_keys_all": _conditions(exclude_all_keys=_words),
    "keep_activate_after_match": _flag("keep_after_match"),
    "dont_activate_after_match": _flag("never_after_match"),
    "ignore_on_max_context": _flag("ignore_on_max_context"),
    "depth": _depth,
    "instruct_depth": _depth,
    "scan_depth": _scan_depth,
    "instruct_scan_depth": _scan_depth,
    "role": _role,
    "position": _position,
    "additional_keys": _additional_keys,
    "match_full_word": _whole,
    "match_partial_word": _partial,
    "probability": _probability,
    "priority": _priority,
    "unrecursive": _unrecursive,
    "no_recursive_search": _no_recursive_search,
}
