"""The base model that a recipe names: a file or folder on this machine, and what tells it from any other."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.engine.gguf_header import GgufHeader, read_header
from rolekit.engine.references import parse_hub, resolve
from rolekit.errors import RolekitError
from rolekit.paths import expanded
from rolekit.text import one_line
from rolekit.train.hf_vocabulary import read_json

_BLOCK_BYTES = 64 * 1024
_SAMPLED_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """A base model's size, from its header or config.json alone; 0 where they do not say."""

    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    parameters: int
    body_parameters: int = 0
    """Of parameters, those of the layers' matrices: every token is multiplied with them."""


def find_base(ref: str, announce: Callable[[str], None] = lambda text: None) -> Path:
    """The .gguf file or Hugging Face folder that ref names: a path, `starter`, or hf:owner/repo.

    A repository that is not on this machine is fetched; announce is told so. Raises RolekitError, with what to do,
    where there is no such base.
    """
    path = expanded(ref)
    if ref.startswith("hf:") and not ref.lower().endswith(".gguf"):
        folder = parse_hub(ref).folder
        if (folder / "config.json").is_file():
            return folder
        if not any(folder.rglob("*.gguf")):
            from rolekit.train.fetching import fetch_base

            return fetch_base(ref, announce=announce)
    if os.path.isdir(path):
        if (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
            return path
        if (path / "adapter_config.json").is_file():
            raise RolekitError(
                f"{one_line(str(path), 200)} is an adapter, not a base model.",
                "Name the base it was trained on; training an adapter further is not possible.",
            )
    return resolve(ref)


def base_name(ref: str, path: Path) -> str:
    """What an adapter calls its base: the hub's name where there is one, else what the user typed."""
    if ref.startswith("hf:"):
        return parse_hub(ref).repo
    return ref if ref == "starter" or not path.is_dir() else str(path.absolute())


def base_hash(path: Path) -> str:
    """Tells this base from any other: its configuration, and blocks spread over its weights."""
    digest = hashlib.sha256()
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if path.is_dir():
        digest.update((path / "config.json").read_bytes())
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name if path.is_dir() else ''}\0{size}".encode())
        with file.open("rb") as stream:
            for block in range(_SAMPLED_BLOCKS):
                stream.seek(size * block // _SAMPLED_BLOCKS)
                digest.update(stream.read(_BLOCK_BYTES))
    return digest.hexdigest()[:16]


def shape_of(path: Path) -> Shape:
    """The base's size. Raises RolekitError when its header or configuration cannot be read."""
    return _gguf_shape(read_header(path)) if path.is_file() else _folder_shape(path)


def _gguf_shape(header: GgufHeader) -> Shape:
    architecture = header.text("general.architecture")

    def number(key: str) -> int:
        value = header.metadata.get(f"{architecture}.{key}", 0)
        return int(value) if isinstance(value, int | float) else max(map(int, value), default=0)

    tokens = header.metadata.get("tokenizer.ggml.tokens", ())
    sizes = {tensor.name: tensor.shape for tensor in header.tensors}
    return Shape(
        number("block_count"),
        number("embedding_length"),
        number("feed_forward_length"),
        len(tokens) if not isinstance(tokens, int | float) else 0,
        sum(map(_product, sizes.values())),
        _body(sizes),
    )


def _folder_shape(folder: Path) -> Shape:
    whole = read_json(folder / "config.json")
    part = whole.get("text_config")
    config: dict[str, Any] = part if isinstance(part, dict) else whole

    def number(*keys: str) -> int:
        return next((int(config[key]) for key in keys if isinstance(config.get(key), int)), 0)

    width = number("hidden_size", "n_embd")
    sizes: dict[str, Sequence[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        sizes |= _shapes(file)
    return Shape(
        number("num_hidden_layers", "num_layers", "n_layer"),
        width,
        number("intermediate_size", "ffn_hidden_size") or 4 * width,
        number("vocab_size", "padded_vocab_size"),
        sum(map(_product, sizes.values())),
        _body(sizes),
    )


def _body(sizes: Mapping[str, Sequence[int]]) -> int:
    """The numbers of all matrices but embeddings and output head."""
    outside = re.compile(r"(^|\.)(token_embd|output|embed_tokens|embed_out|lm_head|wte|word_embeddings)\.")
    return sum(
        _product(shape) for name, shape in sizes.items() if len(shape) > 1 and not outside.search(name)
    )


def _shapes(file: Path) -> dict[str, Sequence[int]]:
    """The tensors' shapes, from a safetensors file's header."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(min(length, 100 << 20)))
        return {
            name: tuple(map(int, entry["shape"])) for name, entry in header.items() if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise RolekitError(
            f"{one_line(str(file), 200)} is no sound safetensors file ({one_line(str(error), 80)}).",
            "Fetch it again.",
        ) from error


def _product(shape: Sequence[int]) -> int:
    return math.prod(int(size) for size in shape)
