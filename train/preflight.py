"""What a run will cost, said before it begins: memory from the model's shape, time and disk from a few real passes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.text import size
from rolekit.train.bases import Shape
from rolekit.train.examples import Example
from rolekit.train.loop import LoopOptions
from rolekit.train.memory import peak_bytes
from rolekit.train.packing import StepPlan, build_pack, order_epoch, packed_tokens, plan_evaluation, plan_step
from rolekit.train.recipe import Recipe
from rolekit.train.sampling import Sampler
from rolekit.train.stepping import Stepper

DEFAULT_PACK_TOKENS = 2048
PROCESSOR_PACK_TOKENS = 1280
"""The same on a processor: a step of sixteen rows becomes two even packs there, which takes two thirds of the memory
and no more time (tests/benchmarks/rocit_speed.md)."""
_LEAST_PACK_TOKENS = 256
_LIBRARIES_BYTES = 500 << 20
"""torch or MLX with their libraries, before any model is loaded."""
_SPARE = 0.9
"""The share of free memory that a run may plan with."""
_MOST_PLANNED_STEPS = 40


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a run is laid out so that it fits; bytes is what it will need at most, about."""

    pack_tokens: int
    checkpointing: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost."""

    steps: int
    tokens: int
    """Tokens that go through the model in the whole run, a shared prefix once a pack; held-out rows too."""
    row_tokens: int
    """The same had each row been run alone."""
    seconds: float
    memory_bytes: int
    disk_bytes: int

    def as_json(self) -> dict[str, float | int]:
        """The estimate as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Samples:
    """The answers that a run shows on the way."""

    ask: Sampler | None = None
    every: int = 0
    """Steps between them; 0: with every held-out loss, or four times in all where none is held out."""
    tokens: int = 64

    def seconds(self, steps: int, evaluations: int) -> float:
        """What they take in the whole run, from one that is cut short."""
        ask = self.ask
        if ask is None:
            return 0.0
        count = steps // self.every if self.every else evaluations or min(steps, 4)
        ask(1)
        first, longer = _seconds(partial(ask, 1)), _seconds(partial(ask, 9))
        return count * (first + max(longer - first, 0.0) / 8 * (self.tokens - 1))


def needed_bytes(shape: Shape, recipe: Recipe, pack_tokens: int, *, wide: bool, checkpointing: bool) -> int:
    """About how much memory training takes at most. wide: the backend computes in 32 bits."""
    storage = 4 if recipe.dtype == "float32" else 2
    if recipe.lora.quantize == "nf4":
        storage = 1
    weights = shape.parameters * storage
    per_layer = 4 * shape.width + 3 * shape.feed_forward
    trained = recipe.lora.r * 2 * per_layer * (len(recipe.lora.layers_to_transform) or shape.layers)
    numbers = 12 * shape.width + 4 * shape.feed_forward
    layers = 1 if checkpointing else shape.layers
    activations = pack_tokens * (numbers * layers + 2 * shape.width * shape.layers * checkpointing)
    head = 64 << 20
    return round(_LIBRARIES_BYTES + weights + trained * 16 + activations * (4 if wide else 2) + head)


def plan_memory(
    shape: Shape,
    recipe: Recipe,
    longest_row: int,
    free_bytes: int,
    *,
    wide: bool,
    usual_tokens: int = DEFAULT_PACK_TOKENS,
    begun: MemoryPlan | None = None,
) -> MemoryPlan:
    """Packs of usual_tokens or the largest that fit, recomputing activations only where nothing else does.

    free_bytes 0: unknown. begun is the plan of a run that goes on: it is kept where it still fits, for another one
    would change the last digits. Raises RolekitError that says what to change when a run cannot fit.
    """
    asked = recipe.batch.pack_tokens
    least = max(longest_row, _LEAST_PACK_TOKENS)
    sizes = [asked] if asked else [tokens for tokens in _halves(max(usual_tokens, least)) if tokens >= least]
    ways = {"auto": (False, True), "on": (True,), "off": (False,)}[recipe.checkpointing]
    room = free_bytes * _SPARE
    if begun is not None and (not free_bytes or begun.bytes <= room):
        return begun
    for checkpointing in ways:
        for tokens in sizes or [least]:
            need = needed_bytes(shape, recipe, tokens, wide=wide, checkpointing=checkpointing)
            if not free_bytes or need <= room:
                return MemoryPlan(tokens, checkpointing, need)
    need = needed_bytes(shape, recipe, (sizes or [least])[-1], wide=wide, checkpointing=ways[-1])
    raise _cannot_fit(shape, recipe, need, free_bytes, longest_row, wide=wide)


