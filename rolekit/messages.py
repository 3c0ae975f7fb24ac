"""The words every part shares: a message, how to sample, and what a backend gives back."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

Speaker = Literal["system", "user", "assistant"]
Block = Literal["role", "example", "greeting", "summary", "note", "turn"]
StopReason = Literal["end", "length", "speaks_for_user", "cancelled", "moderated"]


@dataclass(frozen=True, slots=True)
class Message:
    """One speaker's text, and which block of the prompt it belongs to."""

    speaker: Speaker
    text: str
    block: Block = "turn"
    token_ids: tuple[int, ...] = ()
    """The ids a model generated for this text, in its own vocabulary; empty means: tokenize the text."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Names and meaning are llama.cpp's; a neutral value switches a step off."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_tokens: int = 1024
    """How many of the latest tokens, prompt included, the penalties and DRY look at."""
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    grammar: str = ""
    """A GBNF grammar with the root rule `root`; empty means none."""


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides one reply."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    seed: int = 0
    max_tokens: int = 0
    """0 means as many as the context leaves."""
    stop_names: tuple[str, ...] = ()
    """A line that begins with one of these names and a colon ends the reply: the model speaks for the user."""
    role_names: tuple[str, ...] = ()
    """The role's own names: one that the model writes as a heading (`Name:`) is left out of the reply."""
    continue_last: bool = False
    """Go on with the last message (the assistant's) instead of answering it."""
    conversation: str = ""
    """Names the conversation's KV snapshot; empty keeps none."""
    cancel: threading.Event = field(default_factory=threading.Event)
    """Set it from anywhere to stop: within one token, in the middle of prefill too."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a reply cost. prompt_tokens = reused_tokens + evaluated_tokens."""

    prompt_tokens: int = 0
    reused_tokens: int = 0
    evaluated_tokens: int = 0
    generated_tokens: int = 0
    ttft_seconds: float = 0.0
    """From the request to the first token."""
    seconds: float = 0.0
    """From the request to the end."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the prompt has been evaluated, in tokens."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The next part of the reply's text: whole characters, no stop text, no thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The whole reply; always the last thing a stream yields, also after a cancel."""

    text: str
    token_ids: tuple[int, ...]
    """What was generated for text, without the end token; empty where the backend has no ids."""
    stop_reason: StopReason
    stats: Stats
    thinking: str = ""
    """What the model thought aloud, kept out of text and token_ids."""


Event = Progress | Piece | Reply


class Backend(Protocol):
    """Something that can answer: the in-process engine, an HTTP endpoint, or the scripted one."""

    @property
    def label(self) -> str:
        """A short name for status lines, such as `smollm2-135m Q4_1`."""
        ...

    @property
    def vocabulary(self) -> str:
        """Token ids are exchangeable between backends with the same value; empty means it has none."""
        ...

    @property
    def context_tokens(self) -> int:
        """How many tokens prompt and reply may take together; 0 means unknown."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> list[int]:
        """What each message adds to the prompt, scaffolding included; the sum is the prompt's length."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        """Progress while the prompt is read, then pieces, then exactly one Reply.

        Raises RolekitError when no reply can be made (a prompt longer than the context, a lost connection).
        """
        ...

    async def close(self) -> None:
        """Save what is worth keeping and release the model."""
        ...


@runtime_checkable
class SwapsAdapters(Protocol):
    """A backend whose adapters may change between replies; what was read under one set is not mixed with another's."""

    @property
    def adapters(self) -> tuple[tuple[Path, float], ...]:
        """The adapters in force, (path, scale) each."""
        ...

    @property
    def usual_adapters(self) -> tuple[tuple[Path, float], ...]:
        """Those that it was opened with."""
        ...

    def set_adapters(self, adapters: Sequence[tuple[Path, float]]) -> None:
        """Answer with these from the next request on. Raises RolekitError when one cannot be used."""
        ...


@runtime_checkable
class ShowsPrompt(Protocol):
    """A backend that knows the very text a model reads."""

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The prompt for these messages as text, control tokens by their names."""
        ...
