"""A base for MLX: mlx-lm's own models, their settings put right, LoRA layers where the recipe wants them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.adapter_folder import matching
from rolekit.errors import RolekitError
from rolekit.text import one_line
from rolekit.train.mlx_forward import TreeCache
from rolekit.train.recipe import Lora

_PROBE = ((5, 9, 7), (6, 2))
"""A prefix and a row behind it, any ids."""


@dataclass(frozen=True, slots=True)
class MlxModel:
    """A frozen model that packs can go through. Make it with load_mlx()."""

    model: Any
    """mlx-lm's model, head included."""
    layers: int
    vocabulary: int
    window: int
    """Rows longer than this would be computed otherwise than by the model's authors; 0 means no such limit."""

    def inner(self, ids: Any, cache: Any) -> Any:
        """The last hidden states behind the final norm: [rows, length, width]."""
        return self.model.model(ids, cache=cache)

    def head(self, hidden: Any) -> Any:
        """Logits of hidden [rows, length, width], by the model's own code: soft caps, scales, tied weights."""
        return _with_inner(self.model, _Given(self.model.model))(hidden)


def load_mlx(folder: Path, dtype: str = "auto") -> MlxModel:
    """The model in a Hugging Face or MLX folder (safetensors only, no code from the folder), frozen.

    dtype auto: float32 on a CPU, else bfloat16; 4-bit and other quantized MLX folders stay as they are.
    Raises RolekitError for a family that mlx-lm does not know, or that packs would change.
    """
    import mlx.core as mx
    from mlx_lm.utils import load_model

    config = _config(folder)
    try:
        model, _ = load_model(folder, lazy=True, model_config=repaired(config, folder))
    except (ValueError, TypeError, KeyError, FileNotFoundError) as error:
        raise RolekitError(
            f"mlx-lm cannot load {folder} ({one_line(str(error), 160)}).",
            "Choose another base, or train with --backend torch.",
        ) from error
    gpu = mx.default_device().type == mx.DeviceType.gpu
    wanted = ("bfloat16" if gpu else "float32") if dtype == "auto" else dtype
    model.set_dtype(getattr(mx, wanted))
    model.freeze()
    model.eval()
    vocabulary, layers = int(config.get("vocab_size") or 0), len(model.layers)
    found = MlxModel(model, layers, vocabulary, 0)
    applied = _check_packs(found, str(config.get("model_type")), wanted)
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    unheeded = isinstance(window, int) and window > 0 and window not in applied
    return MlxModel(model, layers, vocabulary, window if unheeded and isinstance(window, int) else 0)


