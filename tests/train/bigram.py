"""A stepper in plain numpy: next-token logits are a row of one matrix, trained with Adam. Small, but all real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rolekit.train.checkpoints import State
from rolekit.train.packing import Pack

Floats = NDArray[np.float64]


class BigramStepper:
    """Learns which token follows which."""

    rank = 0
    processes = 1

    def __init__(self, vocabulary: int = 50) -> None:
        self.weight: Floats = np.zeros((vocabulary, vocabulary))
        self.gradient = np.zeros_like(self.weight)
        self.first = np.zeros_like(self.weight)
        self.second = np.zeros_like(self.weight)
        self.taken = 0
        self.poison = False

    def _losses(self, pack: Pack) -> tuple[Floats, Floats]:
        logits = self.weight[pack.ids[pack.sources]]
        logits = logits - logits.max(axis=1, keepdims=True)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return -np.log(chances[np.arange(pack.supervised), pack.labels]), chances

    def forward_backward(self, pack: Pack, denominator: int, key: tuple[int, int, int]) -> float:
        losses, chances = self._losses(pack)
        chances[np.arange(pack.supervised), pack.labels] -= 1
        noise = np.random.default_rng(key).normal(scale=1e-3, size=chances.shape)
        np.add.at(self.gradient, pack.ids[pack.sources], (chances + noise) / denominator)
        return float("nan") if self.poison else float(losses.sum())

    def step(self, learning_rate: float, max_norm: float) -> float:
        norm = float(np.linalg.norm(self.gradient))
        self.taken += 1
        self.first += 0.1 * (self.gradient - self.first)
        self.second += 0.001 * (self.gradient**2 - self.second)
        scale = learning_rate / (1 - 0.9**self.taken)
        self.weight = self.weight - scale * self.first / (np.sqrt(self.second) + 1e-8)
        self.discard()
        return norm

    def remember(self, pack: Pack) -> None:
        """Nothing."""

    def idle(self, pack: Pack) -> None:
        """Nothing."""

    def discard(self) -> None:
        self.gradient = np.zeros_like(self.weight)

    def evaluate(self, pack: Pack) -> float:
        return float(self._losses(pack)[0].sum())

    def total(self, value: float) -> float:
        return value

    def state(self) -> State:
        return {
            "weight": self.weight.copy(),
            "first": self.first.copy(),
            "second": self.second.copy(),
            "taken": np.array([self.taken]),
        }

    def load_state(self, state: State) -> None:
        self.weight, self.first, self.second = (state[name].copy() for name in ("weight", "first", "second"))
        self.taken = int(state["taken"][0])

    def save_adapter(self, folder: Path) -> None:
        (folder / "adapter.bin").write_bytes(self.weight.tobytes())
