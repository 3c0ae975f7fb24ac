"""What a person may ask about a chat in words: /why, /prompt, /note, /persona. Every face shows the same lines."""

from __future__ import annotations

import re

from rolekit.chat.personas import find_persona, load_personas
from rolekit.chat.session import Session
from rolekit.chat.state import Persona
from rolekit.errors import RolekitError
from rolekit.text import count, one_line, sanitize

_DEPTH = re.compile(r"@(\d{1,3})\s+(.+)", re.DOTALL)
_OFF = ("off", "none", "-")


def why_lines(session: Session) -> list[str]:
    """What stood beside the user's newest message and why, and what was kept out; safe to print."""
    woven = session.why()
    if woven is None:
        raise RolekitError("Nothing has been said yet.", "Say something first.")
    titles = {"lore": "lore", "note": "reminder", "recall": "remembered"}
    rows = [
        f"{titles[inset.kind]}: {one_line(inset.label, 60)} · {one_line(inset.why, 80)} · {count(inset.tokens)} tokens"
        for inset in woven.insets
    ]
    rows += [f"not told: {one_line(label, 60)} · {one_line(reason, 80)}" for label, reason in woven.cut]
    rows += [f"notice: {one_line(text, 200)}" for text in (*woven.notices, *session.notices)]
    return rows or ["nothing fired and nothing was remembered"]


def prompt_lines(session: Session) -> list[str]:
    """The next reply's prompt, block by block: where each comes from, its tokens, its text; safe to print."""
    shown = session.prompt()
    rows = []
    for part in shown.parts:
        rows.append(f"── {part.source} · {count(part.tokens)} tokens ──")
        rows += sanitize(part.text).splitlines()
    rows.append(f"── {count(sum(part.tokens for part in shown.parts))} tokens in all ──")
    if shown.exact:
        rows += ["── as the model reads it ──", *sanitize(shown.exact).splitlines()]
    return rows


def note_command(session: Session, argument: str) -> str:
    """Carry out /note: TEXT, @DEPTH TEXT, off, or nothing to see it. What to tell the user."""
    note = session.state.note
    if not argument:
        if not note.text:
            return "there is no author's note; /note TEXT gives one, /note @2 TEXT keeps it within 2 messages of the end"
        return f"author's note, within {note.depth} messages of the end: {one_line(note.text, 200)}"
    if argument.strip().casefold() in _OFF:
        session.set_note("")
        return "the author's note is gone from the next message on"
    found = _DEPTH.fullmatch(argument)
    depth, text = (int(found[1]), found[2]) if found else (4, argument)
    session.set_note(text, depth)
    return f"noted, within {depth} messages of the end from the next message on"


def persona_command(session: Session, argument: str) -> str:
    """Carry out /persona: NAME, off, or nothing to list them. What to tell the user."""
    if not argument:
        known = ", ".join(one_line(persona.name) for persona in load_personas())
        return f"you are {one_line(session.user)}; personas: {known or 'none yet'}"
    if argument.strip().casefold() in _OFF:
        session.set_persona(Persona())
        return f"you are {one_line(session.user)} again"
    persona = find_persona(argument)
    session.set_persona(persona)
    return f"you are {one_line(persona.name)} from here on"
