"""What a profile is made of: every finding says where it stands in a source, or that a model wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["quoted", "generated"]
"""quoted: stands word for word in a source. generated: a model wrote it, resting on a quote."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a source, from 1."""

    source: str
    line: int

    def __str__(self) -> str:
        """FILE:LINE."""
        return f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is so about the character."""

    fact: str
    """A sentence said to the role; for a quoted one, the quote and who says it."""
    segment: str
    """The id of the segment it rests on."""
    quote: str
    """The words in that segment that it rests on."""
    place: Place
    origin: Origin


@dataclass(frozen=True, slots=True)
class Catchphrase:
    """Words that the character says again and again, and others do not."""

    phrase: str
    times: int
    """In how many utterances of the character it stands."""
    times_others: int
    """In how many of everybody else's."""
    places: tuple[Place, ...]
    """Where, at most the first five."""


@dataclass(frozen=True, slots=True)
class ExamplePair:
    """What was said to the character, and the answer; both word for word."""

    asked: str
    asker: str
    """Empty where it is not known who spoke."""
    answer: str
    place: Place
    segment: str


@dataclass(frozen=True, slots=True)
class Speeches:
    """How well the speakers of the texts were found."""

    total: int
    by_rule: dict[str, int]
    """How many by each rule of `turns.Rule`; `unknown` counts those nobody was found for."""
    mentions: int
    """Quotations that are no speech."""
    unknown: tuple[str, ...]
    """Where the unknown ones stand, at most the first hundred."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Who the character is, as far as the texts show; `profile.make_profile` makes it and saves it in a run's folder."""

    name: str
    aliases: tuple[str, ...]
    language: str
    kinds: dict[str, str]
    """What kind of text each source was read as."""
    description: str
    description_origin: Origin | Literal["measured"]
    """measured: put together by rules out of counts and quotes; no model wrote it."""
    catchphrases: tuple[Catchphrase, ...]
    facts: tuple[Fact, ...]
    examples: tuple[ExamplePair, ...]
    speakers: dict[str, int]
    """How many speeches each person of the texts has, most first."""
    speeches: Speeches
    segments: int
    generator: str = ""
    """Which model wrote what is marked as generated; empty where none did."""
