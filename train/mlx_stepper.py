"""Training with MLX: mlx-lm's models and LoRA layers under our packs, our loss and our loop."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.adapter_folder import CONFIG_FILE, WEIGHTS_FILES
from rolekit.errors import RolekitError
from rolekit.train.checkpoints import State
from rolekit.train.interop import unified
from rolekit.train.interop_peft import to_peft
from rolekit.train.lora_adapter import LoraAdapter, LoraModule
from rolekit.train.mlx_forward import hidden_at_sources, loss_sum
from rolekit.train.mlx_layers import add_noise, recompute_layers
from rolekit.train.mlx_model import MlxModel, add_lora, load_mlx
from rolekit.train.packing import Pack
from rolekit.train.recipe import Recipe
from rolekit.train.tensors import Tensor, write_tensors


class MlxStepper:
    """The Stepper of the MLX backend. Make it with open_mlx().

    Adapters are float32 whatever the base is; random numbers come from the keys alone.
    """

    rank = 0
    processes = 1

    def __init__(self, model: MlxModel, layers: dict[str, Any], recipe: Recipe, base: str) -> None:
        """layers: LoRA layers by path, drawn anew from recipe.seed; base: what adapters are of."""
        import mlx.core as mx
        from mlx.optimizers import AdamW

        self._model, self._layers, self._base = model, layers, base
        self._dropout, self._neftune = recipe.lora.dropout, recipe.batch.neftune
        self._embedding = add_noise(model) if self._neftune else None
        if recipe.checkpointing == "on":
            recompute_layers(model, layers)
        settings = recipe.optimiser
        self._optimizer = AdamW(
            settings.lr, list(settings.betas), settings.epsilon, settings.weight_decay, bias_correction=True
        )
        self._parameters = self._initial(recipe.seed)
        self._optimizer.init(self._parameters)
        self._gradient: dict[str, Any] = {}
        self._assign(self._parameters)
        mx.eval(self._parameters, self._optimizer.state)

    def forward_backward(self, pack: Pack, denominator: int, key: tuple[int, int, int]) -> float:
        """Add the gradient of (sum of the pack's token losses / denominator); return the sum, in nats."""
        import mlx.core as mx

        self._check_length(pack)
        self._train(self._dropout > 0)
        mx.random.seed(int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little"))
        if self._embedding is not None:
            width = self._model.model.model.norm.weight.shape[0]
            self._embedding.bound = self._neftune / math.sqrt((int(pack.positions.max()) + 1) * width)
        loss, gradient = mx.value_and_grad(lambda given: self._loss(given, pack))(self._parameters)
        for name, value in gradient.items():
            value = value / denominator
            self._gradient[name] = self._gradient[name] + value if name in self._gradient else value
        mx.eval(loss, self._gradient)
        self._assign(self._parameters)
        return float(np.array(loss))

    def step(self, learning_rate: float, max_norm: float) -> float:
        """Clip, update, clear; the gradient's norm before clipping. Nothing changes when it is not finite."""
        import mlx.core as mx

        squares = [float(np.array(mx.square(value).sum())) for value in self._gradient.values()]
        norm = math.sqrt(sum(squares))
        if math.isfinite(norm):
            factor = min(max_norm / (norm + 1e-6), 1.0) if max_norm else 1.0
            gradient = {name: value * factor for name, value in self._gradient.items()}
            self._optimizer.learning_rate = learning_rate
            self._parameters = self._optimizer.apply_gradients(gradient, self._parameters)
            self._assign(self._parameters)
            mx.eval(self._parameters, self._optimizer.state)
        self.discard()
        return norm

    def remember(self, pack: Pack) -> None:
        """Nothing is kept from epoch to epoch."""

    def idle(self, pack: Pack) -> None:
        """There are no other processes."""

    def discard(self) -> None:
        """Clear the gradient that has been added up."""
        self._gradient = {}

    def evaluate(self, pack: Pack) -> float:
        """The sum of the pack's token losses, in nats; without dropout and noise."""
        self._check_length(pack)
        self._train(False)
        return float(np.array(self._loss(self._parameters, pack)))

    def total(self, value: float) -> float:
        """value: there is one process."""
        return value

    def state(self) -> State:
        """Adapter and optimizer, as arrays that are not changed afterwards."""
        moments = self._optimizer.state
        state = {"optimizer.step": np.array(moments["step"])}
        for name, value in self._parameters.items():
            state[f"adapter.{name}"] = np.array(value)
            for moment in ("m", "v"):
                state[f"optimizer.{moment}.{name}"] = np.array(moments[name][moment])
        return state

    def load_state(self, state: State) -> None:
        """Become what state() described."""
        import mlx.core as mx

        self._parameters = {name: mx.array(state[f"adapter.{name}"]) for name in self._parameters}
        moments = self._optimizer.state
        moments["step"] = mx.array(state["optimizer.step"])
        for name in self._parameters:
            for moment in ("m", "v"):
                moments[name][moment] = mx.array(state[f"optimizer.{moment}.{name}"])
        self._optimizer.state = moments
        self._assign(self._parameters)
        self.discard()

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter as a stock peft folder; `mlx` adapters are one conversion away."""
        config, tensors = to_peft(unified(self.adapter()))
        write_tensors(folder / WEIGHTS_FILES["peft"], tensors, {"format": "pt"})
        text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    @property
    def trained_parameters(self) -> int:
        """How many numbers the adapter has."""
        return sum(int(value.size) for value in self._parameters.values())

    def generate(self, ids: tuple[int, ...], stop_ids: frozenset[int], max_tokens: int) -> tuple[int, ...]:
        """The most likely continuation of a prompt, without the token that ends it."""
        import mlx.core as mx
        from mlx_lm.models.cache import make_prompt_cache

        self._train(False)
        cache = make_prompt_cache(self._model.model)
        given, found = mx.array([ids]), list[int]()
        while len(found) < max_tokens:
            logits = self._model.model(given, cache=cache)[0, -1]
            best = int(np.array(mx.argmax(logits)))
            if best in stop_ids:
                break
            found.append(best)
            given = mx.array([[best]])
        return tuple(found)

    def adapter(self) -> LoraAdapter:
        """The adapter as it stands, in no package's format."""
        modules = tuple(
            LoraModule(
                path,
                self._tensor(f"{path}.lora_a").transposed,
                self._tensor(f"{path}.lora_b").transposed,
                layer.scale,
                self._tensor(f"{path}.m") if "m" in layer else None,
            )
            for path, layer in self._layers.items()
        )
        return LoraAdapter(modules, self._base, self._dropout)

    def _tensor(self, name: str) -> Tensor:
        return Tensor("F32", np.array(self._parameters[name]))

    def _loss(self, parameters: dict[str, Any], pack: Pack) -> Any:
        import mlx.core as mx

        self._assign(parameters)
        hidden = hidden_at_sources(self._model.inner, self._model.layers, pack)
        return loss_sum(self._model.head, hidden, mx.array(pack.labels), self._model.vocabulary)

    def _assign(self, parameters: dict[str, Any]) -> None:
        for name, value in parameters.items():
            path, _, part = name.rpartition(".")
            self._layers[path][part] = value

    def _initial(self, seed: int) -> dict[str, Any]:
        """The adapter that changes nothing: a uniform in ±1/sqrt(inputs) as peft has it, b zero, m the norms."""
        import mlx.core as mx

        random, parameters = np.random.default_rng(seed), {}
        for path, layer in self._layers.items():
            inputs, rank = layer.lora_a.shape
            bound = 1 / math.sqrt(inputs)
            parameters[f"{path}.lora_a"] = mx.array(
                random.uniform(-bound, bound, (inputs, rank)).astype("f4")
            )
            parameters[f"{path}.lora_b"] = mx.zeros(layer.lora_b.shape)
            if "m" in layer:
                parameters[f"{path}.m"] = layer.m.astype(mx.float32)
        return parameters

    def _train(self, training: bool) -> None:
        for layer in self._layers.values():
            layer.train(training)
        if self._embedding is not None:
            self._embedding.bound = 0.0

    def _check_length(self, pack: Pack) -> None:
        longest, window = int(pack.positions.max()) + 1, self._model.window
        if 0 < window < longest:
            raise RolekitError(
                f"A row has {longest} tokens, and mlx-lm computes this family rightly up to its window of {window}.",
                f"Set max_tokens to {window} or less, or train with --backend torch.",
            )


def open_mlx(recipe: Recipe, folder: Path, base_name: str = "") -> MlxStepper:
    """The base in folder with a new adapter, ready to train; base_name is what the adapter calls its base.

    Raises RolekitError for a base or a recipe that MLX cannot train.
    """
    if recipe.lora.quantize != "none":
        raise RolekitError(
            "lora.quantize is for the torch backend.",
            "With MLX name a base that is quantized already (mlx_lm.convert -q makes one).",
        )
    model = load_mlx(folder, recipe.dtype)
    return MlxStepper(model, add_lora(model, recipe.lora), recipe, base_name or recipe.base)
