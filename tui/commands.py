"""What the slash commands, and the keys on a chosen message, do in the app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from rolekit.chat.export import write_export
from rolekit.chat.looking import (
    memory_lines,
    note_command,
    persona_command,
    prompt_lines,
    room_command,
    why_lines,
)
from rolekit.chat.seat import Seat
from rolekit.chat.session import Session
from rolekit.chat.state import Persona
from rolekit.chat.tree import Node
from rolekit.errors import RolekitError
from rolekit.paths import expanded
from rolekit.text import sanitize
from rolekit.tui import facts
from rolekit.tui.composer import Composer
from rolekit.tui.context_screen import ContextScreen
from rolekit.tui.help import HelpScreen
from rolekit.tui.lines_screen import LinesScreen
from rolekit.tui.lore_screen import LoreScreen
from rolekit.tui.persona_screen import PersonaScreen
from rolekit.tui.status import BUSY, figures

if TYPE_CHECKING:
    from rolekit.tui.chat_screen import ChatScreen

_WITHOUT_CHAT = {"help", "quit", "role", "model"}


async def run_command(screen: ChatScreen, name: str, argument: str) -> None:
    """Carry out a command of rolekit.chat.slash. Raises RolekitError where it cannot be done."""
    if screen.session is None and name not in _WITHOUT_CHAT:
        raise RolekitError("There is no chat yet.", "F2 chooses somebody to talk to.")
    if name in _PLAIN:
        _PLAIN[name](screen, argument)
    elif name in _CHANGES:
        assert screen.session is not None
        if screen.replying:
            raise RolekitError(f"{screen.role_name} {BUSY}", "")
        await _CHANGES[name](screen, screen.session, argument)


async def act_on(screen: ChatScreen, node: Node, action: str) -> None:
    """Do with one message what the transcript was asked for. Raises RolekitError where it cannot be done."""
    session = screen.session
    assert session is not None
    match action:
        case "edit":
            screen.begin_edit(node)
        case "regenerate":
            screen.regenerate(node)
        case "before" | "after":
            await screen.swipe(1 if action == "after" else -1, node)
        case "copy":
            screen.app.copy_to_clipboard(sanitize(node.text))
            screen.say("Copied.")
        case "pin":
            session.pin(node.id, not node.pinned)
            await screen.sync()
        case _:
            session.delete(node.id)
            await screen.sync()
            screen.say("Deleted; /undo brings it back.")


def _help(screen: ChatScreen, argument: str) -> None:
    screen.app.push_screen(HelpScreen(Composer.help_text))


def _quit(screen: ChatScreen, argument: str) -> None:
    screen.app.call_later(screen.app.action_quit)


def _role(screen: ChatScreen, argument: str) -> None:
    if argument:
        screen.post_message(facts.RoleChosen(argument, new=True))
    else:
        screen.app.call_later(screen.app.run_action, "switch_mode('roles')")


def _model(screen: ChatScreen, argument: str) -> None:
    if argument:
        screen.post_message(facts.ModelWanted(argument))
    else:
        screen.say(f"The model is {screen.model_label}. /model REF goes on with another.")


def _new(screen: ChatScreen, argument: str) -> None:
    assert screen.session is not None
    screen.post_message(facts.RoleChosen(screen.session.slug, new=True))


def _stats(screen: ChatScreen, argument: str) -> None:
    session = screen.session
    if session is None or session.last_stats is None:
        raise RolekitError("Nothing has been answered yet.", "Say something first.")
    screen.say(figures(session.last_stats, session.backend.context_tokens, 400))


def _context(screen: ChatScreen, argument: str) -> None:
    assert screen.session is not None
    screen.app.push_screen(ContextScreen(screen.session.context()))


def _prompt(screen: ChatScreen, argument: str) -> None:
    assert screen.session is not None
    screen.app.push_screen(LinesScreen("The prompt of the next answer", prompt_lines(screen.session)))


def _why(screen: ChatScreen, argument: str) -> None:
    assert screen.session is not None
    screen.app.push_screen(LinesScreen("Beside your last message", why_lines(screen.session)))


def _memory(screen: ChatScreen, argument: str) -> None:
    assert screen.session is not None
    heading = f"What {screen.role_name} remembers"
    screen.app.push_screen(LinesScreen(heading, memory_lines(screen.session)))


def _meant(session: Session, who: str) -> Seat:
    """The seat that somebody named; in a room, without a name, the first that has lore."""
    if who or session.room is None:
        return session.find_seat(who)
    return next((seat for seat in session.seats if seat.role.card or seat.role.lorebooks), session.seat)


async def _lore(screen: ChatScreen, session: Session, argument: str) -> None:
    def closed(changed: bool | None) -> None:
        if changed:
            with screen.reporting():
                session.reread_lore()
                screen.say("The next message uses the lorebook as it is now.")

    screen.app.push_screen(LoreScreen(_meant(session, argument).role), closed)


async def _note(screen: ChatScreen, session: Session, argument: str) -> None:
    screen.say(note_command(session, argument))


async def _persona(screen: ChatScreen, session: Session, argument: str) -> None:
    if argument:
        screen.say(persona_command(session, argument))
        await screen.sync()
        return

    def picked(persona: Persona | None) -> None:
        if persona is not None and persona != session.state.persona:
            screen.be(session, persona)

    screen.app.push_screen(PersonaScreen(session.state.persona, session.conversation.user), picked)


def _regen(screen: ChatScreen, argument: str) -> None:
    screen.regenerate()


def _next(screen: ChatScreen, argument: str) -> None:
    screen.next(argument)


async def _room(screen: ChatScreen, session: Session, argument: str) -> None:
    screen.say(room_command(session, argument))
    await screen.sync()


def _continue(screen: ChatScreen, argument: str) -> None:
    screen.continue_last()


async def _edit(screen: ChatScreen, session: Session, argument: str) -> None:
    said = [node for node in session.path if node.speaker == "user"]
    if not said:
        raise RolekitError("You have said nothing yet.", "Say something first.")
    if not argument:
        screen.begin_edit(said[-1])
        return
    fresh = session.edit(said[-1].id, argument)
    await screen.sync()
    screen.regenerate(fresh)


async def _swipe(screen: ChatScreen, session: Session, argument: str) -> None:
    step = {"": 1, "right": 1, "left": -1}.get(argument.casefold())
    if step is None:
        raise RolekitError(f"There is no direction {argument[:20]}.", "Type /swipe left or /swipe right.")
    await screen.swipe(step)


async def _undo(screen: ChatScreen, session: Session, argument: str) -> None:
    done = session.undo()
    await screen.sync()
    screen.say(done or "There is nothing to take back.")


async def _redo(screen: ChatScreen, session: Session, argument: str) -> None:
    done = session.redo()
    await screen.sync()
    screen.say(done or "There is nothing to do again.")


async def _pin(screen: ChatScreen, session: Session, argument: str) -> None:
    if not session.path:
        raise RolekitError("There is no message yet.", "Say something first.")
    node = session.path[-1]
    session.pin(node.id, not node.pinned)
    await screen.sync()
    screen.say("Let go again." if node.pinned else "Pinned: it is never folded out of the context.")


async def _title(screen: ChatScreen, session: Session, argument: str) -> None:
    if not argument:
        screen.ask_title(session.conversation)
        return
    session.rename(argument)
    await screen.sync()


async def _save(screen: ChatScreen, session: Session, argument: str) -> None:
    if not argument:
        screen.say("Every word is saved as you go; /save NAME gives this chat a name for --session.")
        return
    session.save_as(argument)
    await screen.sync()
    screen.say(f"Saved as {argument}: rolekit chat --session brings it back.")


async def _export(screen: ChatScreen, session: Session, argument: str) -> None:
    target = expanded(argument or f"{session.slug}.md")
    write_export(screen.store, session.id, target)
    screen.say(f"Written to {target.absolute()}.")


_PLAIN: dict[str, Callable[[ChatScreen, str], None]] = {
    "help": _help,
    "quit": _quit,
    "role": _role,
    "model": _model,
    "new": _new,
    "stats": _stats,
    "context": _context,
    "prompt": _prompt,
    "why": _why,
    "memory": _memory,
    "regen": _regen,
    "continue": _continue,
    "next": _next,
}
_CHANGES: dict[str, Callable[[ChatScreen, Session, str], Awaitable[None]]] = {
    "edit": _edit,
    "swipe": _swipe,
    "undo": _undo,
    "redo": _redo,
    "pin": _pin,
    "title": _title,
    "save": _save,
    "export": _export,
    "lore": _lore,
    "room": _room,
    "note": _note,
    "persona": _persona,
}
