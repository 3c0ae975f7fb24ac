"""An mlx-lm adapter on a transformers model, for the reference: PEFT does not read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.convert.adapter import Adapter, LowRank, read_adapter
from rolekit.convert.source import span
from rolekit.errors import RolekitError
from rolekit.text import one_line


class HookedAdapter:
    """Low-rank changes added to the outputs of a model's linear layers, as they are during training."""

    def __init__(self, model: Any, folder: Path) -> None:
        """Hook folder's adapter into model (a transformers module).

        Raises RolekitError when it changes what the model has not. Changes that are not low-rank (DoRA, whole
        tensors) go into the weights for good: then there is no bare model any more.
        """
        adapter = read_adapter(folder)
        self._on = True
        self.can_be_left_out = not _needs_merging(adapter)
        for name in sorted(adapter.changed() | set(adapter.saved())):
            self._put(model, name, adapter)

    def _put(self, model: Any, name: str, adapter: Adapter) -> None:
        module_name, _, kind = name.rpartition(".")
        try:
            module = model.get_submodule(module_name)
            parameter = getattr(module, kind)
        except AttributeError as error:
            raise RolekitError(
                f"The adapter changes {one_line(name)}, which the base has not.",
                "Use the base that the adapter was trained on.",
            ) from error
        low = adapter.low_rank.get(name)
        if self.can_be_left_out and low is not None and hasattr(module, "in_features"):
            module.register_forward_hook(self._hook(low))
        else:
            self.can_be_left_out = False
            _merge(parameter, name, adapter)

    def _hook(self, low: LowRank) -> Any:
        import torch

        a = torch.from_numpy(low.a.read().copy())
        b = torch.from_numpy(low.b.read() * np.float32(low.scale))

        def add(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
            if not self._on:
                return output
            return output + ((inputs[0].float() @ a.T) @ b.T).to(output.dtype)

        return add

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """The bare model, for the block."""
        self._on = False
        try:
            yield
        finally:
            self._on = True


def _needs_merging(adapter: Adapter) -> bool:
    whole = adapter.saved() or adapter.bias_deltas or adapter.token_rows or adapter.unchanged
    return bool(whole) or any(low.magnitude is not None for low in adapter.low_rank.values())


def _merge(parameter: Any, name: str, adapter: Adapter) -> None:
    import torch

    rows = span(0, parameter.shape[0])
    if name in adapter.saved():
        values = adapter.saved_rows(name, rows)
    else:
        values = parameter.detach().float().numpy().copy()
    if name in adapter.changed():
        values = adapter.rows(name, rows, values)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values.reshape(tuple(parameter.shape))))