def _halves(tokens: int) -> list[int]:
    sizes = [tokens]
    while sizes[-1] > _LEAST_PACK_TOKENS:
        sizes.append(sizes[-1] // 2)
    return sizes


def _cannot_fit(
    shape: Shape, recipe: Recipe, need: int, free_bytes: int, longest_row: int, *, wide: bool
) -> RolekitError:
    advice = []
    for change, settings in (
        ("checkpointing=on", {"checkpointing": "on"}),
        ("dtype=bfloat16", {"dtype": "bfloat16"}),
        (f"max_tokens={max(longest_row // 2, 256)}", {}),
    ):
        other = recipe.model_copy(update=settings)
        tokens = max(longest_row // (1 if settings else 2), _LEAST_PACK_TOKENS)
        least = needed_bytes(shape, other, tokens, wide=wide, checkpointing=other.checkpointing != "off")
        if least < need:
            advice.append(f"--set {change} (about {size(least)})")
    advice.append("close other programs, or choose a smaller base")
    return RolekitError(
        f"This run needs about {size(need)} of memory, and {size(free_bytes)} are free.",
        f"Try {', '.join(advice)}.",
    )


def measure(
    stepper: Stepper,
    train: Sequence[Example],
    held_out: Sequence[Example],
    options: LoopOptions,
    steps: int,
    samples: Samples = Samples(),
) -> Estimate:
    """An estimate from real passes over the run's own packs; the model is as before afterwards.

    The largest pack comes first, so that the memory it takes is what the run will take.
    """
    plans, tokens, row_tokens = _planned(train, options, steps)
    largest = max(
        (pack for plan in plans for pack in plan.packs), key=lambda pack: _tokens(train, pack, options)
    )
    middle = plans[0].packs[len(plans[0].packs) // 2]
    _timed(stepper, train, largest, options)
    seconds = tokens * _timed(stepper, train, middle, options)
    evaluations = 0
    if held_out:
        every = options.eval_every or max(
            round(len(order_epoch(train, options.batching, options.seed, 0)) / 4), 1
        )
        evaluations = steps // every + bool(steps % every)
        plan = plan_evaluation(held_out, options.batching)
        pack = build_pack(held_out, plan.packs[0], shared_prefix=plan.shared_prefix)
        first = _seconds(partial(stepper.evaluate, pack))
        share = _tokens(held_out, plan.packs[0], options) / packed_tokens(held_out, plan)
        seconds += evaluations * first / share
        tokens += evaluations * packed_tokens(held_out, plan)
        row_tokens += evaluations * sum(len(row.ids) for row in held_out)
    seconds += samples.seconds(steps, evaluations)
    state = sum(values.nbytes for values in stepper.state().values())
    # The checkpoints that are kept, the one being written, and the best adapter, a third of a state.
    disk = state * (options.keep + 1) + (state // 3 if held_out else 0)
    return Estimate(steps, tokens, row_tokens, seconds, peak_bytes(), disk)


def check_disk(folder: Path, needed: int) -> None:
    """Raises RolekitError when folder's disk has no room for so many bytes."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RolekitError(
            f"This run writes about {size(needed)}, and {size(free)} are free on the disk of {folder}.",
            "Make room, choose another --out, or keep fewer checkpoints (--set run.keep_checkpoints=1).",
        )


def _planned(train: Sequence[Example], options: LoopOptions, steps: int) -> tuple[list[StepPlan], int, int]:
    """Some of the run's steps (all of a short one), and the tokens of all of them: computed, and row by row."""
    plans: list[StepPlan] = []
    tokens = row_tokens = 0
    epoch = 0
    while len(plans) < min(steps, _MOST_PLANNED_STEPS):
        for rows in order_epoch(train, options.batching, options.seed, epoch)[
            : _MOST_PLANNED_STEPS - len(plans)
        ]:
            plan = plan_step(train, rows, options.batching)
            plans.append(plan)
            tokens += packed_tokens(train, plan)
            row_tokens += sum(len(train[row].ids) for row in rows)
        epoch += 1
    factor = steps / len(plans)
    return plans, round(tokens * factor), round(row_tokens * factor)


def _tokens(rows: Sequence[Example], pack: Sequence[int], options: LoopOptions) -> int:
    return build_pack(rows, pack, shared_prefix=options.batching.shared_prefix).tokens


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _timed(stepper: Stepper, rows: Sequence[Example], indices: Sequence[int], options: LoopOptions) -> float:
    """Seconds a token of one forward and backward pass, undone afterwards."""
    pack = build_pack(rows, indices, shared_prefix=options.batching.shared_prefix)
    began = time.perf_counter()
    stepper.forward_backward(pack, pack.supervised, (0, 0, 0))
    stepper.discard()
    return (time.perf_counter() - began) / pack.tokens
