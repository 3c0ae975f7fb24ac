"""What a person chose for a chat, whichever face it shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from rolekit.chat.moderation import Moderation
from rolekit.chat.state import Persona
from rolekit.messages import Sampling


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Choices that hold for every reply of a chat."""

    user: str = "You"
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    """None draws a new seed for each conversation; a number makes replies repeatable."""
    max_tokens: int = 0
    """Length limit of a reply in tokens; 0 means what the context leaves."""
    persona: Persona = field(default_factory=Persona)
    """Who the user is in new chats."""
    guard: bool = True
    """Try once more when a reply breaks character, speaks for the user, repeats itself or is empty."""
    memory: bool = True
    """Sum up what is folded out of the context, and recall it when the talk turns to it."""
    moderation: Moderation | None = None
    """The user's own rules for what is said to a role and by it; None, the default, moderates nothing."""
