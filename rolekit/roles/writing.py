"""Writing a role down again: TOML that a person can go on editing."""

from __future__ import annotations

from collections.abc import Sequence

import tomlkit
from tomlkit.items import AoT, Array, String, Table

from rolekit.roles.role import Example, Note, Role

_LONG = 100
_COMMENTS = {
    "aliases": "What else somebody might type to find the role.",
    "language": "The language the role speaks.",
    "tags": "Words to search by.",
    "origin": "Where the role comes from and why its words may be used; shown to people, never to the model.",
    "sources": "Where the facts can be checked.",
    "description": "Who this is, said to the role; the model reads it word for word.",
    "personality": "The character's nature in a few words.",
    "scenario": "Where and when the conversation takes place.",
    "catchphrases": "Turns of phrase that make the voice.",
    "facts": "What the role knows about its own life, one sentence each.",
    "greeting": "The first thing the role says in a new chat.",
    "alternate_greetings": "Other first lines, offered as versions of the greeting.",
    "openers": "Things a user might begin with.",
    "example_text": "Example dialogue that does not come as pairs.",
    "system_prompt": "Replaces rolekit's own instruction on how to play; {{original}} stands for it.",
    "post_history": "Stands behind the chat, in front of every reply.",
    "card": "The character card this role was made from; its lorebook is used.",
    "lorebooks": "Lorebook files beside this one.",
}


def to_toml(role: Role) -> str:
    """A role as a commented TOML text; parse_role gives the same role back."""
    document = tomlkit.document()
    document.add("name", _string(role.name))
    for key, comment in _COMMENTS.items():
        value = getattr(role, key)
        if not value:
            continue
        document.add(tomlkit.comment(comment))
        document.add(key, _string(value) if isinstance(value, str) else _array(value))
    if role.talkativeness != Role.model_fields["talkativeness"].default:
        document.add(tomlkit.comment("How readily the role speaks up in a group, 0 to 1."))
        document.add("talkativeness", tomlkit.item(role.talkativeness))
    if role.notes:
        document.add(tomlkit.nl())
        document.add(tomlkit.comment("Reminders, so many messages before the end of the chat."))
        document.add("notes", _note_tables(role.notes))
    if role.examples:
        document.add(tomlkit.nl())
        document.add(tomlkit.comment("Exchanges that show how the role talks."))
        document.add("examples", _tables(role.examples))
    return tomlkit.dumps(document)


def _string(text: str) -> String:
    return tomlkit.string(text, multiline="\n" in text and "\r" not in text)


def _array(items: Sequence[str]) -> Array:
    array = tomlkit.array().multiline(sum(map(len, items)) > _LONG)
    for item in items:
        array.append(_string(item))
    return array


def _note_tables(notes: Sequence[Note]) -> AoT:
    tables = tomlkit.aot()
    for note in notes:
        table: Table = tomlkit.table()
        table.add("text", _string(note.text))
        table.add("depth", note.depth)
        table.add("speaker", note.speaker)
        tables.append(table)
    return tables


def _tables(examples: Sequence[Example]) -> AoT:
    tables = tomlkit.aot()
    for example in examples:
        table: Table = tomlkit.table()
        table.add("user", _string(example.user))
        table.add("reply", _string(example.reply))
        tables.append(table)
    return tables
