"""What a conversion is asked for, and what it hands on to verification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHUNK_BYTES = 64 << 20
"""Of a tensor in fp32, held in memory at once."""

Progress = Callable[[str, int, int], None]
"""Hears what is being worked on, and how many of how many bytes (of the source) are done."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that decides one conversion."""

    base: Path
    """A Hugging Face folder, or the first file of a GGUF."""
    out: Path
    adapter: Path | None = None
    """A PEFT or MLX adapter folder, merged into the base."""
    type_name: str = "Q4_K_M"
    imatrix: Path | None = None
    plan: Path | None = None
    """Tensor types by name; they win over type_name's own choice."""
    split_bytes: int = 0
    """The largest size of one output file; 0 means one file."""
    chunk_bytes: int = CHUNK_BYTES
    threads: int = 0
    """0 means the physical cores this process may use."""
    strict_tokenizer: bool = True
    """Whether a vocabulary that llama.cpp splits otherwise than the model's tokenizer is an error, and not a warning."""
    chat_template: str = ""
    """A chat template's Jinja source to embed in place of the base's; empty keeps the base's."""
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    """GGUF keys to add, a text or a uint32 each: where the model comes from (rolekit.convert.provenance)."""


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One tensor as it was written."""

    name: str
    shape: tuple[int, ...]
    """In ggml's order: the row length first."""
    type_name: str
    wanted: str
    """The type the mix asks for; another one than type_name where the row length does not allow it."""
    size_bytes: int

    @property
    def fell_back(self) -> bool:
        """Whether the tensor could not have the type it was meant to have."""
        return self.type_name != self.wanted


@dataclass(frozen=True, slots=True)
class Produced:
    """A finished conversion that has not been given its name yet."""

    parts: tuple[Path, ...]
    """The files as they lie, each ending in .part (or in a folder that does); the first holds the metadata."""
    targets: tuple[Path, ...]
    """What they will be called, in the same order."""
    rows: tuple[TensorRow, ...]
    resumed_tensors: int = 0
    """How many an earlier, interrupted run had already written."""
    warnings: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.parts)
