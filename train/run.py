"""A training run from recipe to adapter: data, estimate, loop, and what is left in the run folder.

OUT/recipe.toml        the recipe as it was run         OUT/metrics.jsonl   one line a step
OUT/data.json          what became of the rows          OUT/curve.html      the loss curve and sample answers
OUT/checkpoints/       where a stopped run goes on      OUT/adapter/        the adapter, with rolekit.json
OUT/report.json        written last: the run is finished
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from rolekit import __version__
from rolekit.engine.machine import available_memory_bytes
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, write_text
from rolekit.train.backends import Chosen, choose_backend, generator_of, on_processor, open_stepper
from rolekit.train.base_text import BaseText, open_base_text
from rolekit.train.bases import Shape, base_hash, base_name, find_base, shape_of
from rolekit.train.curve import CURVE_NAME, write_curve
from rolekit.train.dataset import Dataset, build_dataset
from rolekit.train.loop import Loop, LoopOptions, Outcome, interruptible, loop_options
from rolekit.train.memory import peak_bytes
from rolekit.train.metrics import METRICS_NAME, MetricsWriter, read_metrics
from rolekit.train.observer import Observer, View
from rolekit.train.packing import order_epoch
from rolekit.train.peak import gemm_rate, step_flops
from rolekit.train.preflight import (
    DEFAULT_PACK_TOKENS,
    PROCESSOR_PACK_TOKENS,
    Estimate,
    MemoryPlan,
    Samples,
    check_disk,
    measure,
    plan_memory,
)
from rolekit.train.recipe import Recipe
from rolekit.train.recipe_file import save_recipe
from rolekit.train.sampling import Sampler, sampler
from rolekit.train.stepping import Stepper

REPORT_NAME = "report.json"
DATA_NAME = "data.json"
LAYOUT_NAME = "layout.json"
SIDECAR_NAME = "rolekit.json"


@dataclass(slots=True)
class Prepared:
    """Everything that is known before a model is loaded. Make it with prepared()."""

    recipe: Recipe
    out: Path
    base: Path
    backend: Chosen
    text: BaseText
    data: Dataset
    shape: Shape
    memory: MemoryPlan
    base_hash: str

    @property
    def identity(self) -> str:
        """Recipe, data and base: what must not change within a run."""
        return f"{self.recipe.hash} {self.data.hash} {self.base_hash} {self.backend}"

    @property
    def options(self) -> LoopOptions:
        """The recipe's part for the loop."""
        return loop_options(self.recipe, self.memory.pack_tokens)

    @property
    def roles(self) -> list[str]:
        """The roles that are trained, the one with most rows first."""
        return [role for role in self.data.report.rows_by_role if role]

    def sidecar(self) -> dict[str, Any]:
        """What stands beside the adapter: conversion and chat read it."""
        recipe = self.recipe
        return {
            "rolekit": __version__,
            "role": self.roles[0] if len(self.roles) == 1 else "",
            "roles": self.roles,
            "recipe_hash": recipe.hash,
            "data_hash": self.data.hash,
            "template": recipe.template or self.text.template.name,
            "named_template": recipe.template,
            "condition": recipe.condition,
            "opening": recipe.opening,
            "base": base_name(recipe.base, self.base),
            "base_hash": self.base_hash,
            "vocabulary": self.text.vocabulary_key,
            "backend": self.backend,
        }


@contextmanager
def prepared(
    recipe: Recipe, out: Path, announce: Callable[[str], None] = lambda text: None
) -> Iterator[Prepared]:
    """The recipe's base and data, read and checked; valid inside the block. announce is told of a download.

    Raises RolekitError for a base or data that cannot be used, layers that the base does not have, and when the run
    cannot fit into memory.
    """
    base = find_base(recipe.base, announce)
    backend = choose_backend(recipe.backend)
    shape = shape_of(base)
    _check_layers(recipe, shape)
    with open_base_text(base, recipe.template) as text:
        data = build_dataset(recipe, text.maker)
        run = Prepared(
            recipe, out, base, backend, text, data, shape, MemoryPlan(0, False, 0), base_hash(base)
        )
        yield replace(run, memory=_memory(run, announce))


