"""A lorebook and its entries, whatever program wrote them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from rolekit.messages import Speaker

Place = Literal[
    "before", "after", "note_top", "note_bottom", "depth", "examples_before", "examples_after", "outlet"
]
PLACES: tuple[Place, ...] = (
    "before", "after", "note_top", "note_bottom", "depth", "examples_before", "examples_after", "outlet",
)  # fmt: skip
"""By SillyTavern's numbers, 0 to 7."""


class Logic(IntEnum):
    """How secondary keys decide once a primary key is found (SillyTavern's selectiveLogic)."""

    AND_ANY = 0
    NOT_ALL = 1
    NOT_ANY = 2
    AND_ALL = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Effects over time, counted in messages; 0 is none."""

    sticky: int = 0
    """Stays active so many messages after it fired."""
    cooldown: int = 0
    """Cannot fire for so many messages after that."""
    delay: int = 0
    """Cannot fire before the chat has so many messages."""


@dataclass(frozen=True, slots=True)
class Recursion:
    """How an entry takes part when entries fire entries."""

    exclude: bool = False
    """Is not fired by other entries' texts."""
    prevent: bool = False
    """Its own text fires nothing."""
    delay_level: int = 0
    """Only other entries' texts fire it, from this level on; 0: anything does."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Of the entries of one inclusion group at most one is told."""

    names: tuple[str, ...] = ()
    override: bool = False
    """The highest order wins, not a draw."""
    weight: int = 100
    scoring: bool = False
    """Those that matched the most keys stay in the draw."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What V3 decorators ask for besides keys."""

    activate: bool = False
    dont_activate: bool = False
    only_after: int = 0
    """Assistant messages that must have been said."""
    only_every: int = 0
    greeting: int | None = None
    """Only in chats that began with this greeting; 0 is the first."""
    exclude_keys: tuple[str, ...] = ()
    exclude_all_keys: tuple[str, ...] = ()
    keep_after_match: bool = False
    """Once fired, always active."""
    never_after_match: bool = False
    """Fires once in a chat."""
    ignore_on_max_context: bool = False
    """The first to go when the budget is short."""


@dataclass(frozen=True, slots=True)
class LoreEntry:
    """One thing that the world knows."""

    uid: str
    """Names the entry in its book; kept with the chat when it fires."""
    content: str
    """What the model is told; macros are still in it, decorators are not."""
    keys: tuple[str, ...] = ()
    secondary_keys: tuple[str, ...] = ()
    name: str = ""
    enabled: bool = True
    constant: bool = False
    """Always told; keys do not matter."""
    selective: bool = False
    """The secondary keys count."""
    logic: Logic = Logic.AND_ANY
    order: int = 100
    """Higher stands nearer the end, and is tried first for the budget."""
    priority: int | None = None
    """V2's own: the lowest goes first when the budget is short."""
    probability: float = 100.0
    """Percent."""
    place: Place = "after"
    depth: int = 4
    speaker: Speaker = "system"
    scan_depth: int | None = None
    """Messages to look for keys in; None: the book's."""
    case_sensitive: bool | None = None
    whole_words: bool | None = None
    timing: Timing = Timing()
    recursion: Recursion = Recursion()
    grouping: Grouping = Grouping()
    conditions: Conditions = Conditions()

    @property
    def label(self) -> str:
        """What a person calls the entry: its name, else its first key."""
        return self.name or (self.keys[0] if self.keys else f"entry {self.uid}")


@dataclass(frozen=True, slots=True)
class Book:
    """A lorebook: entries, and how it wants to be read; None leaves that to the application."""

    name: str
    entries: tuple[LoreEntry, ...]
    scan_depth: int | None = None
    token_budget: int | None = None
    recursive: bool | None = None
    notices: tuple[str, ...] = field(default=())
    """What had to be guessed or left out while reading, one sentence each."""
