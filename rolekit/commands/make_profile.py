"""The first step of `rolekit make`: who the character is, as far as the texts show.

By rules; where a model was named with --model it adds facts that rest on quotes, and a description, marked as generated.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rolekit.commands.make_generator import cancelled_by_ctrl_c, open_journalled
from rolekit.commands.make_plan import Making, digest_of_file
from rolekit.commands.progress import advise, progress
from rolekit.text import one_line

if TYPE_CHECKING:
    from rolekit.roles.role import Role
    from rolekit.synthesis.findings import Profile
    from rolekit.synthesis.profile import Reading

FOLDER = "profile"


def inputs(making: Making) -> dict[str, Any]:
    """What the profile rests on."""
    wishes = making.wishes
    return {
        "the texts": [digest_of_file(path) for path in wishes.texts],
        "the role's name": [wishes.role, *wishes.aliases],
        "the language": wishes.language,
        "who writes": wishes.model,
    }


def carry_out(making: Making) -> dict[str, Any]:
    """Find the character, and put its role among the user's own where none of that name is there."""
    from rolekit.synthesis.profile import profile_of, read, save_profile

    wishes = making.wishes
    reading = read(wishes.texts, wishes.role, wishes.aliases, wishes.language)
    found, spent = profile_of(reading), dict[str, Any]()
    if wishes.model:
        found, spent = asyncio.run(_enriched(making, found, reading))
    command = f'rolekit make --role "{one_line(wishes.role)}"'
    saved = save_profile(found, reading, making.folder / FOLDER, command)
    if saved.library_file is None:
        advise(f"{one_line(str(making.role_file()), 300)} is there already and is used as it is.")
    unknown = found.speeches.by_rule.get("unknown", 0)
    return {
        "made": [f"{FOLDER}/segments.jsonl", f"{FOLDER}/dialogue.jsonl", f"{FOLDER}/role.toml"],
        "segments": found.segments,
        "speeches": found.speeches.total,
        "speeches_unknown": unknown,
        "facts": len(found.facts),
        "catchphrases": len(found.catchphrases),
        "examples": len(found.examples),
        **spent,
    }


async def _enriched(making: Making, found: Profile, reading: Reading) -> tuple[Profile, dict[str, Any]]:
    """The profile with what the model adds, and what that cost. The rows' journal and budget are used: there is one cap.

    Raises RolekitError at a cap or where no more answers come; KeyboardInterrupt after Ctrl+C.
    """
    from rolekit.synthesis.enriching import enrich

    generator = open_journalled(making)
    before = generator.budget.spent_usd, generator.budget.requests
    try:
        with progress() as show, cancelled_by_ctrl_c() as cancel:
            enriched = await enrich(found, reading, generator, show, cancel)
        if cancel.is_set():
            raise KeyboardInterrupt
        spent = {
            "usd": generator.budget.spent_usd - before[0], "requests": generator.budget.requests - before[1],
        }  # fmt: skip
    finally:
        await generator.close()
    for reason, number in enriched.dropped.items():
        advise(f"{number} generated facts were not taken: {reason}")
    if enriched.unanswered:
        advise(
            f"{enriched.unanswered} requests for the profile got no answer that can be used; the rules stand there."
        )
    return enriched.profile, spent


def sketched(making: Making) -> tuple[Role, Profile, Reading]:
    """What the profile would be by the rules, for an estimate; nothing is written."""
    from rolekit.errors import RolekitError
    from rolekit.roles.toml import parse_role
    from rolekit.synthesis.profile import profile_of, read
    from rolekit.synthesis.sheet import sheet

    wishes = making.wishes
    reading = read(wishes.texts, wishes.role, wishes.aliases, wishes.language)
    found = profile_of(reading)
    try:
        return making.role(), found, reading
    except RolekitError:
        text = sheet(found, "rolekit make")
        return parse_role(text, making.folder / FOLDER / "role.toml"), found, reading
