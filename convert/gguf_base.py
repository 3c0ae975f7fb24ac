"""A GGUF file as a base: its tensors under Hugging Face's names, so that adapters find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rolekit.convert.architectures.architecture import Weight
from rolekit.convert.architectures.registry import architecture_named
from rolekit.convert.delta import MergedSource
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.metadata import MetaValue
from rolekit.convert.plan import InterleavedPairs, ModelPlan, OutputTensor, Part, RowOrder
from rolekit.convert.source import Bytes, Float32, Index, TensorSource
from rolekit.errors import RolekitError

_EMBEDDING, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
_OWN_KEYS = ("general.file_type", "general.quantization_version", "general.alignment", "split.")
"""What the new file says itself."""


@dataclass(frozen=True, slots=True)
class _Twin:
    """One tensor's two names, and how the GGUF file has reordered its rows."""

    gguf: str
    order: RowOrder | None = None
    add: float = 0.0
    """What the file has added to every number."""


class GgufBase:
    """A GGUF file, or the first of a split one; of an architecture that llama.cpp knows, whichever that is.

    Tensors that no table names keep their GGUF names: they are passed on, and no adapter can reach them.
    """

    def __init__(self, path: Path) -> None:
        """Raises RolekitError when a file is missing or not sound, or holds no model."""
        self._gguf = GgufSource(path)
        self.path = path
        self.arch = self._gguf.header.text("general.architecture")
        if not self.arch or self._gguf.header.text("general.type") not in ("", "model"):
            self.close()
            raise RolekitError(
                f"{path.name} holds no model that could be converted.", "Name a model's .gguf file."
            )
        self._twins = self._paired()
        self.source: TensorSource = _NamedLikeHuggingFace(self._gguf, self._twins)

    @property
    def name(self) -> str:
        """The model's own name, else the file's."""
        return self._gguf.header.text("general.name") or self.path.stem

    def tied(self) -> dict[str, str]:
        """The output matrix's name to the embedding's."""
        known = _EMBEDDING in self._twins and _OUTPUT not in self._twins
        return {_OUTPUT: _EMBEDDING} if known else {}

    def plan(self, source: TensorSource) -> ModelPlan:
        """Every tensor as it is, in the file's order; an output matrix that an adapter unties comes last."""
        tensors = [self._tensor(name, source) for name in self._twins]
        if _OUTPUT in source.names() and _OUTPUT not in self._twins:
            rows, columns = source.shape(_OUTPUT)
            tensors.append(OutputTensor("output.weight", (rows, columns), (Part(_OUTPUT, 0, rows),)))
        return ModelPlan(self.arch, self._gguf.metadata(), tuple(tensors))

    def metadata(
        self, plan: ModelPlan, *, strict: bool = True, adapter: Path | None = None
    ) -> tuple[dict[str, MetaValue], tuple[str, ...]]:
        """The base's own, byte for byte, but for what only the new file knows."""
        kept: dict[str, MetaValue] = {}
        for key, value in plan.metadata.items():
            if not key.startswith(_OWN_KEYS):
                kept[key] = value
        return kept, ()

    def close(self) -> None:
        """Close the files."""
        self._gguf.close()

    def _tensor(self, name: str, source: TensorSource) -> OutputTensor:
        twin, shape = self._twins[name], source.shape(name)
        plain = len(shape) == 1 or twin.gguf.endswith("_norm.weight")
        keep = self._gguf.dtype(twin.gguf) if plain else ""
        # The file has Gemma's norms with one added already; what an adapter stores whole has not.
        whole = isinstance(source, MergedSource) and name in source.saved
        add = twin.add if whole else 0.0
        return OutputTensor(twin.gguf, shape, (Part(name, 0, shape[0], twin.order),), keep_type=keep, add=add)

    def _paired(self) -> dict[str, _Twin]:
        names = self._gguf.names()
        table = self._table()
        order = self._head_order()
        twins = {}
        for name in names:
            weight = table.get(name)
            if weight is None:
                twins[name] = _Twin(name)
            else:
                twins[weight.hf] = _Twin(name, order if weight.heads else None, weight.add)
        return twins

    def _table(self) -> dict[str, Weight]:
        architecture = architecture_named(self.arch)
        layers = self._number("block_count")
        if architecture is None or not layers:
            return {}
        return {weight.gguf: weight for weight in architecture.expanded(layers)}

    def _head_order(self) -> RowOrder | None:
        architecture = architecture_named(self.arch)
        heads = self._number("attention.head_count")
        if architecture is None or architecture.head_order is None or not heads:
            return None
        head = self._number("attention.key_length") or self._number("embedding_length") // heads
        return InterleavedPairs(head)

    def _number(self, key: str) -> int:
        value = self._gguf.header.metadata.get(f"{self.arch}.{key}")
        return value if isinstance(value, int) and 0 < value < 1 << 20 else 0


class _NamedLikeHuggingFace:
    """A GGUF file's tensors by Hugging Face's names, rows in Hugging Face's order."""

    def __init__(self, gguf: GgufSource, twins: Mapping[str, _Twin]) -> None:
        self._gguf, self._twins = gguf, twins

    def names(self) -> list[str]:
        """All tensors, in the file's order."""
        return list(self._twins)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape."""
        return self._gguf.shape(self._twins[name].gguf)

    def dtype(self, name: str) -> str:
        """The tensor's ggml type."""
        return self._gguf.dtype(self._twins[name].gguf)

    def rows(self, name: str, index: Index) -> Float32:
        """These rows in float32."""
        twin = self._twins[name]
        return self._gguf.rows(twin.gguf, twin.order.places(index) if twin.order else index)

    def raw_rows(self, name: str, index: Index) -> Bytes:
        """These rows as they are stored."""
        twin = self._twins[name]
        return self._gguf.raw_rows(twin.gguf, twin.order.places(index) if twin.order else index)

    def fingerprint(self) -> str:
        """The files'."""
        return self._gguf.fingerprint()

    def close(self) -> None:
        """Close the files."""
        self._gguf.close()
