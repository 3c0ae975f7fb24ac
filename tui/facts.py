"""What the widgets tell each other: facts, in the past tense."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message


@dataclass
class RoleChosen(Message):
    """Somebody wants to talk to a role; new asks for a fresh conversation."""

    slug: str
    new: bool = False
    opener: str = ""
    """Said at once."""


@dataclass
class RoomChosen(Message):
    """Somebody wants to talk to several roles at once; new asks for a fresh conversation."""

    slugs: tuple[str, ...]
    new: bool = False


@dataclass
class ConversationChosen(Message):
    """Somebody wants to go on with a conversation."""

    conversation_id: str


@dataclass
class ModelWanted(Message):
    """Somebody asked for another model, or for the same one again (empty reference)."""

    reference: str = ""


@dataclass
class Submitted(Message):
    """A message or command was sent from the composer."""

    text: str


@dataclass
class Swiped(Message):
    """Another version was asked for: -1 the one before, 1 the next."""

    step: int


class EditAsked(Message):
    """The last message is to be edited."""


@dataclass
class Scrolled(Message):
    """The transcript is to be moved: page_up, page_down, home or end."""

    where: str


@dataclass
class PasteRefused(Message):
    """A paste was too long for a message."""

    characters: int


@dataclass
class OpenerChosen(Message):
    """One of the suggested openings was picked, counted from 0."""

    number: int


class Left(Message):
    """The reader turned away from a panel, back to the composer."""
