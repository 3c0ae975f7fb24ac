"""The training loop: which rows when, at what rate, when to look, when to stop. It knows no tensor library.

Everything that happens is decided by the options, the rows and the step number, so a run that is killed at any
moment and started again ends with the same bytes.
"""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Literal

from rolekit.errors import RolekitError
from rolekit.train.checkpoints import Checkpoints, Standing, write_folder
from rolekit.train.examples import Example
from rolekit.train.packing import (
    Batching,
    Pack,
    StepPlan,
    build_pack,
    order_epoch,
    plan_evaluation,
    plan_step,
)
from rolekit.train.recipe import Recipe
from rolekit.train.schedule import Schedule
from rolekit.train.stepping import Evaluated, LoopEvent, Saved, Started, StepDone, Stepper, Warned


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """What decides a run besides rows and model; the recipe's values, resolved."""

    batching: Batching = field(default_factory=Batching)
    epochs: float = 2.0
    max_steps: int = 0
    """0: as many as the epochs have."""
    seed: int = 0
    learning_rate: float = 2e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.05
    final: float = 0.1
    max_norm: float = 1.0
    eval_every: int = 0
    """Steps between held-out losses; 0: four times an epoch."""
    save_every: int = 0
    """Steps between checkpoints; 0: as often as costs under a hundredth of the time."""
    keep: int = 2
    patience: int = 0
    """Evaluations without a better held-out loss before the run stops; 0: never."""
    best: bool = True
    """Hand on the adapter with the best held-out loss instead of the last one."""


