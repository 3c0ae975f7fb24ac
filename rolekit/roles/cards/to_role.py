"""A card as a Role: every field that speaks to the model finds its place; the card itself stays the original."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rolekit.errors import RolekitError
from rolekit.roles.cards.card import Card
from rolekit.roles.cards.sheet import Sheet, example_blocks, sheet_of
from rolekit.roles.language import guess_language
from rolekit.roles.role import Example, Note, Role
from rolekit.text import one_line, sanitize

_MOST = 1000
_USER = re.compile(r"\{\{\s*user\s*\}\}|<user>", re.IGNORECASE)
_CHAR = re.compile(r"\{\{\s*char\s*\}\}|<(?:bot|char)>", re.IGNORECASE)
_PLACEHOLDER_TURN = "…"
"""What the user says before an example in which the character speaks first."""


@dataclass(frozen=True, slots=True)
class Made:
    """A role made of a card, and what was done with it that a person should know."""

    role: Role
    notices: tuple[str, ...] = ()


def role_of(card: Card) -> Made:
    """The role a card describes. Macros stay in its texts. Raises RolekitError when the card describes nobody."""
    sheet = sheet_of(card)
    notices: list[str] = []
    name = one_line(sheet.nickname or sheet.name, 200)
    if not name:
        name = one_line(card.origin.stem, 200) or "Nameless"
        notices.append(f"The card has no name; the role is called {name} after its file.")
    description, personality = _clean(sheet.description), _clean(sheet.personality)
    if not description:
        description, personality = personality or _clean(sheet.scenario) or _clean(sheet.first_mes), ""
    if not description:
        raise RolekitError(
            f"The card {one_line(card.origin.name)} says nothing about {name}: no description, no greeting.",
            "Fill it in where it was made, or write a role: `rolekit roles new NAME`.",
        )
    pairs, rest = _examples(sheet)
    greeting, *others = [*filter(None, map(_clean, (sheet.first_mes, *sheet.alternate_greetings))), ""]
    role = Role(
        name=name,
        aliases=_unique([sheet.name] if sheet.nickname and sheet.name != sheet.nickname else []),
        language=guess_language(f"{description}\n{sheet.first_mes}"),
        tags=_unique(sheet.tags),
        origin=_origin(sheet),
        description=description,
        personality=personality,
        scenario=_clean(sheet.scenario),
        greeting=greeting,
        alternate_greetings=_unique(other for other in others if other != greeting),
        examples=pairs,
        example_text=rest,
        system_prompt=_clean(sheet.system_prompt),
        post_history=_clean(sheet.post_history_instructions),
        notes=_notes(sheet),
        talkativeness=sheet.talkativeness,
    )
    return Made(role, tuple(notices))


def _clean(text: str) -> str:
    return sanitize(text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    """Texts that are not blank, each once, whatever its case."""
    found: dict[str, str] = {}
    for text in map(_clean, texts):
        if text:
            found.setdefault(" ".join(text.casefold().split()), text)
    return tuple(found.values())[:_MOST]


def _origin(sheet: Sheet) -> str:
    parts = ["A character card", f"by {one_line(sheet.creator)}" if sheet.creator.strip() else ""]
    version = f"version {one_line(sheet.character_version, 40)}" if sheet.character_version.strip() else ""
    return " ".join(filter(None, [*parts, version]))


def _notes(sheet: Sheet) -> tuple[Note, ...]:
    prompt = sheet.depth_prompt
    return (Note(text=_clean(prompt.text), depth=prompt.depth, speaker=prompt.speaker),) if prompt else ()


def _examples(sheet: Sheet) -> tuple[tuple[Example, ...], str]:
    """The example dialogue as pairs; blocks that nobody's name cuts into turns stay as text."""
    pairs: dict[str, Example] = {}
    rest: list[str] = []
    for block in example_blocks(_clean(sheet.mes_example)):
        found = [Example(user=asked, reply=said) for asked, said in _pairs(_turns(block, sheet))]
        keys = [" ".join(pair.user.casefold().split()) for pair in found]
        placeholder = [key == _PLACEHOLDER_TURN for key in keys]
        if not found or any(placeholder) or set(keys) & pairs.keys() or len(set(keys)) < len(keys):
            rest.append(block)
        else:
            pairs.update(zip(keys, found, strict=True))
    return tuple(pairs.values())[:_MOST], "\n\n".join(rest)


def _turns(block: str, sheet: Sheet) -> Iterator[tuple[str, str]]:
    """Who ("user" or "char") says what: a line that begins with a name and a colon begins a turn."""
    own = "|".join(re.escape(name) for name in {sheet.name, sheet.nickname} if name.strip()) or "(?!)"
    heading = re.compile(
        rf"^[ \t]*(?:(?P<user>{_USER.pattern})|(?P<char>{_CHAR.pattern}|{own}))[ \t]*[:：][ \t]*",
        re.IGNORECASE,
    )
    speaker, lines = "", list[str]()
    for line in block.split("\n"):
        found = heading.match(line)
        if found:
            if speaker:
                yield speaker, "\n".join(lines).strip()
            speaker, lines = ("user" if found["user"] else "char"), [line[found.end() :]]
        elif speaker or line.strip():
            speaker = speaker or "nobody"
            lines.append(line)
    if speaker:
        yield speaker, "\n".join(lines).strip()


def _pairs(turns: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Turns as (user, char) pairs, several of one speaker joined; nothing where somebody else speaks in between."""
    merged: list[tuple[str, list[str]]] = []
    for speaker, text in turns:
        if speaker == "nobody":
            return []
        if merged and merged[-1][0] == speaker:
            merged[-1][1].append(text)
        else:
            merged.append((speaker, [text]))
    flat = [(speaker, "\n".join(filter(None, texts))) for speaker, texts in merged]
    if flat and flat[0][0] == "char":
        flat.insert(0, ("user", _PLACEHOLDER_TURN))
    if len(flat) % 2 or not all(text for _, text in flat):
        return []
    return [(flat[at][1], flat[at + 1][1]) for at in range(0, len(flat), 2)]