def _memory(run: Prepared, announce: Callable[[str], None]) -> MemoryPlan:
    """How the run is laid out: as it was begun where that still fits, so that it ends with the same bytes."""
    rows = (*run.data.train, *run.data.held_out)
    begun = _begun(run)
    plan = plan_memory(
        run.shape, run.recipe, max(len(row.ids) for row in rows), available_memory_bytes(),
        wide=run.recipe.dtype not in ("bfloat16", "float16"),
        usual_tokens=PROCESSOR_PACK_TOKENS if on_processor(run.backend) else DEFAULT_PACK_TOKENS,
        begun=begun,
    )  # fmt: skip
    if begun not in (None, plan):
        announce(
            "Less memory is free than when this run began: it goes on in smaller pieces, the same but for the "
            "last digits."
        )
    return plan


def _begun(run: Prepared) -> MemoryPlan | None:
    """The plan that the same run was begun with; None for a new one."""
    try:
        kept = json.loads((run.out / LAYOUT_NAME).read_text(encoding="utf-8"))
        plan = kept["memory"]
        begun = MemoryPlan(int(plan["pack_tokens"]), bool(plan["checkpointing"]), int(plan["bytes"]))
        return begun if kept["identity"] == run.identity else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_layers(recipe: Recipe, shape: Shape) -> None:
    beyond = [layer for layer in recipe.lora.layers_to_transform if layer >= shape.layers > 0]
    if beyond:
        raise RolekitError(
            f"lora.layers_to_transform names layer {beyond[0]}, and this base has {shape.layers} layers.",
            f"They are counted from 0: name some of 0 to {shape.layers - 1}.",
        )


