"""A role: who the model is to be, as a person writes it down."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Example(BaseModel):
    """One exchange that shows how the role talks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = Field(min_length=1)
    """What somebody says to the role."""
    reply: str = Field(min_length=1)
    """How the role answers."""


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
    catchphrases: tuple[str, ...] = ()
    """Turns of phrase that make the voice."""
    facts: tuple[str, ...] = ()
    """What the role knows about its own life, one sentence each."""
    greeting: str = ""
    """The first thing the role says in a new chat."""
    openers: tuple[str, ...] = ()
    """Things a user might begin with, shown where a chat is still empty."""
    examples: tuple[Example, ...] = ()
    """Exchanges that show the voice; they stand before the chat as turns."""