def loop_options(recipe: Recipe, pack_tokens: int) -> LoopOptions:
    """The recipe's part that the loop needs; pack_tokens is used where the recipe leaves it to the machine."""
    batch, run, optimiser = recipe.batch, recipe.run, recipe.optimiser
    batching = Batching(
        rows_per_step=batch.rows_per_step,
        tokens_per_step=batch.tokens_per_step,
        pack_tokens=batch.pack_tokens or pack_tokens,
        shared_prefix=batch.shared_prefix,
    )
    return LoopOptions(
        batching, run.epochs, run.steps, recipe.seed, optimiser.lr, optimiser.schedule, optimiser.warmup,
        optimiser.final_lr, optimiser.clip, run.eval_every, run.save_every, run.keep_checkpoints,
        run.patience, run.best,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: Literal["finished", "stopped early", "interrupted"]
    step: int
    best_loss: float | None
    best_step: int
    adapter: Path | None
    """The finished adapter's folder; None when the run was interrupted."""
    supervised_tokens: int
    seconds: float


@dataclass(slots=True)
class Loop:
    """One run in one folder: <folder>/checkpoints, <folder>/best, <folder>/adapter.

    identity stands for recipe, data and base. sidecar names text files that go beside the adapter. watch is told
    of every event, in the calling thread. cancel may be set from anywhere.
    """

    stepper: Stepper
    rows: Sequence[Example]
    held_out: Sequence[Example]
    options: LoopOptions
    folder: Path
    identity: str
    watch: Callable[[LoopEvent], None] = lambda event: None
    sidecar: Mapping[str, str] = field(default_factory=dict)
    cancel: threading.Event = field(default_factory=threading.Event)
    _standing: Standing = field(default_factory=Standing, init=False)
    _epoch: tuple[int, list[list[int]]] = field(default=(-1, []), init=False)
    _ends: list[int] = field(default_factory=list, init=False)
    """The step behind the last one of each epoch."""
    _last_save: tuple[float, float] = field(default=(0.0, 0.0), init=False)
    """When the last checkpoint was begun, and how long it took, in seconds."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        if not self._ends:
            for epoch in range(math.ceil(self.options.epochs)):
                steps = len(self._order(epoch))
                share = min(self.options.epochs - epoch, 1.0)
                self._ends.append((self._ends or [0])[-1] + max(round(steps * share), 1))
        return min(self._ends[-1], self.options.max_steps or self._ends[-1])

    def _order(self, epoch: int) -> list[list[int]]:
        if self._epoch[0] != epoch:
            self._epoch = epoch, order_epoch(self.rows, self.options.batching, self.options.seed, epoch)
        return self._epoch[1]

    def run(self) -> Outcome:
        """Train to the end, going on from the latest whole checkpoint.

        Raises RolekitError for empty data, a folder of another run, a loss that is not finite, a full disk.
        """
        if not self.rows:
            raise RolekitError("There is no row to train on.", "Check the data: rolekit data check FILE.")
        steps = self.steps
        checkpoints = Checkpoints(self.folder / "checkpoints", self.identity, self.options.keep)
        self._resume(checkpoints)
        self.watch(
            Started(self._standing.step, steps, self.options.epochs, len(self.rows), len(self.held_out))
        )
        schedule = self._schedule()
        while self._standing.step < steps and not self._standing.stopped:
            if not self._one_step(schedule, checkpoints):
                self._save(checkpoints)
                return self._outcome("interrupted", None)
            evaluated = self._evaluate_when_due()
            last = self._standing.step == steps
            if evaluated or last or self._save_is_due():
                self._save(checkpoints)
        adapter = self._finish(checkpoints)
        return self._outcome("stopped early" if self._standing.stopped else "finished", adapter)

    def _schedule(self) -> Schedule:
        options = self.options
        warmup = round(options.warmup * self.steps)
        return Schedule(options.learning_rate, self.steps, options.schedule, warmup, options.final)

    def _resume(self, checkpoints: Checkpoints) -> None:
        found = checkpoints.load(lambda text: self.watch(Warned(text)))
        if found:
            self._standing, state = found
            self.stepper.load_state(state)
            for step in range(min(self._standing.step, self._ends[0])):
                plan, _ = self._plan(step)
                for indices in plan.packs:
                    self._remember(build_pack(self.rows, indices, shared_prefix=plan.shared_prefix))

    def _remember(self, pack: Pack) -> None:
        if self.stepper.processes == 1 and self.options.epochs > 1:
            self.stepper.remember(pack)

    def _plan(self, step: int) -> tuple[StepPlan, float]:
        """The packs of a step, and how many epochs are done behind it."""
        epoch = bisect_right(self._ends, step)
        order = self._order(epoch)
        within = step - (self._ends[epoch - 1] if epoch else 0)
        plan = plan_step(self.rows, order[within], self.options.batching)
        return plan, epoch + (within + 1) / len(order)

    def _one_step(self, schedule: Schedule, checkpoints: Checkpoints) -> bool:
        """Take the next step; False when it was cancelled, with model and standing as they were."""
        began, step = time.perf_counter(), self._standing.step
        plan, epoch = self._plan(step)
        loss_sum, tokens = 0.0, 0
        if self._cancelled():
            return False
        alone = self.stepper.processes == 1
        for number, mine in self._share(len(plan.packs)):
            if alone and self.cancel.is_set():
                self.stepper.discard()
                return False
            pack = build_pack(self.rows, plan.packs[number], shared_prefix=plan.shared_prefix)
            if not mine:
                self.stepper.idle(pack)
                continue
            if step < self._ends[0]:
                self._remember(pack)
            loss_sum += self.stepper.forward_backward(
                pack, plan.supervised, (self.options.seed, step, number)
            )
            tokens += pack.tokens
        loss = self.stepper.total(loss_sum) / plan.supervised
        rate = schedule.rate(step)
        norm = self.stepper.step(rate, self.options.max_norm) if math.isfinite(loss) else math.nan
        if not math.isfinite(norm):
            raise self._not_finite(step, loss, checkpoints)
        seconds = time.perf_counter() - began
        self._standing = replace(
            self._standing,
            step=step + 1,
            supervised_tokens=self._standing.supervised_tokens + plan.supervised,
            seconds=self._standing.seconds + seconds,
        )
        self.watch(
            StepDone(step + 1, self.steps, epoch, loss, rate, norm, plan.rows,
                     round(self.stepper.total(tokens)), plan.supervised, seconds)
        )  # fmt: skip
        return True

    def _share(self, packs: int) -> Iterator[tuple[int, bool]]:
        """This process's packs; every process gets as many, some of them another's (False)."""
        rank, processes = self.stepper.rank, self.stepper.processes
        for first in range(0, packs, processes):
            yield min(first + rank, packs - 1), first + rank < packs

    def _cancelled(self) -> bool:
        """Whether any process was told to stop; all of them see the same answer."""
        return self.stepper.total(float(self.cancel.is_set())) > 0

    def _evaluate_when_due(self) -> bool:
        step, every = self._standing.step, self.options.eval_every or max(round(self._ends[0] / 4), 1)
        if not self.held_out or (step % every and step != self.steps):
            return False
        began = time.perf_counter()
        plan = plan_evaluation(self.held_out, self.options.batching)
        found = 0.0
        for number, mine in self._share(len(plan.packs)):
            pack = build_pack(self.held_out, plan.packs[number], shared_prefix=plan.shared_prefix)
            found += self.stepper.evaluate(pack) * mine
        loss = self.stepper.total(found) / plan.supervised
        best = self._standing.best_loss is None or loss < self._standing.best_loss
        if best:
            self._standing = replace(
                self._standing, best_loss=loss, best_step=step, evaluations_without_gain=0
            )
            self._write_adapter(self.folder / "best")
        else:
            waited = self._standing.evaluations_without_gain + 1
            stopped = 0 < self.options.patience <= waited
            self._standing = replace(self._standing, evaluations_without_gain=waited, stopped=stopped)
        self.watch(Evaluated(step, loss, best, time.perf_counter() - began))
        return True

    def _save_is_due(self) -> bool:
        """Whether it is time; processes decide together, for only the first one knows what a save costs."""
        if self.options.save_every:
            return self._standing.step % self.options.save_every == 0
        began, took = self._last_save
        due = self.stepper.rank == 0 and time.perf_counter() - began > 100 * took
        return self.stepper.total(float(due)) > 0

    def _save(self, checkpoints: Checkpoints) -> None:
        began = time.perf_counter()
        state = self.stepper.state()
        if self.stepper.rank == 0 and self._standing.step not in checkpoints.steps():
            path = checkpoints.save(self._standing, state)
            self._last_save = began, time.perf_counter() - began
            self.watch(Saved(self._standing.step, path))

    def _write_adapter(self, target: Path) -> None:
        if self.stepper.rank == 0:
            write_folder(target, self.stepper.save_adapter, files=self.sidecar)

    def _finish(self, checkpoints: Checkpoints) -> Path:
        """<folder>/adapter: the best one where there is a held-out loss, else the last."""
        target, best = self.folder / "adapter", self.folder / "best"
        if self.stepper.rank == 0:
            if self.options.best and self._standing.best_loss is not None and best.is_dir():

                def copy(part: Path) -> None:
                    shutil.copytree(best, part, dirs_exist_ok=True)

                write_folder(target, copy)
            else:
                self._write_adapter(target)
        return target

    def _not_finite(self, step: int, loss: float, checkpoints: Checkpoints) -> RolekitError:
        self.stepper.discard()
        good = checkpoints.steps()
        what = "loss" if not math.isfinite(loss) else "gradient"
        where = f"The last good checkpoint is {checkpoints.path(good[-1])}. " if good else ""
        return RolekitError(
            f"The {what} of step {step + 1} is not a finite number, so the run was stopped before it could "
            "spoil the adapter.",
            f"{where}Lower learning_rate (it is {self.options.learning_rate:g}) and train into a new folder.",
        )

    def _outcome(
        self, status: Literal["finished", "stopped early", "interrupted"], adapter: Path | None
    ) -> Outcome:
        standing = self._standing
        return Outcome(
            status, standing.step, standing.best_loss, standing.best_step, adapter,
            standing.supervised_tokens, standing.seconds,
        )  # fmt: skip


@contextmanager
def interruptible(cancel: threading.Event) -> Iterator[None]:
    """In the main thread: the first Ctrl+C (or SIGTERM) sets cancel, the second one interrupts at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
