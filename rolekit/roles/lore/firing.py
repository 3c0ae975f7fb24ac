"""Which lorebook entries fire at one message of a chat: keys, conditions, recursion, groups, chance and budget.

The semantics are SillyTavern's (world info) with V3's decorators. A call is a pure function of its arguments: what
fired before comes from the branch that is being written, so swipes and deleted messages need no bookkeeping.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from rolekit.roles.lore.book import Book, Logic, LoreEntry
from rolekit.roles.lore.keys import MAX_PATTERNS, PatternTooSlow, find_key, is_pattern

_MAX_STEPS = 16
"""Rounds of entries that fire entries."""


@dataclass(frozen=True, slots=True)
class Line:
    """A message as the scan sees it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class LoreOptions:
    """How books are read where they do not say so themselves."""

    scan_depth: int = 2
    budget_tokens: int = 1024
    recursive: bool = True
    max_steps: int = _MAX_STEPS
    case_sensitive: bool = False
    whole_words: bool = True
    include_names: bool = True


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the chat stands."""

    lines: Sequence[Line]
    """Oldest first; only the last few are looked at."""
    messages: int = 0
    """Messages said so far, the newest included; 0: as many as lines."""
    replies: int = 0
    """How many of them the role has said."""
    greeting: int | None = 0
    """Which greeting the chat began with."""
    fired: Mapping[str, int] = field(default_factory=dict)
    """Entry (`book/uid`) to the message count at which it last fired on this branch."""
    notes: str = ""
    """Texts beside the chat that are looked at too."""
    seed: str = ""
    """Decides draws and chances."""

    @property
    def count(self) -> int:
        """Messages said so far."""
        return self.messages or len(self.lines)


@dataclass(frozen=True, slots=True)
class Told:
    """An entry that fired."""

    entry: LoreEntry
    id: str
    """`book/uid`."""
    text: str
    why: str
    """For a person: `key "rooms"`, `always`, `still active`, …"""
    tokens: int
    sticky: bool = False
    """It goes on from an earlier message."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An entry that would have fired."""

    entry: LoreEntry
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one message brought up."""

    told: tuple[Told, ...]
    """In the order they are to stand: lowest order first."""
    cut: tuple[Cut, ...] = ()
    notices: tuple[str, ...] = ()


def fire(
    books: Sequence[Book],
    moment: Moment,
    options: LoreOptions,
    count_tokens: Callable[[str], int],
    expand: Callable[[str], str] = str,
) -> Outcome:
    """The entries of books that fire at moment; books earlier in the list are served first by the budget.

    count_tokens says what a text costs; expand fills in macros, in keys and contents.
    """
    scan = _Scan(moment, options, count_tokens, expand)
    for rank, book in enumerate(books):
        scan.add_book(book, rank)
    return scan.run()


@dataclass(slots=True)
class _Candidate:
    """An entry on its way."""

    entry: LoreEntry
    id: str
    book: Book
    rank: int
    why: str = ""
    sticky: bool = False
    score: int = 0

    def precedence(self) -> tuple[bool, int, float, float]:
        """Who is served first by the budget: kept entries, near books, high priority, high order."""
        entry = self.entry
        priority = entry.order if entry.priority is None else entry.priority
        return (entry.conditions.ignore_on_max_context, self.rank, -priority, -entry.order)


class _Scan:
    """One call of fire()."""

    def __init__(
        self,
        moment: Moment,
        options: LoreOptions,
        count_tokens: Callable[[str], int],
        expand: Callable[[str], str],
    ) -> None:
        self.moment, self.options, self.count_tokens, self.expand = moment, options, count_tokens, expand
        self.waiting: list[_Candidate] = []
        self.told: list[tuple[_Candidate, Told]] = []
        self.cut: list[Cut] = []
        self.notices: list[str] = []
        self.groups: set[str] = set()
        self.spent: dict[int, int] = {}
        self.recursed: list[str] = []
        self.patterns = 0
        self.slow: set[str] = set()
        self._texts: dict[tuple[int, int], tuple[str, str]] = {}

    def add_book(self, book: Book, rank: int) -> None:
        self.waiting += [_Candidate(entry, f"{book.name}/{entry.uid}", book, rank) for entry in book.entries]

    def run(self) -> Outcome:
        levels = sorted(
            {c.entry.recursion.delay_level for c in self.waiting if c.entry.recursion.delay_level}
        )
        level, recursing = 0, False
        for _ in range(max(1, min(self.options.max_steps, _MAX_STEPS))):
            found = [c for c in self.waiting if self._fires(c, recursing, level)]
            new = self._by_chance(self._one_of_each_group(found))
            complete = self._within_budget(new)
            gone = {candidate.id for candidate in found}
            self.waiting = [candidate for candidate in self.waiting if candidate.id not in gone]
            if not complete or not self.options.recursive:
                break
            if not new:
                levels = [other for other in levels if other > level]
                if not levels:
                    break
                level = levels.pop(0)
            recursing = True
        order = sorted(self.told, key=lambda pair: (pair[0].entry.order, -pair[0].rank))
        return Outcome(tuple(told for _, told in order), tuple(self.cut), tuple(self.notices))

    def _fires(self, candidate: _Candidate, recursing: bool, level: int) -> bool:
        """Whether an entry fires now; notes why on the candidate."""
        entry, conditions = candidate.entry, candidate.entry.conditions
        if not entry.enabled or not entry.content.strip():
            return False
        if recursing and (entry.recursion.exclude or candidate.book.recursive is False):
            return False
        if entry.recursion.delay_level > (level if recursing else 0):
            return False
        sticky, blocked = self._timed(candidate)
        if blocked or not self._conditions_hold(candidate):
            return False
        if conditions.activate:
            candidate.why = "asked for by the entry itself"
        elif conditions.dont_activate:
            return False
        elif entry.constant:
            candidate.why = "always"
        elif sticky:
            candidate.why, candidate.sticky = "still active", True
        else:
            key = self._key_found(candidate, recursing)
            if not key:
                return False
            candidate.why = f'key "{key}"' + (
                " in another entry" if self._only_recursed(candidate, key) else ""
            )
        return True

    def _timed(self, candidate: _Candidate) -> tuple[bool, bool]:
        """Whether an entry goes on from before, and whether it may not fire."""
        timing, conditions = candidate.entry.timing, candidate.entry.conditions
        count, last = self.moment.count, self.moment.fired.get(candidate.id)
        if count < timing.delay:
            return False, True
        if last is None:
            return False, False
        if conditions.never_after_match:
            return False, True
        if conditions.keep_after_match or count < last + timing.sticky:
            return True, False
        return False, count < last + timing.sticky + timing.cooldown

    def _conditions_hold(self, candidate: _Candidate) -> bool:
        conditions, replies = candidate.entry.conditions, self.moment.replies
        if conditions.only_after and replies < conditions.only_after:
            return False
        if conditions.only_every > 1 and replies % conditions.only_every:
            return False
        if conditions.greeting is not None and conditions.greeting != self.moment.greeting:
            return False
        if any(self._found(candidate, key, False) for key in conditions.exclude_keys):
            return False
        every = conditions.exclude_all_keys
        return not (every and all(self._found(candidate, key, False) for key in every))

    def _key_found(self, candidate: _Candidate, recursing: bool) -> str:
        """The primary key that fires the entry, with its secondary keys' consent; "" where none does."""
        entry = candidate.entry
        hits = [key for key in entry.keys if self._found(candidate, key, recursing)]
        if not hits:
            return ""
        candidate.score = len(hits)
        if not entry.selective or not entry.secondary_keys:
            return hits[0]
        secondary = [self._found(candidate, key, recursing) for key in entry.secondary_keys]
        agrees = {
            Logic.AND_ANY: any(secondary),
            Logic.NOT_ALL: not all(secondary),
            Logic.NOT_ANY: not any(secondary),
            Logic.AND_ALL: all(secondary),
        }[entry.logic]
        if entry.logic in (Logic.AND_ANY, Logic.AND_ALL):
            candidate.score += sum(secondary)
        return hits[0] if agrees else ""

    def _found(self, candidate: _Candidate, key: str, recursing: bool) -> bool:
        entry, options = candidate.entry, self.options
        key = self.expand(key)
        if key in self.slow:
            return False
        if is_pattern(key):
            self.patterns += 1
            if self.patterns > MAX_PATTERNS * _MAX_STEPS:
                return False
        text, folded = self._text(self._depth(candidate), recursing)
        try:
            return find_key(
                key,
                text,
                folded,
                case_sensitive=options.case_sensitive
                if entry.case_sensitive is None
                else entry.case_sensitive,
                whole_words=options.whole_words if entry.whole_words is None else entry.whole_words,
            )
        except PatternTooSlow:
            self.slow.add(key)
            self.notices.append(
                f"The pattern {key[:60]} of {entry.label} takes too long; it is switched off."
            )
            return False

    def _only_recursed(self, candidate: _Candidate, key: str) -> bool:
        return bool(self.recursed) and not self._found(candidate, key, False)

    def _depth(self, candidate: _Candidate) -> int:
        entry, book = candidate.entry, candidate.book
        chosen = entry.scan_depth if entry.scan_depth is not None else book.scan_depth
        return min(self.options.scan_depth if chosen is None else chosen, 1000)

    def _text(self, depth: int, recursing: bool) -> tuple[str, str]:
        """What keys are looked for in, newest message first, as it is and case-folded."""
        known = (depth, len(self.recursed) if recursing else 0)
        if known not in self._texts:
            lines = list(reversed(self.moment.lines[-depth:])) if depth else []
            names = self.options.include_names
            parts = [f"\x01{line.name}: {line.text}" if names else line.text for line in lines]
            parts += [self.moment.notes] if self.moment.notes else []
            parts += self.recursed if recursing else []
            text = "\n".join(parts)
            self._texts[known] = text, text.casefold()
        return self._texts[known]

    def _one_of_each_group(self, found: list[_Candidate]) -> list[_Candidate]:
        """Of the entries of an inclusion group the one that wins; an entry of several groups has to win each."""
        lost: set[str] = set()
        names = dict.fromkeys(name for c in found for name in c.entry.grouping.names)
        for name in names:
            members = [c for c in found if name in c.entry.grouping.names and c.id not in lost]
            winner = None if name in self.groups else self._winner(name, members)
            for member in members:
                if member is not winner:
                    lost.add(member.id)
                    self.cut.append(Cut(member.entry, f"another entry of the group {name} was told"))
        kept = [candidate for candidate in found if candidate.id not in lost]
        self.groups |= {name for candidate in kept for name in candidate.entry.grouping.names}
        return kept

    def _winner(self, name: str, members: list[_Candidate]) -> _Candidate | None:
        if not members:
            return None
        sticky = [member for member in members if member.sticky]
        members = sticky or members
        if any(member.entry.grouping.scoring for member in members):
            best = max(member.score for member in members)
            members = [m for m in members if m.score == best or not m.entry.grouping.scoring]
        overriding = [member for member in members if member.entry.grouping.override]
        if overriding:
            return max(overriding, key=lambda member: member.entry.order)
        weights = [max(member.entry.grouping.weight, 0) for member in members]
        source = self._drawn(f"group {name}")
        return source.choices(members, weights)[0] if sum(weights) else members[0]

    def _by_chance(self, found: list[_Candidate]) -> list[_Candidate]:
        kept = []
        for candidate in found:
            chance = candidate.entry.probability
            if candidate.sticky or self._drawn(candidate.id).uniform(0, 100) < chance or chance >= 100:
                kept.append(candidate)
            else:
                self.cut.append(Cut(candidate.entry, f"its chance of {chance:g} % did not come up"))
        return kept

    def _drawn(self, name: str) -> random.Random:
        digest = blake2b(f"{self.moment.seed}\0{name}".encode("utf-8", "replace"), digest_size=8).digest()
        return random.Random(int.from_bytes(digest))

    def _within_budget(self, found: list[_Candidate]) -> bool:
        """Tell what the budget allows, the most important first; False once something had to be cut."""
        full = False
        for candidate in sorted(found, key=_Candidate.precedence):
            text = self.expand(candidate.entry.content).strip()
            tokens = self.count_tokens(text) if text else 0
            own = candidate.book.token_budget
            over_own = own is not None and self.spent.get(candidate.rank, 0) + tokens > own
            if full or over_own or sum(self.spent.values()) + tokens > self.options.budget_tokens:
                full = True
                self.cut.append(Cut(candidate.entry, "the budget for lore was used up"))
                continue
            if not text or any(told.text == text for _, told in self.told):
                continue
            self.spent[candidate.rank] = self.spent.get(candidate.rank, 0) + tokens
            told = Told(candidate.entry, candidate.id, text, candidate.why, tokens, candidate.sticky)
            self.told.append((candidate, told))
            if not candidate.entry.recursion.prevent:
                self.recursed.append(text)
        return not full


def merged(fired: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Moment.fired of a branch: each entry's latest firing."""
    latest: dict[str, int] = {}
    for entry_id, count in fired:
        latest[entry_id] = max(count, latest.get(entry_id, 0))
    return latest