def finished(run: Prepared) -> dict[str, Any] | None:
    """The report of the same run where it is done already; None where there is something to do."""
    try:
        report = json.loads((run.out / REPORT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(report, dict) and report.get("identity") == run.identity
    return report if same and (run.out / "adapter" / SIDECAR_NAME).is_file() else None


@dataclass(slots=True)
class Training:
    """One run, from loading the model to the report."""

    run: Prepared
    make_views: Callable[[], list[View]] = list
    """Opens those who watch, once the first step is near."""
    estimated: Callable[[Estimate], None] = lambda estimate: None
    """Told what the run will cost, before the first step of a new one."""
    cancel: threading.Event = field(default_factory=threading.Event)

    def estimate(self) -> Estimate:
        """What the run will cost, measured by a few real passes; nothing is written."""
        stepper = self._open()
        loop = self._loop(stepper, Observer([]))
        return self._estimate(stepper, loop)

    def train(self) -> dict[str, Any]:
        """Train to the end (or to a Ctrl+C) and report; goes on where an earlier run of the same recipe stopped.

        Raises RolekitError for anything the user can mend.
        """
        run = self.run
        first = os.environ.get("RANK", "0") == "0"
        with _alone(run.out) if first else nullcontext():
            stepper = self._open()
            observer = Observer([])
            loop = self._loop(stepper, observer)
            if stepper.rank == 0:
                observer.open_writer = self._begin
                observer.sample_every = run.recipe.run.sample_every
                observer.row_tokens = _row_tokens(run)
                observer.flops = partial(step_flops, run.shape)
                observer.peak_flops = gemm_rate(
                    run.shape, run.backend, bfloat16=run.recipe.dtype == "bfloat16"
                )
                observer.sampler = self._sampler(stepper)
            if stepper.processes == 1 and not (run.out / "checkpoints").is_dir():
                estimate = self._estimate(stepper, loop)
                check_disk(run.out, estimate.disk_bytes)
                self.estimated(estimate)
            try:
                observer.views = self.make_views() if stepper.rank == 0 else []
                with interruptible(self.cancel):
                    outcome = loop.run()
            finally:
                observer.close()
            return self._report(outcome) if stepper.rank == 0 else {}

    def _open(self) -> Stepper:
        run = self.run
        recipe = run.recipe
        if recipe.checkpointing == "auto":
            recipe = recipe.model_copy(update={"checkpointing": "on" if run.memory.checkpointing else "off"})
        return open_stepper(recipe, run.base, run.backend)

    def _loop(self, stepper: Stepper, observer: Observer) -> Loop:
        run = self.run
        sidecar = json.dumps(run.sidecar(), indent=1, ensure_ascii=False) + "\n"
        return Loop(
            stepper, run.data.train, run.data.held_out, run.options, run.out, run.identity, observer,
            {SIDECAR_NAME: sidecar}, self.cancel,
        )  # fmt: skip

    def _sampler(self, stepper: Stepper) -> Sampler | None:
        run, generate = self.run, generator_of(stepper)
        if generate is None or not run.recipe.run.sample_question:
            return None
        return sampler(run.recipe, run.text, run.data.openings, run.data.first, generate)

    def _estimate(self, stepper: Stepper, loop: Loop) -> Estimate:
        run, wanted = self.run, self.run.recipe.run
        samples = Samples(self._sampler(stepper), wanted.sample_every, wanted.sample_tokens)
        return measure(stepper, run.data.train, run.data.held_out, run.options, loop.steps, samples)

    def _begin(self, step: int) -> MetricsWriter:
        """Put the run's papers into its folder, now that it is known to be this run's; step: what is done already."""
        run = self.run
        ensure_dir(run.out)
        (run.out / REPORT_NAME).unlink(missing_ok=True)
        save_recipe(run.recipe, run.out / "recipe.toml")
        text = json.dumps(run.data.report.as_json(), indent=1, ensure_ascii=False)
        write_text(run.out / DATA_NAME, text + "\n")
        kept = {"identity": run.identity, "memory": asdict(run.memory)}
        write_text(run.out / LAYOUT_NAME, json.dumps(kept) + "\n")
        return MetricsWriter(run.out, step)

    def _report(self, outcome: Outcome) -> dict[str, Any]:
        run = self.run
        steps = read_metrics(run.out / METRICS_NAME)
        report = {
            "status": outcome.status,
            "run": str(run.out),
            "adapter": str(outcome.adapter) if outcome.adapter else None,
            **{
                key: run.sidecar()[key]
                for key in ("role", "roles", "base", "recipe_hash", "data_hash", "backend")
            },
            "steps": outcome.step,
            "loss": steps[-1].loss if steps else None,
            "eval_loss": outcome.best_loss,
            "best_step": outcome.best_step,
            "rows": run.data.report.rows,
            "tokens": sum(row.tokens for row in steps),
            "supervised_tokens": outcome.supervised_tokens,
            "seconds": round(outcome.seconds, 3),
            "tokens_per_second": round(sum(row.tokens for row in steps) / max(outcome.seconds, 1e-9), 1),
            "memory_bytes": peak_bytes(),
            "curve": str(run.out / CURVE_NAME),
            "identity": run.identity,
        }
        title = f"{', '.join(run.roles[:3]) or 'Training'} on {run.recipe.base}"
        facts = [
            (key, str(value)) for key, value in report.items() if key not in ("identity", "curve", "roles")
        ]
        write_curve(run.out, steps, title, facts)
        if outcome.status != "interrupted":
            write_text(run.out / REPORT_NAME, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        return report


def _row_tokens(run: Prepared) -> Callable[[int], int]:
    """The tokens of a step's rows had each run alone."""
    options, train = run.options, run.data.train

    @cache
    def epoch_of(number: int) -> list[int]:
        order = order_epoch(train, options.batching, options.seed, number)
        return [sum(len(train[row].ids) for row in rows) for rows in order]

    def of(step: int) -> int:
        epoch = 0
        at = step - 1
        while at >= len(epoch_of(epoch)):
            at -= len(epoch_of(epoch))
            epoch += 1
        return epoch_of(epoch)[at]

    return of


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second process out of the run folder. Raises RolekitError where one is at work."""
    from filelock import FileLock, Timeout

    lock = FileLock(ensure_dir(out) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RolekitError(
            f"Another process is training into {out}.", "Wait for it, stop it, or choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()
