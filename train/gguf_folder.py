"""A GGUF as a Hugging Face folder, so that MLX trains on exactly the model that somebody chats with.

The weights are dequantized once into the cache folder. Names and layouts are those of llama.cpp's converter,
backwards: q and k rows of a llama are interleaved for its rotary embedding, and are put back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.engine.gguf_header import GgufHeader, read_header
from rolekit.errors import RolekitError
from rolekit.paths import cache_dir, ensure_dir, write_text
from rolekit.train.tensors import Pending, Tensor, write_pending

_FAMILIES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
}
_LARGE_BYTES = 4 << 30
"""A model that would be larger in float32 is kept in bfloat16."""
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
_FIRST = re.compile(r"(\w+)\.(weight|bias)")


def folder_of(gguf: Path) -> Path:
    """A folder with config.json and model.safetensors for the model in gguf; made once, then found again.

    Raises RolekitError for architectures other than llama, qwen2 and qwen3, and for rotary scalings that a GGUF
    does not say in full.
    """
    status = gguf.stat()
    key = hashlib.sha256(f"{gguf.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
    folder = cache_dir() / "bases" / f"{gguf.stem}-{key[:12]}"
    if (folder / "config.json").is_file():
        return folder
    part = ensure_dir(folder.parent) / f"{folder.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write(gguf, part)
        with suppress(OSError):  # another process was faster: its folder holds the same
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _write(gguf: Path, folder: Path) -> None:
    header = read_header(gguf)
    config = settings_of(header)
    tensors = dict(tensors_of(gguf, header, config))
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    write_pending(folder / "model.safetensors", tensors, {"format": "pt"})
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _check_readable(architecture: str, scaling: str, names: set[str]) -> None:
    if architecture not in _FAMILIES:
        raise RolekitError(
            f"A GGUF of the architecture {architecture or 'nothing'} cannot be read here.",
            "Name the model's Hugging Face or MLX folder instead.",
        )
    if "rope_freqs.weight" in names or scaling not in ("", "none", "linear"):
        raise RolekitError(
            "This GGUF stretches its positions in a way that MLX models need more settings for.",
            "Name the model's Hugging Face or MLX folder instead.",
        )


def settings_of(header: GgufHeader) -> dict[str, Any]:
    """The config.json that says what a GGUF's metadata say. Raises RolekitError for one that cannot be read so."""
    architecture, names = header.text("general.architecture"), {tensor.name for tensor in header.tensors}
    scaling = header.text(f"{architecture}.rope.scaling.type")
    _check_readable(architecture, scaling, names)

    def value(key: str, otherwise: float | None = None) -> Any:
        found = header.metadata.get(f"{architecture}.{key}", otherwise)
        if not isinstance(found, (int, float)):
            raise RolekitError(
                f"The GGUF does not say its {architecture}.{key}.", "Name another base: it is not whole."
            )
        return found

    heads, width = int(value("attention.head_count")), int(value("embedding_length"))
    vocabulary = next(tensor.shape[-1] for tensor in header.tensors if tensor.name == "token_embd.weight")
    config = {
        "architectures": [_FAMILIES[architecture][1]],
        "model_type": _FAMILIES[architecture][0],
        "hidden_size": width,
        "intermediate_size": int(value("feed_forward_length")),
        "num_hidden_layers": int(value("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(value("attention.head_count_kv", heads)),
        "head_dim": int(value("attention.key_length", width // heads)),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        "rope_theta": value("rope.freq_base", 10000.0),
        "max_position_embeddings": int(value("context_length")),
        "vocab_size": int(vocabulary),
        "attention_bias": "blk.0.attn_q.bias" in names,
        "hidden_act": "silu",
        "torch_dtype": "float32",
    }
    if scaling == "linear":
        config["rope_scaling"] = {"type": "linear", "factor": value("rope.scaling.factor")}
    return config


def tensors_of(gguf: Path, header: GgufHeader, config: dict[str, Any]) -> Iterator[tuple[str, Pending]]:
    """The weights of a GGUF under transformers' names, in settings_of(header)'s layout; dequantized when made."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    large = 4 * sum(int(tensor.n_elements) for tensor in reader.tensors) > _LARGE_BYTES
    for tensor in reader.tensors:
        name = _name(tensor.name)
        heads = 0
        if config["model_type"] == "llama" and ".self_attn.q_proj." in name:
            heads = config["num_attention_heads"]
        elif config["model_type"] == "llama" and ".self_attn.k_proj." in name:
            heads = config["num_key_value_heads"]
        shape = tuple(int(size) for size in reversed(tensor.shape))
        yield name, Pending("BF16" if large else "F32", shape, _maker(tensor, shape, heads, large))


def _maker(tensor: Any, shape: tuple[int, ...], heads: int, large: bool) -> Callable[[], Tensor]:
    return partial(_dequantized, tensor, shape, heads, large)


def _dequantized(tensor: Any, shape: tuple[int, ...], heads: int, large: bool) -> Tensor:
    from gguf import dequantize

    values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype="<f4").reshape(shape)
    if heads:
        pairs = values.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
        values = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(shape)
    found = Tensor("F32", values)
    return found.bfloat16() if large else found


def _name(name: str) -> str:
    block, outer = _BLOCK.fullmatch(name), _FIRST.fullmatch(name)
    if block and block[2] in _INNER:
        return f"model.layers.{block[1]}.{_INNER[block[2]]}.{block[3]}"
    if outer and outer[1] in _OUTER:
        return f"{_OUTER[outer[1]]}.{outer[2]}"
    raise RolekitError(
        f"The GGUF holds a tensor {name}, which models of its architecture do not have.",
        "Name the model's Hugging Face or MLX folder instead.",
    )
