"""`--plain`: one line at a time, for pipes, screen readers and ssh."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from rolekit.chat.casting import players_of
from rolekit.chat.events import SessionEvent
from rolekit.chat.export import write_export
from rolekit.chat.looking import (
    lore_lines,
    memory_lines,
    note_command,
    persona_command,
    prompt_lines,
    room_command,
    why_lines,
)
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.slash import Command, help_lines, literal, parse
from rolekit.chat.store import Store
from rolekit.commands.say import Hearing, Spoken, closing_in, stream_replies
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Stats
from rolekit.paths import expanded
from rolekit.roles.library import RoleLibrary
from rolekit.text import count, sanitize


@dataclass
class PlainChat:
    """A conversation on stdin and stdout. Replies go to stdout, everything else to stderr."""

    store: Store
    library: RoleLibrary
    session: Session
    options: ChatOptions
    open_model: Callable[[str], Backend]
    """Loads another model by REF, for /model."""
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    prompting: bool = field(default_factory=sys.stdin.isatty)

    def run(self) -> int:
        """Talk until /quit or the end of input. The exit code: 0, or 130 after Ctrl+C at the prompt."""
        with self.runner, closing_in(self.runner, lambda: self.session.backend):
            for notice in self.session.notices:
                self._note(notice)
            self._show_where_we_are()
            while (line := self._read()) is not None:
                try:
                    command = parse(line)
                    if command is None:
                        if line.strip():
                            self._answer(self.session.say(literal(line)))
                    elif command.name == "quit":
                        return 0
                    else:
                        self._obey(command)
                except RolekitError as error:
                    self._note(str(error))
                    if not self.prompting:
                        return 1
        return 0

    def _read(self) -> str | None:
        if self.prompting:
            try:
                return input(f"{sanitize(self.options.user)}: ")
            except EOFError:
                print(file=sys.stderr)
                return None
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None

    def _answer(self, turn: AsyncGenerator[SessionEvent, None]) -> None:
        def write(text: str) -> None:
            print(text, end="", flush=True)

        begun = False

        def begin(name: str) -> None:
            nonlocal begun
            write(f"{name}: ")
            begun = True

        def end(spoken: Spoken) -> None:
            nonlocal begun
            write("\n")
            begun = False

        try:
            spoken = self.runner.run(
                stream_replies(self.session, turn, Hearing(write, self._note, begin, end))
            )
        finally:
            if begun:
                write("\n")
        if spoken[-1].reply.stop_reason == "cancelled":
            self._note("stopped; what came is kept")
        elif self.session.reflection_due:
            self._note("remembering what was said so far …")
            self.runner.run(self.session.reflect())

    def _obey(self, command: Command) -> None:
        actions: dict[str, Callable[[str], None]] = {
            "help": lambda _: self._note("\n".join(help_lines())),
            "role": self._change_role,
            "model": self._change_model,
            "regen": lambda _: self._answer(self.session.regenerate()),
            "continue": lambda _: self._answer(self.session.continue_last()),
            "edit": self._edit,
            "swipe": self._swipe,
            "undo": lambda _: self._note(self.session.undo() or "nothing to undo"),
            "redo": lambda _: self._note(self.session.redo() or "nothing to redo"),
            "pin": lambda _: self._pin(),
            "title": self._title,
            "next": lambda name: self._answer(self.session.next(name)),
            "room": lambda text: self._note(room_command(self.session, text)),
            "new": lambda _: self._begin_anew(),
            "save": self._save,
            "export": self._export,
            "context": lambda _: self._context(),
            "prompt": lambda _: self._note("\n".join(prompt_lines(self.session))),
            "memory": lambda _: self._note("\n".join(memory_lines(self.session))),
            "lore": lambda _: self._note("\n".join(lore_lines(self.session.role))),
            "why": lambda _: self._note("\n".join(why_lines(self.session))),
            "note": lambda text: self._note(note_command(self.session, text)),
            "persona": lambda name: self._note(persona_command(self.session, name)),
            "stats": lambda _: self._note(stats_line(self.session.last_stats)),
        }
        actions[command.name](command.argument)

    def _begin(self, slug: str) -> None:
        entry = self.library.find(slug)
        self.session = Session.start(
            self.store, self.session.backend, entry.loaded(), entry.slug, options=self.options
        )
        self._show_where_we_are()

    def _begin_anew(self) -> None:
        if (room := self.session.room) is None:
            return self._begin(self.session.slug)
        players = players_of(self.library, room)
        backend, turns = self.session.backend, room.turns
        self.session = Session.start_room(self.store, backend, players, options=self.options, turns=turns)
        self._show_where_we_are()

    def _change_role(self, name: str) -> None:
        self._begin(_wanted(name, "/role NAME"))

    def _change_model(self, ref: str) -> None:
        backend = self.open_model(_wanted(ref, "/model REF"))
        old = self.session.backend
        self.session.set_backend(backend, keep_adapters=False)
        self.runner.run(old.close())
        self._note(f"{backend.label} answers from here on")

    def _edit(self, text: str) -> None:
        mine = [node for node in self.session.path if node.speaker == "user"]
        if not mine:
            raise RolekitError("You have not said anything yet.", "Type a message first.")
        self.session.edit(mine[-1].id, _wanted(text, "/edit TEXT"))
        self._answer(self.session.regenerate())

    def _swipe(self, direction: str) -> None:
        if direction not in ("left", "right", ""):
            raise RolekitError("/swipe goes left or right.", "Type /swipe left or /swipe right.")
        if self.session.swipe(-1 if direction == "left" else 1):
            self._show_last()
        elif direction == "left":
            self._note("this is the first version")
        else:
            self._answer(self.session.regenerate())

    def _pin(self) -> None:
        turns = [node for node in self.session.path if node.speaker == "user"]
        if not turns:
            raise RolekitError("There is no turn to pin yet.", "Say something first.")
        pinned = not turns[-1].pinned
        self.session.pin(turns[-1].id, pinned)
        self._note("pinned: this turn stays in the context" if pinned else "no longer pinned")

    def _title(self, text: str) -> None:
        self.session.rename(_wanted(text, "/title TEXT"))
        self._note("renamed")

    def _save(self, name: str) -> None:
        self.session.save_as(_wanted(name, "/save NAME"))
        self._note(f"everything is saved as you type; come back with --session {sanitize(name)!r}")

    def _export(self, name: str) -> None:
        path = expanded(_wanted(name, "/export FILE"))
        write_export(self.store, self.session.conversation.id, path)
        self._note(f"written to {path}")

    def _context(self) -> None:
        report = self.session.context()
        for row in report.rows:
            mark = " " if row.kept else "-"
            print(f"{mark} {count(row.tokens):>7}  {row.block:<8}  {sanitize(row.label)}", file=sys.stderr)
        self._note(
            f"{count(report.used_tokens)} of {count(report.context_tokens)} tokens; - marks what is folded"
        )

    def _show_where_we_are(self) -> None:
        path = self.session.path
        if any(node.speaker == "user" for node in path):
            title = sanitize(self.session.conversation.title)
            self._note(f"going on with “{title}”, {len(path)} messages; /new starts afresh")
        self._show_last()

    def _show_last(self) -> None:
        path = self.session.path
        fresh = all(node.speaker == "assistant" for node in path)
        for last in path if fresh else path[-1:]:
            name = self.session.name_of(last) if last.speaker == "assistant" else self.options.user
            versions = f" [{last.version} of {last.versions}]" if last.versions > 1 else ""
            print(f"{sanitize(name)}{versions}: {sanitize(last.text)}", flush=True)

    def _note(self, text: str) -> None:
        print(f"({sanitize(text)})" if "\n" not in text else sanitize(text), file=sys.stderr, flush=True)


def stats_line(stats: Stats | None) -> str:
    """`evaluated 41 · reused 6 212 · first token 0.4 s · 61 tok/s` for the last reply."""
    if stats is None:
        return "no answer yet"
    writing_seconds = stats.seconds - stats.ttft_seconds
    speed = f" · {(stats.generated_tokens - 1) / writing_seconds:.0f} tok/s" if writing_seconds > 0 else ""
    return (
        f"evaluated {count(stats.evaluated_tokens)} · reused {count(stats.reused_tokens)} · "
        f"first token {stats.ttft_seconds:.2f} s{speed}"
    )


def _wanted(argument: str, usage: str) -> str:
    if not argument:
        raise RolekitError("That command needs a word more.", f"Type {usage}.")
    return argument
