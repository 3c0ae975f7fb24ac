"""The trust sheet: what a stranger's card would put into prompts, shown before anybody talks to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rolekit.roles.cards.card import Card
from rolekit.roles.cards.sheet import Sheet, sheet_of, text_of
from rolekit.text import one_line, sanitize, size

_LINK = re.compile(r"https?://[^\s\"'<>)\]]+", re.IGNORECASE)
_MACRO = re.compile(
    r"\{\{\s*(setvar|addvar|incvar|decvar|setglobalvar|outlet|banned|hidden_key)\b", re.IGNORECASE
)
_REGEX_KEY = re.compile(r"^\s*/.+/[gimsuy]*\s*$", re.DOTALL)
_MOST_LINKS = 20


@dataclass(frozen=True, slots=True)
class TrustSheet:
    """What a card brings along that speaks to the model, or points out of this machine. Texts are safe to print."""

    name: str
    creator: str
    system_prompt: str
    """Replaces rolekit's own instruction; empty where the card has none."""
    post_history: str
    """Stands behind the chat in every prompt."""
    depth_prompt: str
    regexes: tuple[str, ...]
    """Lorebook keys and scripts that are patterns."""
    links: tuple[str, ...]
    """Addresses anywhere in the card. They are shown, and never fetched."""
    side_effects: tuple[str, ...]
    """Macros that would change state elsewhere; here they are left as text."""
    lore_entries: int
    constant_entries: int
    """Lorebook entries that are always in the prompt."""
    scripts: int
    """Scripts of other programs (regex scripts, triggers); kept in the file, never run."""
    assets: int
    asset_bytes: int
    hidden_characters: int
    """Control, direction and tag characters that a person would not see."""
    notices: tuple[str, ...]


def trust_sheet(card: Card) -> TrustSheet:
    """What the card would put into prompts, and what else a person might want to know first."""
    sheet = sheet_of(card)
    texts = list(_strings(card.payload))
    entries = book_entries(sheet)
    return TrustSheet(
        name=one_line(sheet.name or card.origin.stem),
        creator=one_line(sheet.creator),
        system_prompt=sanitize(sheet.system_prompt).strip(),
        post_history=sanitize(sheet.post_history_instructions).strip(),
        depth_prompt=sanitize(sheet.depth_prompt.text).strip() if sheet.depth_prompt else "",
        regexes=_regexes(entries),
        links=tuple(dict.fromkeys(one_line(link, 120) for text in texts for link in _LINK.findall(text)))[
            :_MOST_LINKS
        ],
        side_effects=tuple(sorted({found.lower() for text in texts for found in _MACRO.findall(text)})),
        lore_entries=len(entries),
        constant_entries=sum(entry.get("constant") is True for entry in entries),
        scripts=_scripts(card),
        assets=len(card.assets),
        asset_bytes=sum(asset.size for asset in card.assets.values()),
        hidden_characters=sum(_hidden(text) for text in texts),
        notices=tuple(one_line(notice, 300) for notice in card.notices),
    )


def lines_of(sheet: TrustSheet) -> list[str]:
    """The sheet as lines for a terminal: a heading, then one line a finding, long prompts in full below theirs."""
    rows = [f"{sheet.name}" + (f", by {sheet.creator}" if sheet.creator else "")]
    for title, text in (
        ("System prompt, instead of rolekit's own", sheet.system_prompt),
        ("Instructions behind the chat, in every prompt", sheet.post_history),
        ("Note inside the chat, in every prompt", sheet.depth_prompt),
    ):
        if text:
            rows += [f"  {title}:", *(f"    {line}" for line in text.splitlines())]
    rows += [f"  {line}" for line in _counts(sheet)]
    rows += [f"  Link (never opened): {link}" for link in sheet.links]
    rows += [f"  Pattern: {one_line(pattern, 100)}" for pattern in sheet.regexes]
    return rows + [f"  Note: {notice}" for notice in sheet.notices]


def _counts(sheet: TrustSheet) -> list[str]:
    rows = []
    if sheet.lore_entries:
        rows.append(
            f"Lorebook: {sheet.lore_entries} entries, {sheet.constant_entries} of them always in the prompt."
        )
    if sheet.assets:
        rows.append(f"Embedded files: {sheet.assets}, {size(sheet.asset_bytes)}.")
    if sheet.scripts:
        rows.append(f"Scripts of other programs: {sheet.scripts}; they are kept and never run.")
    if sheet.side_effects:
        rows.append(f"Macros that would change something: {', '.join(sheet.side_effects)}; they stay text.")
    if sheet.hidden_characters:
        rows.append(
            f"Invisible characters: {sheet.hidden_characters}; they are removed from prompts and screens."
        )
    return rows


def book_entries(sheet: Sheet) -> list[dict[str, Any]]:
    """The entries of the embedded lorebook, which some programs keep as a list and some by number."""
    entries: object = (sheet.book or {}).get("entries")
    rows = list(entries.values()) if isinstance(entries, dict) else entries
    return [entry for entry in rows if isinstance(entry, dict)] if isinstance(rows, list) else []


def _regexes(entries: list[dict[str, Any]]) -> tuple[str, ...]:
    found: list[str] = []
    for entry in entries:
        for field in ("keys", "secondary_keys"):
            keys = entry.get(field)
            found += [
                key for key in map(text_of, keys if isinstance(keys, list) else ()) if _REGEX_KEY.match(key)
            ]
    return tuple(dict.fromkeys(found))


def _scripts(card: Card) -> int:
    extensions = card.data.get("extensions")
    parts = extensions if isinstance(extensions, dict) else {}
    lists = [parts.get("regex_scripts")]
    risu = parts.get("risuai")
    if isinstance(risu, dict):
        lists += [risu.get("customScripts"), risu.get("triggerscript")]
    return sum(len(item) for item in lists if isinstance(item, list)) + ("module.risum" in card.extra_files)


def _hidden(text: str) -> int:
    plain = set(text) - set("\r\n\t")
    return sum(text.count(letter) for letter in plain if sanitize(letter) != letter)


def _strings(value: object) -> list[str]:
    """Every text in a payload, keys aside."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return found
