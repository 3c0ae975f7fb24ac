"""`rolekit chat`: pick the roles, the conversation and the face, then talk."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from rolekit.chat.room import POLICIES, Turns
from rolekit.commands import chat_options as given
from rolekit.commands import common_options as common
from rolekit.commands.opening import ModelChoice, chat_options, lines_of, split_adapters
from rolekit.config import load_config
from rolekit.errors import RolekitError
from rolekit.text import one_line

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def chat(  # one parameter an option: that is how typer reads a command
    role: given.Roles = None,
    say: given.Say = None,
    json: given.Json = False,
    plain: given.Plain = False,
    model: given.Model = None,
    adapter: given.Adapters = None,
    turns: given.Turns = None,
    user: given.User = None,
    persona: given.Persona = None,
    guard: given.Guard = True,
    memory: given.Memory = True,
    moderation: given.Moderation = None,
    session: given.Session = None,
    new: given.New = False,
    seed: given.Seed = None,
    max_tokens: given.MaxTokens = 0,
    preset: given.Preset = None,
    ctx: given.Ctx = 0,
    threads: common.Threads = 0,
    chat_template: common.ChatTemplate = None,
    import_: given.Import = None,
    list_: given.List = False,
    find: given.Find = None,
) -> None:
    """Talk to a role, or to several in one room.

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
        return _look_up(role or (), find)
    common, own = split_adapters(adapter or ())
    choice = ModelChoice(model, common, ctx, threads, chat_template)
    options = chat_options(
        config,
        user=user,
        preset=preset,
        seed=seed,
        max_tokens=max_tokens,
        persona=persona,
        guard=guard,
        memory=memory,
        moderation=moderation,
    )
    from rolekit.commands.face import Face

    face = Face(config, choice, options, role or (), session, new, own, _policy(turns))
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


def _policy(turns: str | None) -> Turns | None:
    known = next((policy for policy in POLICIES if policy == turns), None)
    if turns is not None and known is None:
        raise typer.BadParameter(f"--turns is one of {', '.join(POLICIES)}, not {one_line(turns, 40)}.")
    return known


def _look_up(roles: Sequence[str], words: str | None) -> None:
    from rolekit.chat.room import room_slug
    from rolekit.chat.store import Store
    from rolekit.commands.chats import print_chats, print_hits
    from rolekit.roles.library import RoleLibrary

    slug = room_slug(RoleLibrary().find(role).slug for role in roles) if roles else None
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
    from rolekit.commands.face import Face

    Face(config, ModelChoice(), options, (), None, False).tui()
