"""The command line: one table of commands, each imported only when it is chosen."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import IO, Any, NoReturn

import typer
from typer.core import TyperGroup

from rolekit.errors import RolekitError

COMMANDS = {
    "chat": ("rolekit.commands.chat", "Talk to a role."),
    "roles": ("rolekit.commands.roles", "List, show, make and check roles."),
    "models": ("rolekit.commands.models", "List, inspect, fetch and choose models."),
    "convert": ("rolekit.commands.convert", "Make a GGUF file of a model and an adapter, and prove it."),
    "data": ("rolekit.commands.data", "Fetch, check, clean and sample RoleBench."),
    "bench": ("rolekit.commands.bench", "Score answers to RoleBench, report, compare."),
    "synth": ("rolekit.commands.synth", "Make a character's profile and training rows out of a text."),
    "train": ("rolekit.commands.train", "Train a role's LoRA adapter."),
    "make": ("rolekit.commands.make", "Make a measured character of a text, step by step."),
    "doctor": ("rolekit.commands.doctor", "Say what this machine can do and what is missing."),
}

EXTRAS = {
    "tokenizers": "convert",
    "sentencepiece": "convert",
    "torch": "train",
    "transformers": "train",
    "peft": "train",
    "gguf": "train",
    "safetensors": "train",
    "mlx_lm": "mlx",
    "mlx": "mlx",
}
"""Which extra brings a package that may be missing."""


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a full disk says."""


class LazyGroup(TyperGroup):
    """Lists commands by their stubs, and swaps in the real one when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The real command that args ask for."""
        name, _stub, rest = super().resolve_command(ctx, args)
        module = importlib.import_module(COMMANDS[name or ""][0])
        return name, typer.main.get_command(module.app), rest


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from rolekit import __version__

        typer.echo(f"rolekit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
) -> None:
    """A character that lives on your own laptop. Without a command: the TUI, at the role library."""
    if context.invoked_subcommand is None:
        from rolekit.commands.chat import start_app

        start_app()


def _stub(help_text: str) -> Callable[[], None]:
    def command() -> None: ...

    command.__doc__ = help_text
    return command


for _name, (_module, _help) in COMMANDS.items():
    app.command(_name)(_stub(_help))


def main() -> NoReturn:
    """Run the program: exit 0 done, 1 the user can fix it, 2 usage, 130 interrupted."""
    prepare_streams()
    try:
        app(prog_name="rolekit", standalone_mode=True)
    except RolekitError as error:
        _fail(str(error), error)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        _fail(f"This needs {package}. Install it with: pip install 'rolekit[{EXTRAS[package]}]'", error)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        sys.stdout = _nothing("w")  # what it still holds cannot be written at exit either
        _fail(f"The output cannot be written ({error.strerror}). Make room, or send it elsewhere.", error)
    sys.exit(0)


def prepare_streams() -> None:
    """Make stdin, stdout and stderr safe for any text: a closed one is empty, an odd byte or letter becomes ?."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _nothing(mode))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _nothing(mode: str) -> IO[str]:
    return open(os.devnull, mode, encoding="utf-8")  # lives as long as the program


def _fail(sentence: str, error: BaseException) -> NoReturn:
    from rolekit.text import sanitize

    if os.environ.get("ROLEKIT_TRACEBACK"):
        raise error
    print(f"rolekit: {sanitize(sentence)}", file=sys.stderr)
    sys.exit(1)
