"""`rolekit chat`: pick the role, the conversation and the face, then talk."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rolekit.commands.opening import (
    ModelChoice,
    chat_options,
    lines_of,
    open_backend,
    open_backend_aside,
    quiet_broken_pipe,
)
from rolekit.config import MOST_THREADS, Config, load_config
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.text import one_line

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def chat(  # one parameter an option: that is how typer reads a command
    role: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who to talk to: a name, an alias, or a role file.")
    ] = None,
    say: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Say this and print the reply; repeatable.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="With --say: one JSON object a reply.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Line mode, for pipes and screen readers.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="REF", help="A .gguf file, `starter`, hf:owner/repo/file.gguf, or openai:MODEL@URL."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="PATH[:SCALE]", help="GGUF LoRA adapter; repeatable.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The name the role knows you by.")] = None,
    persona: Annotated[
        str | None, typer.Option(metavar="NAME", help="Be this persona of personas.toml in a new chat.")
    ] = None,
    guard: Annotated[
        bool, typer.Option("--guard/--no-guard", help="Try once more when a reply falls out of character.")
    ] = True,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Sum up and recall what no longer fits the context.")
    ] = True,
    session: Annotated[
        str | None, typer.Option(metavar="NAME", help="Go on with this named chat, or begin it.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new chat instead of going on.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Same seed, same replies.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=0, metavar="N", help="Longest reply in tokens; 0: no limit.")
    ] = 0,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Sampling preset: default, precise, creative, …")
    ] = None,
    ctx: Annotated[
        int, typer.Option(min=0, metavar="N", help="Context in tokens; 0: as in config.toml.")
    ] = 0,
    threads: Annotated[
        int, typer.Option(min=0, max=MOST_THREADS, metavar="N", help="CPU threads; 0: the physical cores.")
    ] = 0,
    chat_template: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Template name or a .jinja file.")
    ] = None,
    import_: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Go on with a chat from SillyTavern (.jsonl) or an export (.json).",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the chats and exit.")] = False,
    find: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Show who said these words, and exit.")
    ] = None,
) -> None:
    """Talk to a role.

    In a terminal this opens the TUI. A chat goes on where you left it; --say begins a new one unless
    --session names it.
    """
    if new and session:
        raise typer.BadParameter("--new and --session exclude each other.")
    if json and not say:
        raise typer.BadParameter("--json needs --say.")
    if find is not None and not find.strip():
        raise typer.BadParameter("--find needs a word to look for.")
    config = load_config()
    if list_ or find:
        return _look_up(role, find)
    choice = ModelChoice(model, tuple(adapter or ()), ctx, threads, chat_template)
    options = chat_options(
        config,
        user=user,
        preset=preset,
        seed=seed,
        max_tokens=max_tokens,
        persona=persona,
        guard=guard,
        memory=memory,
    )
    face = _Face(config, choice, options, role, session, new)
    if import_:
        face.bring_in(import_)
    if say:
        code = face.say(lines_of(say), as_json=json)
    elif plain or not _can_draw():
        code = face.plain()
    else:
        code = face.tui()
    if code:
        raise typer.Exit(code)


def _look_up(role: str | None, words: str | None) -> None:
    from rolekit.chat.store import Store
    from rolekit.commands.chats import print_chats, print_hits
    from rolekit.roles.library import RoleLibrary

    slug = RoleLibrary().find(role).slug if role else None
    with Store() as store:
        if words:
            print_hits(store, words)
        else:
            print_chats(store, slug)


def _can_draw() -> bool:
    """Whether a person sits at a terminal that the TUI can draw on; TERM=dumb, as in Emacs's shell, cannot."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def start_app() -> None:
    """`rolekit` alone: the TUI at the role library."""
    if not _can_draw():
        raise RolekitError(
            "The TUI needs a terminal.", "Use `rolekit chat --role NAME --say TEXT` or --plain."
        )
    config = load_config()
    options = chat_options(config, user=None, preset=None, seed=None, max_tokens=0)
    _Face(config, ModelChoice(), options, None, None, False).tui()


