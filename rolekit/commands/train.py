"""`rolekit train`: a role's LoRA adapter, from a recipe file or from a few options."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.errors import RolekitError
from rolekit.paths import home
from rolekit.roles.names import slug_of
from rolekit.text import count, one_line, sanitize, size

if TYPE_CHECKING:
    from rolekit.train.dataset import DataReport
    from rolekit.train.observer import View
    from rolekit.train.preflight import Estimate
    from rolekit.train.recipe import Recipe
    from rolekit.train.run import Prepared

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.command()
def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe file (.toml); see --example.")] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="Train on this role's rows only; again for more roles.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="A file of rows: RoleBench records or chat format.")
    ] = None,
    base: Annotated[
        str, typer.Option("--base", help="What to train on: a folder, hf:owner/repo, a .gguf, starter.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="The run's folder; a stopped run goes on there.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of the recipe: --set optimiser.lr=1e-4.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the data, measure what a run will cost, and stop.")
    ] = False,
    example: Annotated[bool, typer.Option("--example", help="Print a commented recipe and stop.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines on stderr instead of a live picture.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Nothing on stderr but errors; the result is JSON anyway.")
    ] = False,
) -> None:
    """Train a LoRA adapter (RoCIT): the role block as system instruction, loss on the answers alone."""
    if example:
        from rolekit.train.recipe_file import example_text

        print(example_text(), end="")
        return
    first = os.environ.get("RANK", "0") == "0"  # of several processes (torchrun), the first one speaks
    quiet = as_json or not first
    chosen = _recipe(recipe, role or [], data or [], base, settings or [])
    folder = out or home() / "runs" / _name(recipe, chosen)
    _advise(f"the run's folder is {folder.absolute()}", quiet=quiet)
    with _prepared(chosen, folder.absolute(), quiet=quiet) as run:
        report = _dry(run, quiet=quiet) if dry_run else _train(run, plain=plain, quiet=quiet)
    if report and first:
        print(json.dumps(report, ensure_ascii=False))
    if report.get("status") == "interrupted":
        _advise(f"saved at step {report['steps']}; the same command goes on from there.", quiet=quiet)
        raise typer.Exit(130)


def _recipe(path: Path | None, roles: list[str], data: list[str], base: str, settings: list[str]) -> Recipe:
    """The recipe that file and options make together; options win over the file, --set over both."""
    from rolekit.train.recipe_file import load_recipe, make_recipe

    given = []
    if base:
        given.append(f"base={json.dumps(base)}")
    if roles:
        given.append(f"roles={json.dumps(roles, ensure_ascii=False)}")
    if data:
        sources = ", ".join(
            f"{{path={json.dumps(str(Path(file).absolute()), ensure_ascii=False)}}}" for file in data
        )
        given.append(f"data.sources=[{sources}]")
    if path is None and not data and not any(setting.startswith("data.") for setting in settings):
        raise RolekitError(
            "There is nothing to train on.",
            "Name a recipe (`rolekit train --example > recipe.toml` makes one), or --role NAME --data FILE.",
        )
    return load_recipe(path, [*given, *settings]) if path else make_recipe({}, [*given, *settings])


def _name(path: Path | None, recipe: Recipe) -> str:
    return path.stem if path else slug_of(recipe.roles[0]) if len(recipe.roles) == 1 else "adapter"


def _prepared(recipe: Recipe, folder: Path, *, quiet: bool) -> Any:
    from rolekit.train.run import prepared

    _advise("reading the data", quiet=quiet)
    return prepared(recipe, folder, lambda text: _advise(text, quiet=quiet))


def _dry(run: Prepared, *, quiet: bool) -> dict[str, Any]:
    from rolekit.train.run import Training

    _show_data(run.data.report, quiet=quiet)
    _advise("measuring a few passes", quiet=quiet)
    estimate = Training(run).estimate()
    _show_estimate(estimate, quiet=quiet)
    return {
        "status": "dry run",
        "run": str(run.out),
        "base": run.recipe.base,
        "backend": run.backend,
        "recipe_hash": run.recipe.hash,
        "data_hash": run.data.hash,
        "data": run.data.report.as_json(),
        "pack_tokens": run.memory.pack_tokens,
        "checkpointing": run.memory.checkpointing,
        "estimate": estimate.as_json(),
    }


def _train(run: Prepared, *, plain: bool, quiet: bool) -> dict[str, Any]:
    from rolekit.train.run import Training, finished

    done = finished(run)
    if done is not None:
        _advise(f"this run is finished already: {done['adapter']}", quiet=quiet)
        return done
    _show_data(run.data.report, quiet=quiet)
    training = Training(
        run,
        make_views=lambda: _views(run, plain=plain, quiet=quiet),
        estimated=lambda estimate: _show_estimate(estimate, quiet=quiet),
    )
    report = training.train()
    if report.get("adapter"):
        _advise(f"the adapter is in {report['adapter']}, the loss curve in {report['curve']}", quiet=quiet)
        name = f"{slug_of(report['role'] or run.out.name)}.gguf"
        _advise(
            f"next: rolekit convert adapter {report['adapter']} --base {run.recipe.base} --out {name}",
            quiet=quiet,
        )
    return report


def _views(run: Prepared, *, plain: bool, quiet: bool) -> list[View]:
    from rolekit.train.live_view import LiveView
    from rolekit.train.views import LineView, TensorBoardView

    views: list[View] = []
    if not quiet:
        title = f"{', '.join(run.roles[:3])} on {run.recipe.base}"
        live = sys.stderr.isatty() and not plain
        views.append(LiveView(title, run.recipe.run.sample_question) if live else LineView())
    with suppress(ModuleNotFoundError):
        views.append(TensorBoardView(run.out))
    return views


def _show_data(report: DataReport, *, quiet: bool) -> None:
    """The rows and their tokens, and everything that was left out, each with its number."""
    roles = list(report.rows_by_role)
    named = ", ".join(f"{one_line(role, 40)} {report.rows_by_role[role]}" for role in roles[:5] if role)
    more = f" and {len(roles) - 5} more roles" if len(roles) > 5 else ""
    _advise(
        f"{count(report.rows)} rows to train on ({named}{more}), {count(report.held_out_rows)} held out",
        quiet=quiet,
    )
    _advise(
        f"{count(report.tokens)} tokens, {count(report.supervised_tokens)} of them learned, "
        f"{count(report.prefix_tokens)} of shared role blocks; the longest row has {count(report.longest_row_tokens)}",
        quiet=quiet,
    )
    for number, what in (
        (report.faulty_rows, "rows cannot be read"),
        (report.duplicates, "duplicates are left out"),
        (report.too_long, "rows are longer than max_tokens and left out"),
        (report.shortened, "chats lost their last turns to fit max_tokens"),
        (report.left_out_by_mix, "rows are left out by weights and mix"),
        (report.repeated, "rows are seen again by weights and mix"),
        (report.other_roles, "rows are of other roles"),
        (report.held_out_unscored, "held-out rows beyond data.eval_rows are not scored"),
        (report.leaks, "rows ask what the benchmark asks"),
        (report.replaced_system_texts, "system texts of the data made way for the role's own"),
    ):
        if number:
            _advise(f"{count(number)} {what}", quiet=quiet)
    for leak, number in report.answers_out_of_role.items():
        what = leak.replace("_", " ")
        _advise(
            f"{count(number)} answers fall out of the role ({what}); `rolekit data check` shows them",
            quiet=quiet,
        )
    for fault in report.faults:
        _advise(f"  {fault}", quiet=quiet)
    if report.roles_without_profile:
        names = one_line(", ".join(report.roles_without_profile), 200)
        _advise(
            f"without a profile, known by name only: {names} (`rolekit roles new NAME` makes one)",
            quiet=quiet,
        )


def _show_estimate(estimate: Estimate, *, quiet: bool) -> None:
    from rolekit.train.views import duration

    gain = estimate.row_tokens / max(estimate.tokens, 1)
    _advise(
        f"about {duration(estimate.seconds)} for {estimate.steps} steps and {count(estimate.tokens)} tokens "
        f"({gain:.1f}x fewer than row by row), {size(estimate.memory_bytes)} of memory, "
        f"{size(estimate.disk_bytes)} on disk",
        quiet=quiet,
    )


def _advise(text: str, *, quiet: bool) -> None:
    if not quiet:
        print(f"rolekit: {sanitize(text)}", file=sys.stderr, flush=True)
