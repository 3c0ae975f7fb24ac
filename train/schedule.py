"""The learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up over warmup_steps, then kind down to floor (a fraction of peak) at the last of steps."""

    peak: float
    steps: int
    kind: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = 0
    floor: float = 0.0

    def rate(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        left = max(self.steps - self.warmup_steps, 1)
        done = min((step - self.warmup_steps) / left, 1.0)
        shape = {
            "constant": 1.0,
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        }[self.kind]
        return self.peak * (self.floor + (1.0 - self.floor) * shape)