def repaired(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What has to be added to a config.json so that mlx-lm computes what transformers does.

    transformers 5 writes rope_parameters, which mlx-lm passes over in most families: it would silently take its
    own default base and no scaling. A missing tie_word_embeddings means different things to the two as well.
    """
    added: dict[str, Any] = {}
    rope = config.get("rope_parameters")
    if isinstance(rope, dict):
        local = rope.get("sliding_attention")
        rope = rope.get("full_attention", rope)
        if isinstance(local, dict) and "rope_theta" in local:
            added["rope_local_base_freq"] = local["rope_theta"]
        for key in ("rope_theta", "partial_rotary_factor"):
            if isinstance(rope, dict) and key in rope:
                added[key] = rope[key]
        kind = rope.get("rope_type", "default") if isinstance(rope, dict) else "default"
        if kind != "default":
            added["rope_scaling"] = {**rope, "type": kind, "rope_type": kind}
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and "full_attention" in kinds and "sliding_attention" in kinds:
        added["sliding_window_pattern"] = kinds.index("full_attention") + 1
    if "tie_word_embeddings" not in config:
        added["tie_word_embeddings"] = not _has_head(folder)
    return {key: value for key, value in added.items() if config.get(key) is None}


def add_lora(model: MlxModel, lora: Lora) -> dict[str, Any]:
    """Put LoRA (or DoRA) layers into the model; the new layers by module path, in order.

    Targets, layers_to_transform and the patterns mean what they mean to peft. Raises RolekitError when a target
    names nothing, or the output head.
    """
    from mlx.utils import tree_unflatten
    from mlx_lm.tuner.dora import DoRALinear
    from mlx_lm.tuner.lora import LoRALinear

    chosen = dict(_targets(model, lora))
    if not chosen:
        raise RolekitError(
            f"The base has no layer that lora.target_modules = {lora.target_modules} names.",
            f"It has {one_line(', '.join(sorted({path.split('.')[-1] for path, _ in _linears(model)})), 300)}.",
        )
    kind, layers = (DoRALinear if lora.dora else LoRALinear), {}
    for path, linear in chosen.items():
        rank = int(matching(lora.rank_pattern, path, lora.r))
        alpha = matching(lora.alpha_pattern, path, lora.alpha)
        scale = alpha / rank**0.5 if lora.rslora else alpha / rank
        layers[path] = kind.from_base(linear, r=rank, dropout=lora.dropout, scale=scale)
    model.model.update_modules(tree_unflatten(list(layers.items())))
    return layers


def _linears(model: MlxModel) -> Iterator[tuple[str, Any]]:
    from mlx import nn

    for path, module in model.model.named_modules():
        if isinstance(module, (nn.Linear, nn.QuantizedLinear)):
            yield path, module


def _targets(model: MlxModel, lora: Lora) -> Iterator[tuple[str, Any]]:
    names: Sequence[str] = () if lora.target_modules == "all-linear" else lora.target_modules
    for path, module in sorted(_linears(model)):
        parts = path.split(".")
        number = next((int(part) for part in parts if part.isdigit()), None)
        if lora.layers_to_transform and number not in lora.layers_to_transform:
            continue
        named = any(path == name or path.endswith(f".{name}") for name in names)
        if parts[0] == "lm_head":
            if named:
                raise RolekitError(
                    "lora.target_modules names the output head, which the MLX loop keeps frozen.",
                    "Leave lm_head out, or train with --backend torch.",
                )
        elif named or not names:
            yield path, module


def _check_packs(model: MlxModel, family: str, dtype: str) -> set[int]:
    """Compute a small tree both ways; the sliding windows that the model heeds.

    Raises RolekitError when the results differ, as they do for models with a recurrent state.
    """
    import mlx.core as mx

    caches = [TreeCache() for _ in range(model.layers)]
    try:
        model.inner(mx.array([_PROBE[0]]), cache=caches)
        behind = [TreeCache(cache.keys, cache.values) for cache in caches]
        shared = model.inner(mx.array([_PROBE[1]]), cache=behind)[0]
        alone = model.inner(mx.array([_PROBE[0] + _PROBE[1]]), cache=None)[0, len(_PROBE[0]) :]
        difference = mx.abs(shared - alone).max() / mx.abs(alone).max()
        found = float(np.array(difference))
    except (AttributeError, TypeError, IndexError, ValueError) as error:
        raise RolekitError(
            f"rolekit cannot train {family} models with MLX yet ({one_line(str(error))}).",
            "Train with --backend torch.",
        ) from error
    if not found < (1e-3 if dtype == "float32" else 0.1):
        raise RolekitError(
            f"A {family} model computes rows that share their beginning otherwise than rows alone.",
            "Train with --backend torch.",
        )
    return {window for cache in caches for window in cache.windows if window}


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RolekitError(
            f"{folder} has no config.json that can be read ({one_line(str(error))}).",
            "Name a Hugging Face or MLX model folder.",
        ) from error
    if not isinstance(config, dict):
        raise RolekitError(f"{folder}/config.json holds no settings.", "Name another folder.")
    return config


def _has_head(folder: Path) -> bool:
    from safetensors import safe_open

    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="numpy") as opened:
            if "lm_head.weight" in opened.keys():  # noqa: SIM118 (the object is no dict)
                return True
    return False


def _with_inner(model: Any, inner: Any) -> Any:
    """The model with another inner part, sharing everything else."""
    kind: Any = type(model)
    other = kind.__new__(kind)
    dict.update(other, model)
    other.__dict__.update(model.__dict__)
    dict.__setitem__(other, "model", inner)
    return other


class _Given:
    """Stands where the inner model stands and hands on the hidden states that are already there."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, hidden: Any, *_: Any, **__: Any) -> Any:
        return hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
