"""The first step of `rolekit make`: who the character is, as far as the texts show. Rules alone: no model, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rolekit.commands.make_plan import Making, digest_of_file
from rolekit.commands.progress import advise
from rolekit.text import one_line

if TYPE_CHECKING:
    from rolekit.roles.role import Role
    from rolekit.synthesis.segments import Segment

FOLDER = "profile"


def inputs(making: Making) -> dict[str, Any]:
    """What the profile rests on."""
    wishes = making.wishes
    return {
        "the texts": [digest_of_file(path) for path in wishes.texts],
        "the role's name": [wishes.role, *wishes.aliases],
        "the language": wishes.language,
    }


def carry_out(making: Making) -> dict[str, Any]:
    """Find the character, and put its role among the user's own where none of that name is there."""
    from rolekit.synthesis.profile import profile_of, read, save_profile

    wishes = making.wishes
    reading = read(wishes.texts, wishes.role, wishes.aliases, wishes.language)
    found = profile_of(reading)
    command = f'rolekit make --role "{one_line(wishes.role)}"'
    saved = save_profile(found, reading, making.folder / FOLDER, command)
    if saved.library_file is None:
        advise(f"{one_line(str(making.role_file()), 300)} is there already and is used as it is.")
    unknown = found.speeches.by_rule.get("unknown", 0)
    return {
        "made": [f"{FOLDER}/segments.jsonl", f"{FOLDER}/role.toml"],
        "segments": found.segments,
        "speeches": found.speeches.total,
        "speeches_unknown": unknown,
        "facts": len(found.facts),
        "catchphrases": len(found.catchphrases),
        "examples": len(found.examples),
    }


def sketched(making: Making) -> tuple[Role, tuple[Segment, ...]]:
    """What the profile would be, for an estimate; nothing is written."""
    from rolekit.errors import RolekitError
    from rolekit.roles.toml import parse_role
    from rolekit.synthesis.profile import profile_of, read
    from rolekit.synthesis.sheet import sheet

    wishes = making.wishes
    reading = read(wishes.texts, wishes.role, wishes.aliases, wishes.language)
    try:
        return making.role(), reading.segments
    except RolekitError:
        text = sheet(profile_of(reading), "rolekit make")
        return parse_role(text, making.folder / FOLDER / "role.toml"), reading.segments
