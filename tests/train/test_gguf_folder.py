"""A GGUF as a folder for MLX: the weights of before, and llama.cpp's own answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rolekit.errors import RolekitError
from rolekit.train.gguf_folder import folder_of
from rolekit.train.tensors import read_tensors

gguf = pytest.importorskip("gguf")
pytest.importorskip("torch")
pytest.importorskip("mlx_lm")
from tiny_bases import save_base

from rolekit.train.mlx_model import load_mlx

GGUF_NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "q_proj": "attn_q",
    "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def interleaved(values: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of q or k in the order that llama.cpp has them."""
    half = values.shape[0] // heads // 2
    return values.reshape(heads, 2, half, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def write_gguf(base: Path, target: Path, architecture: str, **more: Any) -> Path:
    """The model in base as llama.cpp's converter would write it, in float32."""
    config = json.loads((base / "config.json").read_text())
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config.get("head_dim", 8))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_context_length(64)
    for key, value in more.items():
        writer.add_string(f"{architecture}.{key}", value)
    for name, tensor in read_tensors(base / "model.safetensors").items():
        *path, leaf, half = name.split(".")
        values = tensor.float32().values
        if architecture == "llama" and leaf in ("q_proj", "k_proj"):
            heads = config["num_attention_heads" if leaf == "q_proj" else "num_key_value_heads"]
            values = interleaved(values, heads)
        block = f"blk.{path[2]}." if "layers" in path else ""
        writer.add_tensor(f"{block}{GGUF_NAMES[leaf]}.{half}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_gguf_becomes_the_folder_that_it_came_from(tmp_path: Path, family: str) -> None:
    import mlx.core as mx

    base = save_base(tmp_path / "base", family, rope_parameters={"rope_type": "default", "rope_theta": 77.0})
    made = folder_of(write_gguf(base, tmp_path / "model.gguf", family))
    before, after = (read_tensors(folder / "model.safetensors") for folder in (base, made))
    assert before.keys() == after.keys()
    assert all(np.array_equal(tensor.values, after[name].values) for name, tensor in before.items())
    ids = mx.array([[3, 9, 27, 17, 51]])
    logits = [np.array(load_mlx(folder).model(ids)) for folder in (base, made)]
    assert np.array_equal(*logits)
    assert json.loads((made / "config.json").read_text())["rope_theta"] == 77.0


def test_it_is_made_once_and_again_when_the_file_changes(tmp_path: Path, home: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    file = write_gguf(base, tmp_path / "model.gguf", "llama")
    first = folder_of(file)
    assert first.is_relative_to(home)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert folder_of(file) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    save_base(tmp_path / "base", "llama", initializer_range=0.1)
    write_gguf(tmp_path / "base", file, "llama")
    assert folder_of(file) != first
    assert not list(first.parent.glob("*.part"))


def test_what_it_cannot_read_ends_in_a_sentence(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    with pytest.raises(RolekitError, match="architecture mamba"):
        folder_of(write_gguf(base, tmp_path / "a.gguf", "mamba"))
    with pytest.raises(RolekitError, match="stretches its positions"):
        folder_of(write_gguf(base, tmp_path / "b.gguf", "llama", **{"rope.scaling.type": "yarn"}))


def test_transformers_reads_a_gguf_without_its_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    from rolekit.train.torch_base import _quiet, _without_bar

    base = save_base(tmp_path / "base", "llama")
    file = write_gguf(base, tmp_path / "m.gguf", "llama")
    model = AutoModelForCausalLM.from_pretrained(str(base))
    capfd.readouterr()
    with _quiet(), _without_bar():
        read = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=model)
    assert read["tensors"]
    assert capfd.readouterr().err == ""


@pytest.mark.model
def test_mlx_says_what_llama_cpp_says(starter_path: Path) -> None:
    import mlx.core as mx

    from rolekit.convert.logits import Evaluator

    ids = [1, 4093, 198, 2683]
    model = load_mlx(folder_of(starter_path))
    ours = np.array(model.model(mx.array([ids]))[0])
    with Evaluator(starter_path, threads=1) as evaluator:
        theirs = np.concatenate(list(evaluator.logits(ids)))
    assert np.array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
    assert min(np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)) > 0.99
