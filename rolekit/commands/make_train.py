"""The training step of `rolekit make`: RoCIT on the accepted rows, in the way `rolekit train` does it."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rolekit.commands.make_plan import Making, digest_of, digest_of_file, model_stamp
from rolekit.commands.progress import advise
from rolekit.text import count, size

if TYPE_CHECKING:
    from rolekit.train.observer import View
    from rolekit.train.preflight import Estimate
    from rolekit.train.recipe import Recipe

FOLDER = "train"


def inputs(making: Making) -> dict[str, Any]:
    """What the adapter rests on: rows, role, base and recipe."""
    from rolekit.commands.make_synthesis import exported
    from rolekit.convert.bases import resolve_base

    data = making.results["synthesis"] | exported(making)  # the audit may have gone on since
    making.results["synthesis"] = data
    wishes = making.wishes
    return {
        "the rows": digest_of([data["train_digest"], data["test_digest"]]),
        "the role": digest_of_file(making.role_file()),
        "the base": [wishes.base, model_stamp(resolve_base(wishes.base))],
        "the recipe": [wishes.sizes.epochs, wishes.sizes.steps, wishes.seed, *wishes.settings],
    }


def carry_out(making: Making) -> dict[str, Any]:
    """Train; what rolekit.train.run reports, in short. Raises typer.Exit(130) after Ctrl+C, once it is saved."""
    from rolekit.train.run import Training, finished, prepared

    quiet = making.wishes.quiet
    told = (lambda text: None) if quiet else advise
    recipe, folder = recipe_of(making), (making.folder / FOLDER).absolute()
    with prepared(recipe, folder, told) as run:
        report = finished(run)
        if report is None:
            told(
                f"{count(run.data.report.rows)} rows to train on, {count(run.data.report.held_out_rows)} held out,"
                f" {count(run.data.report.tokens)} tokens"
            )
            training = Training(
                run, make_views=lambda: _views(making, recipe), estimated=lambda found: _tell(found, told)
            )
            report = training.train()
    if report["status"] == "interrupted":
        advise(f"saved at step {report['steps']}; the same command goes on from there.")
        raise typer.Exit(130)
    kept = ("steps", "loss", "eval_loss", "rows", "tokens", "tokens_per_second", "memory_bytes")
    return {
        "adapter": f"{FOLDER}/adapter",
        "curve": f"{FOLDER}/{Path(report['curve']).name}",
        "made": [f"{FOLDER}/adapter", f"{FOLDER}/report.json"],
        **{name: report[name] for name in kept},
    }


def recipe_of(making: Making) -> Recipe:
    """The recipe: the wishes, with --set on top. Raises RolekitError for a setting that cannot be."""
    from rolekit.train.recipe_file import make_recipe

    wishes, data = making.wishes, making.results["synthesis"]
    sources = ", ".join(f"{{path={_quoted(making.path(name).absolute())}}}" for name in data["train"])
    bench = ", ".join(_quoted(making.path(name).absolute()) for name in data["test"])
    given = [
        f"base={_quoted(wishes.base)}", f"roles=[{_quoted(making.role().name)}]", f"data.sources=[{sources}]",
        f"data.bench=[{bench}]", f"run.epochs={wishes.sizes.epochs}", f"seed={wishes.seed}",
    ]  # fmt: skip
    if wishes.sizes.steps:
        given.append(f"run.steps={wishes.sizes.steps}")
    return make_recipe({}, [*given, *wishes.settings])


def _quoted(value: str | Path) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _views(making: Making, recipe: Recipe) -> list[View]:
    from rolekit.train.live_view import LiveView
    from rolekit.train.views import LineView, TensorBoardView

    views: list[View] = []
    if not making.wishes.quiet:
        title = f"{making.role().name} on {making.wishes.base}"
        live = sys.stderr.isatty() and not making.wishes.plain
        views.append(LiveView(title, recipe.run.sample_question) if live else LineView())
    with suppress(ModuleNotFoundError):
        views.append(TensorBoardView(making.folder / FOLDER))
    return views


def _tell(estimate: Estimate, told: Any) -> None:
    from rolekit.train.views import duration

    told(
        f"about {duration(estimate.seconds)} for {estimate.steps} steps, {size(estimate.memory_bytes)} of memory,"
        f" {size(estimate.disk_bytes)} on disk"
    )
