"""`rolekit synth`: a character's profile and training rows out of a text."""

from __future__ import annotations

from rolekit.commands.lazy import lazy_app

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "profile": ("rolekit.commands.synth_profile", "profile"),
    "rolegpt": ("rolekit.commands.synth_rows", "rolegpt"),
    "context-instruct": ("rolekit.commands.synth_rows", "context_instruct"),
    "dialogues": ("rolekit.commands.synth_rows", "dialogues"),
    "export": ("rolekit.commands.synth_rows", "export"),
}
"""Name: the module and its function. A function's first docstring line is its help."""

app = lazy_app(SUBCOMMANDS, "Make a profile of a character in a text, and training rows of it.")
