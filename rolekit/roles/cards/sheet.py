"""One view of every dialect: a card's fields as the programs mean them, whatever types a file uses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rolekit.roles.cards.card import Card

_PYGMALION = {
    "char_name": "name",
    "char_persona": "description",
    "world_scenario": "scenario",
    "char_greeting": "first_mes",
    "example_dialogue": "mes_example",
}
_YAML = {"context": "description", "greeting": "first_mes", "example_dialogue": "mes_example"}
_SPEAKERS: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system", "user": "user", "assistant": "assistant", "0": "system", "1": "user", "2": "assistant",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DepthPrompt:
    """A text that stands so many messages before the end of every prompt."""

    text: str
    depth: int = 4
    speaker: Literal["system", "user", "assistant"] = "system"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A card's fields, all of them texts and lists of texts; macros are still in them."""

    name: str
    nickname: str = ""
    """Replaces the name in {{char}} (V3)."""
    description: str = ""
    personality: str = ""
    scenario: str = ""
    first_mes: str = ""
    mes_example: str = ""
    system_prompt: str = ""
    post_history_instructions: str = ""
    alternate_greetings: tuple[str, ...] = ()
    group_only_greetings: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    creator: str = ""
    creator_notes: str = ""
    character_version: str = ""
    depth_prompt: DepthPrompt | None = None
    talkativeness: float = 0.5
    book: Mapping[str, Any] | None = None
    """The embedded lorebook as it stands."""


def sheet_of(card: Card) -> Sheet:
    """The fields of a card. Wrong types are read for what they must mean: a number as text, a text as a list."""
    data = _renamed(card)
    extensions = _mapping(data.get("extensions"))
    book = data.get("character_book")
    return Sheet(
        name=text_of(data.get("name")).strip(),
        nickname=text_of(data.get("nickname")).strip(),
        description=text_of(data.get("description")),
        personality=text_of(data.get("personality")),
        scenario=text_of(data.get("scenario")),
        first_mes=text_of(data.get("first_mes")),
        mes_example=text_of(data.get("mes_example")),
        system_prompt=text_of(data.get("system_prompt")),
        post_history_instructions=text_of(data.get("post_history_instructions")),
        alternate_greetings=texts_of(data.get("alternate_greetings")),
        group_only_greetings=texts_of(data.get("group_only_greetings")),
        tags=texts_of(data.get("tags"), split=True),
        creator=text_of(data.get("creator")),
        creator_notes=text_of(data.get("creator_notes") or card.payload.get("creatorcomment")),
        character_version=text_of(data.get("character_version")),
        depth_prompt=_depth_prompt(extensions.get("depth_prompt")),
        talkativeness=_share(extensions.get("talkativeness", card.payload.get("talkativeness"))),
        book=book if isinstance(book, dict) and book else None,
    )


def text_of(value: object) -> str:
    """A value as the text it stands for; nothing, and what can be no text, is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    return ""


def texts_of(value: object, *, split: bool = False) -> tuple[str, ...]:
    """A value as a list of texts; a single text counts as one, or as several between commas where split."""
    if isinstance(value, str):
        parts = value.split(",") if split else [value]
        return tuple(part.strip() if split else part for part in parts if part.strip())
    if isinstance(value, (list, tuple)):
        return tuple(text for item in value if not isinstance(item, list) and (text := text_of(item)).strip())
    return ()


def number_of(value: object, default: float) -> float:
    """A value as a finite number: "4" is 4, an empty text or nonsense is the default."""
    if isinstance(value, bool):
        return float(value)
    try:
        number = float(value) if isinstance(value, (int, float, str)) else default
    except (ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default


def example_blocks(text: str) -> tuple[str, ...]:
    """The example dialogues of a card, cut at `<START>` (any case); one block where it has none."""
    blocks = re.split(r"(?im)^[ \t]*<start>[ \t]*|<START>", text.replace("\r\n", "\n"))
    return tuple(block.strip("\n") for block in blocks if block.strip())


def _renamed(card: Card) -> Mapping[str, Any]:
    """The card's data under V2's names."""
    data = card.data
    names = {"pygmalion": _PYGMALION, "yaml": _YAML}.get(card.dialect)
    if names is None:
        return data
    return {names.get(key, key): value for key, value in data.items()}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _depth_prompt(value: object) -> DepthPrompt | None:
    parts = _mapping(value)
    text = text_of(parts.get("prompt"))
    if not text.strip():
        return None
    depth = int(min(max(number_of(parts.get("depth"), 4), 0), 1000))
    return DepthPrompt(text, depth, _SPEAKERS.get(text_of(parts.get("role")).lower(), "system"))


def _share(value: object) -> float:
    return min(max(number_of(value, 0.5), 0.0), 1.0)
