"""`rolekit bench`: answers and what they are worth. Each subcommand's module is imported when it is chosen."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "run": ("rolekit.commands.bench_run", "run"),
    "judge": ("rolekit.commands.bench_judge", "judge"),
    "boundary": ("rolekit.commands.bench_probe", "boundary"),
    "refusals": ("rolekit.commands.bench_probe", "refusals"),
    "continuity": ("rolekit.commands.bench_probe", "continuity"),
    "score": ("rolekit.commands.bench_score", "score"),
    "report": ("rolekit.commands.bench_report", "report"),
    "compare": ("rolekit.commands.bench_report", "compare"),
}
"""Name: the module and its function. A function's first docstring line is its help."""


class LazySubcommands(TyperGroup):
    """Loads a subcommand's module when it is called, or when its help is listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the table's order."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, made from its function; None where there is no such."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module, function = SUBCOMMANDS[cmd_name]
        holder = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        holder.command(cmd_name, context_settings={"help_option_names": ["-h", "--help"]})(
            getattr(importlib.import_module(module), function)
        )
        return typer.main.get_command(holder)


app = typer.Typer(
    cls=LazySubcommands,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run RoleBench, score saved answers, judge, report and compare.",
)


@app.callback()
def bench() -> None:
    """Run RoleBench, score saved answers, judge, report and compare."""
