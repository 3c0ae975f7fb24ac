"""What describes an architecture, and how a description and a model's tensors become a plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from rolekit.convert.architectures.config import LLAMA_CPP, Config
from rolekit.convert.metadata import MetaValue
from rolekit.convert.plan import ModelPlan, OutputTensor, Part, RowOrder
from rolekit.convert.source import TensorSource
from rolekit.errors import RolekitError
from rolekit.text import one_line

Sizes: TypeAlias = Mapping[str, int]
"""Names of lengths (embd, q, kv, ffn, vocab, head) and what they are in this model."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of an architecture, or one a layer: {i} stands for the layer's number in both names."""

    hf: str
    """Its name in the safetensors files, without the model's prefix."""
    gguf: str
    shape: tuple[str, ...]
    """Names of sizes, rows first."""
    heads: bool = False
    """Whether its rows are heads whose rotary pairs have to be laid side by side."""
    add: float = 0.0
    required: bool = True

    def at(self, layer: int) -> Weight:
        """The same of one layer."""
        hf, gguf = self.hf.replace("{i}", str(layer)), self.gguf.replace("{i}", str(layer))
        return replace(self, hf=hf, gguf=gguf)


def linear(
    hf: str, gguf: str, rows: str, columns: str, *, bias: bool = False, heads: bool = False
) -> list[Weight]:
    """A linear layer's weight, and its bias where the model has one and llama.cpp would use it."""
    weights = [Weight(f"{hf}.weight", f"{gguf}.weight", (rows, columns), heads)]
    if bias:
        weights.append(Weight(f"{hf}.bias", f"{gguf}.bias", (rows,), heads, required=False))
    return weights


@dataclass(frozen=True, slots=True)
class Architecture:
    """How the models of some transformers classes become GGUF."""

    arch: str
    """Its name in GGUF."""
    classes: tuple[str, ...]
    """Names of transformers classes (config.json: architectures)."""
    sizes: Callable[[Config], dict[str, int]]
    """Every size that the weights' shapes name, and `layers`."""
    metadata: Callable[[Config], dict[str, MetaValue]]
    """The hyperparameters, without the architecture's name in front of each key."""
    weights: tuple[Weight, ...]
    """Of the whole model and of each layer, in the order they are written."""
    head_order: Callable[[Sizes], RowOrder] | None = None
    """How the rows of weights with heads are laid out anew."""
    constants: Callable[[Config], list[tuple[str, tuple[float, ...]]]] = lambda config: []
    """Tensors that are computed from the configuration."""
    notes: Callable[[Config], list[str]] = lambda config: []
    """What llama.cpp does otherwise than the model's own code, a sentence each."""
    prefixes: tuple[str, ...] = ("",)
    """What may stand before the names in the files."""
    ignored: re.Pattern[str] = field(default=re.compile(r".*rotary_(pos_)?emb\.inv_freq"))
    """Tensors that llama.cpp has no use for."""
    tied: bool = False
    """Whether the output matrix is the embedding's where config.json does not say so."""
    output: str = "lm_head.weight"
    """The output matrix's name in the files, without the prefix."""

    def plan(self, config: Config, source: TensorSource) -> ModelPlan:
        """The output of converting source.

        Raises RolekitError when a tensor is missing, unknown, or has another shape than config.json says.
        """
        sizes = self.sizes(config)
        names = frozenset(source.names())
        prefix = self.prefix(names)
        wanted = list(self.expanded(sizes["layers"]))
        self._check_output(config, prefix + self.output in names, wanted)
        found = [weight for weight in wanted if weight.required or prefix + weight.hf in names]
        self._check_names(names, [prefix + weight.hf for weight in found])
        order = self.head_order(sizes) if self.head_order else None
        tensors = [_constant(name, values) for name, values in self.constants(config)]
        for weight in found:
            tensors.append(_output(weight, prefix + weight.hf, sizes, source, order))
        keys = {f"{self.arch}.{key}": value for key, value in self.metadata(config).items()}
        return ModelPlan(self.arch, keys, tuple(tensors), tuple(self.notes(config)))

    def prefix(self, names: Collection[str]) -> str:
        """What stands before the tensors' names in these files."""
        return next((text for text in self.prefixes if text + self.weights[0].hf in names), self.prefixes[0])

    def is_tied(self, config: Config) -> bool:
        """Whether the output matrix is the embedding's."""
        return bool(config.get("tie_word_embeddings", self.tied))

    def _check_output(self, config: Config, present: bool, wanted: list[Weight]) -> None:
        if present and all(weight.hf != self.output for weight in wanted):
            raise RolekitError(
                f"llama.cpp's {self.arch} takes the embedding for its output, and here {self.output} is another one.",
                "An adapter for it must leave lm_head alone.",
            )
        if not present and not self.is_tied(config):
            raise RolekitError(
                f"The model lacks the tensor {self.output}, and config.json does not tie it to the embedding.",
                "Fetch the model's files again.",
            )

    def expanded(self, layers: int) -> Iterator[Weight]:
        """Every weight by its full name: the model's own, then layer by layer, then the output's."""
        first = [weight for weight in self.weights if "{i}" in weight.hf]
        before = self.weights.index(first[0])
        yield from self.weights[:before]
        for layer in range(layers):
            yield from (weight.at(layer) for weight in first)
        yield from (weight for weight in self.weights[before:] if "{i}" not in weight.hf)

    def _check_names(self, names: frozenset[str], wanted: list[str]) -> None:
        missing = [name for name in wanted if name not in names]
        if missing:
            raise RolekitError(
                f"The model lacks the tensor {missing[0]}{_and_more(missing)}, which config.json says it has.",
                "Fetch the model's files again.",
            )
        unknown = sorted(name for name in names - set(wanted) if not self.ignored.fullmatch(name))
        if unknown:
            raise RolekitError(
                f"The tensor {one_line(unknown[0])}{_and_more(unknown)} is not part of a {self.classes[0]} as "
                "rolekit knows it.",
                LLAMA_CPP,
            )


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _constant(name: str, values: tuple[float, ...]) -> OutputTensor:
    return OutputTensor(name, (len(values),), constant=values, keep_type="F32")


def _output(
    weight: Weight, name: str, sizes: Sizes, source: TensorSource, order: RowOrder | None
) -> OutputTensor:
    shape = tuple(sizes[size] for size in weight.shape)
    actual = source.shape(name)
    if actual != shape:
        raise RolekitError(
            f"The tensor {one_line(name)} has the shape {list(actual)} where config.json asks for {list(shape)}.",
            "Fetch the model's files again; if the vocabulary was resized, save the model and its config together.",
        )
    part = Part(name, 0, shape[0], order if weight.heads else None)
    plain = len(shape) == 1 or weight.gguf.endswith("_norm.weight")
    return OutputTensor(weight.gguf, shape, (part,), weight.add, keep_type="F32" if plain else "")
