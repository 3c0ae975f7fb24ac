"""What a person may ask about a chat in words: /why, /prompt, /note, /persona. Every face shows the same lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rolekit.chat.insets import Woven
from rolekit.chat.moderation import decisions_of
from rolekit.chat.personas import find_persona, load_personas
from rolekit.chat.room import POLICIES
from rolekit.chat.seat import Seat
from rolekit.chat.session import Session
from rolekit.chat.state import Persona
from rolekit.chat.tree import Node
from rolekit.errors import RolekitError
from rolekit.roles.lore.editing import entry_line, open_books
from rolekit.roles.role import Role
from rolekit.text import count, one_line, sanitize

_DEPTH = re.compile(r"@(\d{1,3})\s+(.+)", re.DOTALL)
_OFF = ("off", "none", "-")


def why_lines(session: Session) -> list[str]:
    """What stood beside the newest message and why, and what was kept out; safe to print.

    In a room, for each role that has spoken.
    """
    if not any(node.speaker == "user" or node.stats for node in session.path):
        raise RolekitError("Nothing has been said yet.", "Say something first.")
    if session.room is None:
        return _why(session.why() or Woven()) + _moderated(session) + _notices(session)
    rows = []
    for seat in session.seats:
        rows += [f"── {one_line(seat.role.name, 60)} ──", *_why(session.why(seat.slug) or Woven())]
    return rows + _moderated(session) + _notices(session)


def _moderated(session: Session) -> list[str]:
    """What moderation decided since the user's newest message."""
    path = session.path
    mine = [number for number, node in enumerate(path) if node.speaker == "user"]
    recent = path[mine[-1] if mine else 0 :]
    return [f"moderation: {d.sentence}" for node in recent for d in decisions_of(node.extra) or ()]


def _why(woven: Woven) -> list[str]:
    titles = {"lore": "lore", "note": "reminder", "recall": "remembered"}
    rows = [
        f"{titles[inset.kind]}: {one_line(inset.label, 60)} · {one_line(inset.why, 80)} · {count(inset.tokens)} tokens"
        for inset in woven.insets
    ]
    rows += [f"not told: {one_line(label, 60)} · {one_line(reason, 80)}" for label, reason in woven.cut]
    rows += [f"notice: {one_line(text, 200)}" for text in woven.notices]
    return rows or ["nothing fired and nothing was remembered"]


def _notices(session: Session) -> list[str]:
    return [f"notice: {one_line(text, 200)}" for text in session.notices]


def memory_lines(session: Session) -> list[str]:
    """What the role remembers of folded turns, and what came up beside the newest message; safe to print.

    In a room, what each remembers.
    """
    rows = []
    for seat in session.seats:
        rows += [f"── {one_line(seat.role.name, 60)} ──"] if session.room else []
        rows += _summaries(seat, session.path)
    rows.append("── beside the last message ──")
    said = any(node.speaker == "user" or node.stats for node in session.path)
    return rows + (why_lines(session) if said else ["nothing has been said yet"])


def _summaries(seat: Seat, path: Sequence[Node]) -> list[str]:
    numbers = {node.id: number for number, node in enumerate(path, start=1)}
    shown = set(seat.state.shown)
    rows = []
    for summary in seat.state.summaries:
        if summary.first_node in numbers and summary.last_node in numbers:
            stretch = f"messages {numbers[summary.first_node]} to {numbers[summary.last_node]}"
        else:
            stretch = "another branch"
        where = "in the prompt" if summary in shown else "kept, not in the prompt"
        heading = f"── {stretch} · by {one_line(summary.model, 40)} · {where} ──"
        rows += [heading, *sanitize(summary.text).splitlines()]
    return rows or [
        "nothing has been summed up yet: all of the chat still stands in the prompt word for word"
    ]


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
    """Carry out /note: TEXT, @DEPTH TEXT, off, or nothing to see it; in a room NAME: before it says whose note.

    What to tell the user.
    """
    seat, argument = _whose(session, argument)
    note, whose = seat.state.note, f" of {one_line(seat.role.name, 40)}" if session.room else ""
    if not argument:
        if not note.text:
            return "there is no author's note; /note TEXT gives one, /note @2 TEXT keeps it within 2 messages of the end"
        return f"author's note{whose}, within {note.depth} messages of the end: {one_line(note.text, 200)}"
    if argument.strip().casefold() in _OFF:
        session.set_note("", who=seat.slug)
        return f"the author's note{whose} is gone from the next message on"
    found = _DEPTH.fullmatch(argument)
    depth, text = (int(found[1]), found[2]) if found else (4, argument)
    session.set_note(text, depth, seat.slug)
    return f"noted{whose and f' for {whose[4:]} alone'}, within {depth} messages of the end from the next message on"


def _whose(session: Session, argument: str) -> tuple[Seat, str]:
    """The seat that a note is for, and the note: `Watson: TEXT` in a room; whoever spoke last without a name."""
    name, colon, text = argument.partition(":")
    if session.room and colon:
        for seat in session.seats:
            if name.strip().casefold() in (seat.slug, *(known.casefold() for known in seat.names)):
                return seat, text.strip()
    return session.seat, argument


def room_command(session: Session, argument: str) -> str:
    """Carry out /room: a policy changes who answers, nothing tells who is here. What to tell the user."""
    if session.room is None:
        raise RolekitError("There is one role here.", "Name several: --role NAME --role NAME.")
    if argument:
        wanted = [policy for policy in POLICIES if policy.startswith(argument.strip().casefold())]
        if len(wanted) != 1:
            raise RolekitError(
                f"{one_line(argument, 40)} is no way to take turns.", f"There are: {', '.join(POLICIES)}."
            )
        session.set_turns(wanted[0])
    here = ", ".join(one_line(seat.role.name, 40) for seat in session.seats)
    return f"in the room: {here}, and you; who answers: {session.room.turns}"


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


def lore_lines(role: Role) -> list[str]:
    """Every entry of the role's lorebooks: whether it is on, what fires it, how it begins; safe to print."""
    books, notices = open_books(role)
    rows = []
    for one in books:
        rows.append(f"── {one_line(one.book.name)} · {count(len(one.book.entries))} entries ──")
        rows += [
            f"{'on ' if entry.enabled else 'off'} {one_line(entry.label, 40)} · {entry_line(entry)} · "
            f"{one_line(entry.content, 80)}"
            for entry in one.book.entries
        ]
    rows += [f"notice: {one_line(text, 200)}" for text in notices]
    return rows or ['this role has no lorebook; `lorebooks = ["FILE.json"]` in its file names one']
