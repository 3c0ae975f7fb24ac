"""The slash commands of a chat: one table, one parser, for every face."""

from __future__ import annotations

from dataclasses import dataclass

from rolekit.errors import RolekitError


@dataclass(frozen=True, slots=True)
class CommandHelp:
    """A command as /help shows it."""

    name: str
    argument: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed line: the command's full name and the text behind it, stripped."""

    name: str
    argument: str


COMMANDS: tuple[CommandHelp, ...] = (
    CommandHelp("help", "", "show these commands"),
    CommandHelp("role", "NAME", "start a new chat with another role"),
    CommandHelp("model", "REF", "go on with another model"),
    CommandHelp("regen", "", "answer again; the old answer stays as a version"),
    CommandHelp("continue", "", "let the last answer go on"),
    CommandHelp("next", "NAME", "in a room: let somebody speak, by name or whose turn it is"),
    CommandHelp("room", "POLICY", "who is in the room, and who answers: named, round-robin or talkative"),
    CommandHelp("edit", "TEXT", "replace your last message and ask again"),
    CommandHelp("swipe", "left|right", "look at another version of the last answer"),
    CommandHelp("undo", "", "take back the last change"),
    CommandHelp("redo", "", "do it again"),
    CommandHelp("pin", "", "keep the last turn in the context for good; again to let it go"),
    CommandHelp("title", "TEXT", "rename this chat"),
    CommandHelp("new", "", "start a new chat with this role"),
    CommandHelp("save", "NAME", "give this chat a name for --session"),
    CommandHelp("export", "FILE", "write the chat to FILE: .md, .json or .jsonl (SillyTavern)"),
    CommandHelp("context", "", "show what is in the context, token by token"),
    CommandHelp("prompt", "", "show the exact prompt, and where each part comes from"),
    CommandHelp("why", "", "show which lore fired and what was remembered, and what was cut"),
    CommandHelp("memory", "", "show what was summed up and what was remembered"),
    CommandHelp("lore", "", "the lorebooks of this role: what fires on which key"),
    CommandHelp(
        "note",
        "TEXT",
        "an author's note near the end of every prompt; `off` removes it; in a room NAME: TEXT",
    ),
    CommandHelp("persona", "NAME", "be somebody else; `off` is yourself"),
    CommandHelp("stats", "", "show what the last answer cost"),
    CommandHelp("quit", "", "leave; everything is saved"),
)

_BY_NAME = {command.name: command for command in COMMANDS}


def parse(line: str) -> Command | None:
    """The command that line is, or None where it is a message (also `//…`, see literal()).

    A command may be shortened as long as it is clear. Raises RolekitError for an unknown one.
    """
    if not line.startswith("/") or line.startswith("//") or "\n" in line.strip():
        return None
    word, _, argument = line[1:].strip().partition(" ")
    name = word.casefold()
    names = [name] if name in _BY_NAME else [known for known in _BY_NAME if name and known.startswith(name)]
    if len(names) == 1:
        return Command(names[0], argument.strip())
    if names:
        raise RolekitError(f"/{word} could be {_list(names)}.", "Type one letter more.")
    from rapidfuzz import process

    near = [match[0] for match in process.extract(name, list(_BY_NAME), limit=2, score_cutoff=60)]
    hint = f"Did you mean {_list(near)}? " if near else ""
    raise RolekitError(
        f"There is no command /{word[:40]}.",
        f"{hint}/help lists them; // sends a line that begins with a slash.",
    )


def literal(line: str) -> str:
    """The message that a line stands for: `//shrug` is `/shrug`."""
    return line[1:] if line.startswith("//") else line


def help_lines() -> list[str]:
    """The commands, aligned, one a line."""
    usages = [f"/{command.name} {command.argument}".rstrip() for command in COMMANDS]
    width = max(map(len, usages))
    return [f"{usage:<{width}}  {command.meaning}" for usage, command in zip(usages, COMMANDS, strict=True)]


def _list(names: list[str]) -> str:
    return " or ".join(f"/{name}" for name in names)
