"""The model that a conversion starts from: a Hugging Face folder or a GGUF file, seen the same way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from rolekit.convert.architectures.architecture import Architecture
from rolekit.convert.architectures.config import Config
from rolekit.convert.architectures.registry import architecture_of
from rolekit.convert.delta import MergedSource
from rolekit.convert.metadata import MetaValue
from rolekit.convert.model_folder import ModelFolder, open_folder, with_tokenizer_of
from rolekit.convert.plan import ModelPlan
from rolekit.convert.safetensors_files import open_safetensors
from rolekit.convert.source import TensorSource
from rolekit.convert.vocabulary.build import build_vocabulary
from rolekit.errors import RolekitError


class Base(Protocol):
    """A model to convert. Its tensors have Hugging Face's names and layout, whatever file they lie in."""

    @property
    def name(self) -> str:
        """What the model is called."""

    @property
    def arch(self) -> str:
        """The architecture's name in GGUF."""

    @property
    def source(self) -> TensorSource:
        """The weights."""

    def tied(self) -> Mapping[str, str]:
        """The output matrix's name to the embedding's, where the model has only the latter."""

    def plan(self, source: TensorSource) -> ModelPlan:
        """The output of converting source: this base's weights, or these with an adapter merged."""

    def metadata(
        self, plan: ModelPlan, *, strict: bool = True, adapter: Path | None = None
    ) -> tuple[dict[str, MetaValue], tuple[str, ...]]:
        """All metadata but the file type (general.*, the architecture's, the tokenizer's), and notes for the user.

        strict: whether a tokenizer that llama.cpp cannot reproduce exactly is an error, and not a note.
        adapter: a folder whose own tokenizer, if it has one, takes the place of the base's.
        Raises RolekitError when the tokenizer cannot be reproduced exactly.
        """

    def close(self) -> None:
        """Close the files."""


class FolderBase:
    """A Hugging Face model folder."""

    def __init__(self, path: Path) -> None:
        """Raises RolekitError when it is damaged or of an architecture that is not known here."""
        self.folder: ModelFolder = open_folder(path)
        self._architecture: Architecture = architecture_of(self.folder.class_name)
        self._config = Config(self.folder.config)
        _check_unquantized(self.folder)
        source = open_safetensors(path)
        if self._architecture.is_tied(self._config):
            # transformers ties the two when it loads the model, whatever lies in the file
            source.forget(self._architecture.prefix(source.names()) + self._architecture.output)
        self.source: TensorSource = source

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.path.resolve().name

    @property
    def arch(self) -> str:
        """The architecture's name in GGUF."""
        return self._architecture.arch

    def tied(self) -> dict[str, str]:
        """The output matrix's name to the embedding's."""
        names = self.source.names()
        prefix = self._architecture.prefix(names)
        output, embedding = prefix + self._architecture.output, prefix + self._architecture.weights[0].hf
        return {} if output in names else {output: embedding}

    def plan(self, source: TensorSource) -> ModelPlan:
        """The output; a vocabulary that an adapter has resized wins over config.json."""
        config = self._config
        if isinstance(source, MergedSource):
            embedding = self._architecture.prefix(source.names()) + self._architecture.weights[0].hf
            if embedding in source.saved:
                config = Config({**config.values, "vocab_size": source.shape(embedding)[0]})
        return self._architecture.plan(config, source)

    def metadata(
        self, plan: ModelPlan, *, strict: bool = True, adapter: Path | None = None
    ) -> tuple[dict[str, MetaValue], tuple[str, ...]]:
        """General keys, hyperparameters, and the proved vocabulary; what is to be said about it."""
        embedding = plan.tensor("token_embd.weight")
        if embedding is None:
            raise RolekitError("The model has no embedding.", "It cannot be converted.")
        general: dict[str, MetaValue] = {
            "general.architecture": plan.arch,
            "general.type": "model",
            "general.name": self.name,
        }
        keys = {**general, **plan.metadata}
        folder = with_tokenizer_of(self.folder, adapter) if adapter else self.folder
        vocabulary = build_vocabulary(folder, plan.arch, embedding.rows, keys, strict=strict)
        return {**keys, **vocabulary.metadata}, vocabulary.notes

    def close(self) -> None:
        """Close the files."""
        self.source.close()


def _check_unquantized(folder: ModelFolder) -> None:
    settings = folder.config.get("quantization_config") or folder.config.get("quantization")
    if settings:
        kind = settings.get("quant_method", "some") if isinstance(settings, dict) else "some"
        raise RolekitError(
            f"The weights in {folder.path} are quantized ({kind}).",
            "Start from the original weights: what an adapter adds is lost in a second rounding.",
        )


def open_base(path: Path) -> Base:
    """The model at path: a folder of safetensors, or a GGUF file.

    Raises RolekitError when it is neither, damaged, or of an unknown architecture.
    """
    if path.is_dir():
        return FolderBase(path)
    from rolekit.convert.gguf_base import GgufBase

    return GgufBase(path)
