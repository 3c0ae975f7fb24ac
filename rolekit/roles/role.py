"""A role: who the model is to be, as a person writes it down."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Example(BaseModel):
    """One exchange that shows how the role talks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = Field(min_length=1)
    """What somebody says to the role."""
    reply: str = Field(min_length=1)
    """How the role answers."""


class Note(BaseModel):
    """A text that stands so many messages before the end of every prompt, as an author's note does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1)
    """What the model is reminded of."""
    depth: int = Field(default=4, ge=0, le=1000)
    """How many messages stand behind it; 0 is the very end."""
    speaker: Literal["system", "user", "assistant"] = "system"
    """Whose words it is."""


class Role(BaseModel):
    """Name, voice, knowledge and manner of a character (RoleLLM §3: description, catchphrases, dialogues)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    """The full name, as the role would sign."""
    aliases: tuple[str, ...] = ()
    """Other names a person might type to find the role."""
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
    """BCP 47 tag of the language the role speaks."""
    tags: tuple[str, ...] = ()
    """Words to search by: era, trade, genre."""
    origin: str = ""
    """Where the role comes from, and under what licence its words may be used."""
    sources: tuple[str, ...] = ()
    """Where the facts can be checked."""
    description: str = Field(min_length=1)
    """Who this is, addressed to the role: begins with `You are …`."""
    personality: str = ""
    """The character's nature in a few words, where it stands apart from the description."""
    scenario: str = ""
    """Where and when the conversation takes place."""
    catchphrases: tuple[str, ...] = ()
    """Turns of phrase that make the voice."""
    facts: tuple[str, ...] = ()
    """What the role knows about its own life, one sentence each."""
    greeting: str = ""
    """The first thing the role says in a new chat."""
    alternate_greetings: tuple[str, ...] = ()
    """Other first lines; a new chat offers them as versions of the greeting."""
    openers: tuple[str, ...] = ()
    """Things a user might begin with, shown where a chat is still empty."""
    examples: tuple[Example, ...] = ()
    """Exchanges that show the voice; they stand before the chat as turns."""
    example_text: str = ""
    """Example dialogue that does not come as pairs; it stands in the role block as it is."""
    system_prompt: str = ""
    """Replaces rolekit's own instruction on how to play; {{original}} in it stands for that."""
    post_history: str = ""
    """Stands behind the chat, in front of every reply."""
    notes: tuple[Note, ...] = ()
    """Reminders at a depth of the chat."""
    talkativeness: float = Field(default=0.5, ge=0.0, le=1.0)
    """How readily the role speaks up in a group."""
    card: str = ""
    """The character card this role was made from, a file beside this one; its lorebook is used."""
    lorebooks: tuple[str, ...] = ()
    """Lorebook files beside this one."""
