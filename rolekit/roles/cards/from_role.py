"""A Role as a card: a new V3 card, or the original with only what the person changed put into it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rolekit.roles.cards.card import Card
from rolekit.roles.cards.to_role import role_of
from rolekit.roles.role import Role


def card_of(role: Role, original: Card | None) -> Card:
    """The card of a role.

    With an original (the card the role was made of) every key of it stays, and a field is written anew only where
    the role no longer says what the original does. Without one, facts and catchphrases go into the description.
    """
    if original is None:
        data: dict[str, Any] = {"name": role.name, **_fields(role)}
        data |= {
            "alternate_greetings": list(role.alternate_greetings),
            "tags": list(role.tags),
            "creator": "",
            "character_version": "",
            "creator_notes": role.origin,
        }
        data |= {"group_only_greetings": [], "extensions": _extensions(role)}
        payload = {"spec": "chara_card_v3", "spec_version": "3.0", "data": data}
        return Card(payload, "v3", "json", Path(f"{role.name}.json"))
    return _with(original, _changes(role_of(original).role, role))


def _fields(role: Role) -> dict[str, str]:
    """The text fields of a card, by V2's names."""
    return {
        "description": _description(role),
        "personality": role.personality,
        "scenario": role.scenario,
        "first_mes": role.greeting,
        "mes_example": _dialogue(role),
        "system_prompt": role.system_prompt,
        "post_history_instructions": role.post_history,
    }


def _description(role: Role) -> str:
    """Cards have no place for facts and catchphrases, so these stand behind the description."""
    parts = [role.description]
    if role.catchphrases:
        parts.append("Catchphrases: " + " ".join(f'"{phrase}"' for phrase in role.catchphrases))
    if role.facts:
        parts.append("\n".join(["Facts:", *(f"- {fact}" for fact in role.facts)]))
    return "\n\n".join(parts)


def _dialogue(role: Role) -> str:
    blocks = [f"{{{{user}}}}: {pair.user}\n{{{{char}}}}: {pair.reply}" for pair in role.examples]
    return "\n".join(f"<START>\n{block}" for block in [*blocks, *filter(None, [role.example_text])])


def _extensions(role: Role) -> dict[str, Any]:
    extensions: dict[str, Any] = {}
    if role.talkativeness != Role.model_fields["talkativeness"].default:
        extensions["talkativeness"] = role.talkativeness
    if role.notes:
        note = role.notes[0]
        extensions["depth_prompt"] = {"prompt": note.text, "depth": note.depth, "role": note.speaker}
    return extensions


def _changes(before: Role, after: Role) -> dict[str, Any]:
    """The card fields in which two roles differ, with their new values."""
    old, new = _fields(before), _fields(after)
    changed: dict[str, Any] = {key: new[key] for key in new if new[key] != old[key]}
    if before.name != after.name:
        changed["name"] = after.name
    for key in ("alternate_greetings", "tags"):
        if getattr(before, key) != getattr(after, key):
            changed[key] = list(getattr(after, key))
    if (extensions := _extensions(after)) != _extensions(before):
        changed["extensions"] = extensions
    return changed


def _with(card: Card, changed: Mapping[str, Any]) -> Card:
    if not changed:
        return card
    from rolekit.roles.cards.writing import payload_of

    version = card.dialect if card.dialect in ("v2", "v3") else "v2"
    payload = payload_of(card, "v3" if version == "v3" else "v2")
    data = payload["data"]
    for key, value in changed.items():
        if key == "extensions":
            own = data.get("extensions")
            data[key] = {**(copy.deepcopy(own) if isinstance(own, dict) else {}), **value}
        else:
            data[key] = value
    if "name" in changed and data.get("nickname"):
        data["nickname"] = changed["name"]
    return Card(
        payload, "v3" if version == "v3" else "v2", card.container, card.origin, card.assets, card.extra_files,
        card.image, card.notices,
    )  # fmt: skip