class _Face:
    """The parts that all three faces share, opened in the order that fails soonest."""

    def __init__(
        self, config: Config, choice: ModelChoice, options: Any, role: str | None, name: str | None, new: bool
    ) -> None:
        from rolekit.roles.library import RoleLibrary

        self.config, self.choice, self.options, self.name, self.new = config, choice, options, name, new
        self.library = RoleLibrary()
        self.entry = self.library.find(role) if role else None
        if self.entry:
            self.entry.loaded()

    def bring_in(self, file: Path) -> None:
        """Import a chat and go on with it."""
        from rolekit.chat.store import Store
        from rolekit.commands.chats import import_chat

        with Store() as store:
            self.entry, self.name = import_chat(store, self.library, self.entry, file)

    def say(self, texts: list[str], *, as_json: bool) -> int:
        from rolekit.commands.say import say

        return self._with_session(lambda session: say(session, texts, as_json=as_json), resume=False)

    def plain(self) -> int:
        from rolekit.commands.plain import PlainChat

        def talk(session: Any) -> int:
            chat = PlainChat(session.store, self.library, session, self.options, self._open_other)
            try:
                return chat.run()
            except KeyboardInterrupt:
                print(file=sys.stderr)
                return 130

        return self._with_session(talk, resume=not self.new)

    def tui(self) -> int:
        from rolekit.chat.store import Store
        from rolekit.tui.app import RolekitApp

        with Store() as store:
            conversation = self._conversation(store, resume=not self.new)
            RolekitApp(
                store=store,
                library=self.library,
                open_backend=lambda: open_backend(self.choice, self.config),
                open_other=self._open_other,
                config=self.config,
                role=self._found_by(),
                resume=conversation,
                new=self.new,
                name=self.name if conversation is None else None,
                options=self.options,
            ).run()
        return 0

    def _found_by(self) -> str | None:
        """What the library finds the role by: its slug, or its path where it is no file of the library."""
        if self.entry is None:
            return None
        known = any(entry.path == self.entry.path for entry in self.library.all())
        return self.entry.slug if known else str(self.entry.path)

    def _conversation(self, store: Any, *, resume: bool) -> str | None:
        """The conversation to go on with: the named one, else the latest with this role."""
        slug = self.entry.slug if self.entry else None
        if self.name:
            named = store.find(self.name, slug)
            return named.id if named else None
        if resume and slug:
            latest = store.conversations(role_slug=slug)[:1]
            return latest[0].id if latest else None
        return None

    def _with_session(self, talk: Callable[[Any], int], *, resume: bool) -> int:
        from rolekit.chat.session import Session
        from rolekit.chat.store import Store

        with Store() as store:
            if self.entry is None and self.name and (named := store.find(self.name)):
                self.entry = self.library.find(named.role_slug)
            if self.entry is None and self.name:
                raise RolekitError(
                    f'There is no chat called "{one_line(self.name, 60)}".',
                    "Add --role NAME to begin it; `rolekit chat --list` shows those there are.",
                )
            if self.entry is None:
                raise RolekitError("No role was named.", "Add --role NAME; `rolekit roles list` shows them.")
            if store.notice:
                print(f"rolekit: {store.notice}", file=sys.stderr)
            backend = open_backend_aside(self.choice, self.config)
            if self.choice.context_tokens and (notice := getattr(backend, "notice", "")):
                print(f"rolekit: {notice}", file=sys.stderr)
            session = None
            try:
                role, slug = self.entry.loaded(), self.entry.slug
                conversation = self._conversation(store, resume=resume)
                if conversation is None:
                    session = Session.start(store, backend, role, slug, options=self.options, name=self.name)
                else:
                    session = Session.resume(store, backend, role, slug, conversation, options=self.options)
                return talk(session)
            except BrokenPipeError:
                quiet_broken_pipe()
                return 0
            finally:
                asyncio.run((session.backend if session else backend).close())

    def _open_other(self, ref: str) -> Backend:
        return open_backend(
            ModelChoice(ref, (), self.choice.context_tokens, self.choice.threads), self.config
        )
