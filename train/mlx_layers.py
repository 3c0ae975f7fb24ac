"""What may stand around a model's own parts while it trains: recomputed layers, noisy embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rolekit.train.mlx_forward import TreeCache
from rolekit.train.mlx_model import MlxModel


class RecomputedLayer:
    """A transformer layer that keeps only what goes in, and computes the rest again on the way back."""

    def __init__(self, layer: Any, adapters: Mapping[str, Any]) -> None:
        """adapters are the LoRA layers inside the layer, by any name."""
        self._layer, self._adapters = layer, adapters

    def __call__(self, hidden: Any, mask: Any = None, cache: Any = None) -> Any:
        """The layer's output; cache is a TreeCache, or None outside training."""
        import mlx.core as mx

        if not isinstance(cache, TreeCache):
            return self._layer(hidden, mask, cache)

        def run(parameters: Any, hidden: Any, *prefix: Any) -> Any:
            for name, parts in parameters.items():
                for part, value in parts.items():
                    self._adapters[name][part] = value
            own = TreeCache(*prefix)
            return [self._layer(hidden, mask, own), own.keys, own.values]

        parameters = {
            name: {part: layer[part] for part in ("lora_a", "lora_b", "m") if part in layer}
            for name, layer in self._adapters.items()
        }
        prefix = (cache.keys, cache.values) if cache.offset else ()
        out, cache.keys, cache.values = mx.checkpoint(run)(parameters, hidden, *prefix)
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


class NoisyEmbedding:
    """An embedding that adds NEFTune's noise (arXiv 2310.05914): uniform within ±bound, off at 0."""

    def __init__(self, embedding: Any) -> None:
        """embedding: the model's own, whose weights stay where they are."""
        self._embedding = embedding
        self.bound = 0.0

    def __call__(self, ids: Any) -> Any:
        """The embedded ids, with noise from MLX's own random state."""
        import mlx.core as mx

        hidden = self._embedding(ids)
        if not self.bound:
            return hidden
        return hidden + mx.random.uniform(-self.bound, self.bound, hidden.shape).astype(hidden.dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedding, name)


def recompute_layers(model: MlxModel, adapters: Mapping[str, Any]) -> None:
    """Let every layer compute its activations again instead of keeping them."""
    inner = model.model.model
    inner.layers = [
        RecomputedLayer(
            layer,
            {path: found for path, found in adapters.items() if path.startswith(f"model.layers.{number}.")},
        )
        for number, layer in enumerate(inner.layers)
    ]


def add_noise(model: MlxModel) -> NoisyEmbedding:
    """The model's embedding with noise that its bound turns on."""
    inner = model.model.model
    noisy = NoisyEmbedding(inner.embed_tokens)
    dict.__setitem__(inner, "embed_tokens", noisy)  # a module would take it for one of its own attributes
    return noisy
