"""What the loop asks of a backend, and what it tells those who watch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rolekit.train.checkpoints import State
from rolekit.train.packing import Pack


class Stepper(Protocol):
    """A model with an adapter that can be trained: torch or MLX.

    A stepper has no hidden memory: state() is everything, and random numbers depend on the key alone, so a run
    that is loaded from a checkpoint goes on bit for bit.
    """

    @property
    def rank(self) -> int:
        """Which of the processes this one is; 0 writes files."""
        ...

    @property
    def processes(self) -> int:
        """How many train together; each is given its share of a step's packs."""
        ...

    def forward_backward(self, pack: Pack, denominator: int, key: tuple[int, int, int]) -> float:
        """Add the gradient of (sum of the pack's token losses / denominator); return the sum, in nats.

        denominator is the number of supervised tokens of the whole step, so however a step is cut into packs its
        gradient is the same. key (seed, step, pack) seeds dropout and NEFTune noise.
        """
        ...

    def remember(self, pack: Pack) -> None:
        """Told of each pack of the first epoch before it is trained on, and of all that passed when a run goes on.

        A backend may keep what frozen layers below the first adapter make of it; it may do nothing.
        """
        ...

    def idle(self, pack: Pack) -> None:
        """Take part in what other processes compute together, for want of a pack, and add nothing."""
        ...

    def step(self, learning_rate: float, max_norm: float) -> float:
        """Clip the gradient to max_norm (0: not at all), update the adapter, clear the gradient.

        Returns the gradient's norm before clipping. When it is not finite the adapter is left as it was.
        """
        ...

    def discard(self) -> None:
        """Clear the gradient that has been added up."""
        ...

    def evaluate(self, pack: Pack) -> float:
        """The sum of the pack's token losses, in nats; without dropout and noise."""
        ...

    def total(self, value: float) -> float:
        """The sum of value over all processes."""
        ...

    def state(self) -> State:
        """Adapter and optimizer, as arrays that are not changed afterwards."""
        ...

    def load_state(self, state: State) -> None:
        """Become what state() described."""
        ...

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter into an existing empty folder, the way stock libraries load it."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """The run begins, or goes on behind `step`."""

    step: int
    steps: int
    epochs: float
    rows: int
    held_out_rows: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer step."""

    step: int
    steps: int
    epoch: float
    """Epochs done, with fraction."""
    loss: float
    """Mean over the step's supervised tokens, nats."""
    learning_rate: float
    gradient_norm: float
    rows: int
    tokens: int
    """Tokens computed."""
    supervised: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The held-out loss after `step`."""

    step: int
    loss: float
    best: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know; the run goes on."""

    text: str


LoopEvent = Started | StepDone | Evaluated | Saved | Warned
