"""Which reference a conversion is compared with, opened only when it is wanted."""

from __future__ import annotations

from pathlib import Path

from rolekit.convert.reference import HuggingFace, Reference
from rolekit.convert.verify import OpenReference
from rolekit.errors import RolekitError


def reference_source(base: Path) -> Path | None:
    """The folder whose tokenizer and template count; None where the base is a GGUF, which has them built in."""
    return base if base.is_dir() else None


def open_reference(base: Path, adapter: Path | None, scratch: Path) -> OpenReference:
    """A function that loads the reference for a base and an adapter: Hugging Face + PEFT for a folder.

    scratch: a folder with room for a copy of a GGUF base, dequantized.
    """

    def of_folder() -> Reference:
        return HuggingFace(base, adapter)

    def of_gguf() -> Reference:
        raise RolekitError("A GGUF base cannot be compared yet.", str(scratch))

    return of_folder if base.is_dir() else of_gguf
