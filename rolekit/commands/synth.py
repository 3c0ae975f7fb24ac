"""`rolekit synth`: a character's profile and training rows out of a text."""

from __future__ import annotations

from rolekit.commands.lazy import lazy_app

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "profile": ("rolekit.commands.synth_profile", "profile"),
}
"""Name: the module and its function. A function's first docstring line is its help."""

app = lazy_app(SUBCOMMANDS, "Make a profile of a character in a text, and training rows of it.")
