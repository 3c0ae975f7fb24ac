"""One process or several: under torchrun or accelerate launch the same recipe trains on all of them.

Adapters are small, so they are whole everywhere and their gradients are summed once a step, however a step's packs
were dealt out. With FSDP the frozen base is spread over the processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(slots=True)
class Processes:
    """The group of processes; by itself: one, on the processor."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharded: bool = False
    """The frozen base is spread over the processes (FSDP)."""
    accelerator: Any = None

    def add_up(self, tensor: torch.Tensor) -> None:
        """Replace tensor by its sum over all processes."""
        if self.count > 1:
            tensor.copy_(self.accelerator.reduce(tensor, reduction="sum"))

    def total(self, value: float) -> float:
        """The sum of value over all processes."""
        if self.count == 1:
            return value
        given = torch.tensor([value], dtype=torch.float64, device=self.device)
        return float(self.accelerator.reduce(given, reduction="sum")[0])

    def shard(self, base: Any, adapters: Sequence[torch.nn.Parameter]) -> None:
        """Spread the layers' frozen weights over the processes (FSDP2); adapters stay whole everywhere."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.count,))
        for layer in base.model.layers:
            fully_shard(layer, mesh=mesh, ignored_params=set(adapters))


def join_processes() -> Processes:
    """The processes that torchrun or accelerate launch started; alone, the best device of this machine."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=best_device())
    from accelerate import Accelerator

    # Which weights are spread is decided here; accelerate's own wrapper would spread the adapters too.
    sharded = os.environ.pop("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true")
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    return Processes(
        accelerator.process_index, accelerator.num_processes, accelerator.device, sharded, accelerator
    )


def best_device() -> torch.device:
    """CUDA, else the processor; Apple's GPU is better served by the MLX backend."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
