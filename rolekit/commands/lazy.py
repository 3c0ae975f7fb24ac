"""A command with subcommands, each of whose modules is imported when it is chosen."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

_CONTEXT = {"help_option_names": ["-h", "--help"]}


def lazy_app(subcommands: Mapping[str, tuple[str, str]], help_text: str) -> typer.Typer:
    """The command whose subcommands are a table: name -> module and function, in that order.

    A function's first docstring line is its help.
    """

    class Lazy(TyperGroup):
        """Loads a subcommand's module when it is called, or when its help is listed."""

        def list_commands(self, ctx: Any) -> list[str]:
            """The names, in the table's order."""
            return list(subcommands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """The command of that name, made from its function; None where there is no such."""
            if cmd_name not in subcommands:
                return None
            module, function = subcommands[cmd_name]
            holder = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
            holder.command(cmd_name, context_settings=_CONTEXT)(
                getattr(importlib.import_module(module), function)
            )
            return typer.main.get_command(holder)

    app = typer.Typer(
        cls=Lazy,
        rich_markup_mode=None,
        add_completion=False,
        no_args_is_help=True,
        context_settings=_CONTEXT,
        help=help_text,
    )
    app.callback(help=help_text)(_nothing)
    return app


def _nothing() -> None: ...
