"""`rolekit convert`: a base model and an adapter to one verified GGUF file, and what belongs to it."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from rolekit.commands import convert_adapter, convert_imatrix, convert_verify
from rolekit.commands.convert_file import convert_file

DEFAULT = "BASE"
"""The name under which the form without a subcommand is kept."""


class ConvertGroup(TyperGroup):
    """A group whose default form is `rolekit convert BASE …`: subcommand names win, `./adapter` is the path."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, the default form's name put in front of them where no subcommand is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command; the default form goes by no name in its messages."""
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == DEFAULT else name), command, rest

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Both forms."""
        formatter.write_usage(ctx.command_path, "BASE --out FILE.gguf [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix="       ")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The default form's options, then the subcommands."""
        default = self.commands.get(DEFAULT)
        if default:
            default.format_options(type(ctx)(default, parent=ctx, info_name=""), formatter)
        self.format_commands(ctx, formatter)


app = typer.Typer(
    cls=ConvertGroup,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make one GGUF file of a model and an adapter in one pass, and prove that it behaves like what was trained.",
)


@app.callback()
def convert() -> None:
    """Make one GGUF file of a model and an adapter in one pass, and prove that it behaves like what was trained."""


app.command(DEFAULT, hidden=True)(convert_file)
app.command("adapter")(convert_adapter.adapter)
app.command("imatrix")(convert_imatrix.imatrix)
app.command("verify")(convert_verify.verify)
