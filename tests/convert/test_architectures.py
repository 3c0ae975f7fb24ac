"""Every architecture: a tiny random model, converted at F32, computes in llama.cpp what it computes in transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rolekit.convert.architectures.config import Config
from rolekit.convert.architectures.registry import architecture_of
from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.convert.logits import Evaluator
from rolekit.convert.output import publish
from rolekit.convert.vocabulary.probes import plain_texts
from rolekit.errors import RolekitError


def nmse(expected: Any, actual: Any) -> float:
    """Squared error over the expected values' own variance."""
    return float(((actual - expected) ** 2).mean() / ((expected - expected.mean()) ** 2).mean())


def logits_of(model: Any, ids: list[int]) -> Any:
    """transformers' logits, (len(ids), vocabulary)."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def test_logits_are_those_of_transformers(
    model_case: str, tmp_path: Path, bpe_files: Path, save_case: Callable[..., Any]
) -> None:
    model = save_case(model_case, tmp_path / "model", bpe_files)
    out = tmp_path / "model.gguf"
    produced = convert(Job(tmp_path / "model", out, type_name="F32", threads=2))
    publish(produced.parts, produced.targets)
    ids = [3 + 7 * i % 760 for i in range(40)]
    expected = logits_of(model, ids)
    evaluator = Evaluator(out, context_tokens=256, threads=1)
    try:
        actual = np.concatenate([block.copy() for block in evaluator.logits(ids)])
    finally:
        evaluator.close()
    assert nmse(expected, actual) < 1e-6


def chatglm_reference(weights: dict[str, Any], config: dict[str, Any], ids: list[int]) -> Any:
    """ChatGLM's forward pass as its remote code has it: half of each head rotates, in interleaved pairs."""
    import torch
    from torch.nn import functional

    heads, groups, head = (
        config["num_attention_heads"],
        config["multi_query_group_num"],
        config["kv_channels"],
    )
    states = weights["transformer.embedding.word_embeddings.weight"][ids]
    length = len(ids)
    half = head // 2
    frequencies = 1 / (10000 * config["rope_ratio"]) ** (torch.arange(0, half, 2) / half)
    angles = torch.outer(torch.arange(length), frequencies)

    def norm(values: Any, name: str) -> Any:
        return values * torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + 1e-5) * weights[name]

    def turned(values: Any) -> Any:
        turning, still = values[..., :half], values[..., half:]
        even, odd = turning[..., 0::2], turning[..., 1::2]
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        pairs = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
        return torch.cat([pairs, still], -1)

    for layer in range(config["num_layers"]):
        prefix = f"transformer.encoder.layers.{layer}."
        inner = norm(states, f"{prefix}input_layernorm.weight")
        mixed = functional.linear(
            inner,
            weights[f"{prefix}self_attention.query_key_value.weight"],
            weights[f"{prefix}self_attention.query_key_value.bias"],
        )
        query, key, value = mixed.split([heads * head, groups * head, groups * head], -1)
        query = turned(query.view(length, heads, head)).transpose(0, 1)
        key = turned(key.view(length, groups, head)).transpose(0, 1).repeat_interleave(heads // groups, 0)
        value = value.view(length, groups, head).transpose(0, 1).repeat_interleave(heads // groups, 0)
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = (
            states + context.transpose(0, 1).flatten(1) @ weights[f"{prefix}self_attention.dense.weight"].T
        )
        inner = norm(states, f"{prefix}post_attention_layernorm.weight")
        gate, up = (inner @ weights[f"{prefix}mlp.dense_h_to_4h.weight"].T).chunk(2, -1)
        states = states + (functional.silu(gate) * up) @ weights[f"{prefix}mlp.dense_4h_to_h.weight"].T
    last = norm(states, "transformer.encoder.final_layernorm.weight")
    return (last @ weights["transformer.output_layer.weight"].T).numpy()


def chatglm_weights(config: dict[str, Any]) -> dict[str, Any]:
    """Random weights under the remote code's names."""
    import torch

    torch.manual_seed(4)
    width, inner, rows = config["hidden_size"], config["ffn_hidden_size"], config["padded_vocab_size"]
    fused = (config["num_attention_heads"] + 2 * config["multi_query_group_num"]) * config["kv_channels"]
    shapes: dict[str, tuple[int, ...]] = {"transformer.embedding.word_embeddings.weight": (rows, width)}
    for layer in range(config["num_layers"]):
        prefix = f"transformer.encoder.layers.{layer}."
        shapes |= {
            f"{prefix}input_layernorm.weight": (width,),
            f"{prefix}self_attention.query_key_value.weight": (fused, width),
            f"{prefix}self_attention.query_key_value.bias": (fused,),
            f"{prefix}self_attention.dense.weight": (width, width),
            f"{prefix}post_attention_layernorm.weight": (width,),
            f"{prefix}mlp.dense_h_to_4h.weight": (2 * inner, width),
            f"{prefix}mlp.dense_4h_to_h.weight": (width, inner),
        }
    shapes |= {
        "transformer.encoder.final_layernorm.weight": (width,),
        "transformer.output_layer.weight": (rows, width),
    }
    weights = {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}
    return {
        name: weight + 1 if name.endswith("layernorm.weight") else weight for name, weight in weights.items()
    }


@pytest.mark.parametrize("roles", [False, True], ids=["chatglm2", "chatglm3"])
def test_chatglm_is_what_its_own_code_computes(roles: bool, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from sentencepiece import SentencePieceTrainer

    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "text").write_text("\n".join(plain_texts()), encoding="utf-8")
    SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=900,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.98,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    if roles:
        (folder / "tokenization_chatglm.py").write_text(
            "role_special_tokens = ['<|user|>']", encoding="utf-8"
        )
    config = {
        "architectures": ["ChatGLMModel"],
        "num_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "kv_channels": 16,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "ffn_hidden_size": 96,
        "padded_vocab_size": 912,
        "layernorm_epsilon": 1e-5,
        "seq_length": 256,
        "rope_ratio": 2.0,
        "rmsnorm": True,
        "add_qkv_bias": True,
        "add_bias_linear": False,
        "tie_word_embeddings": False,
        "eos_token_id": 2,
    }
    weights = chatglm_weights(config)
    save_file(
        weights
        | {
            "transformer.rotary_pos_emb.inv_freq": weights["transformer.encoder.final_layernorm.weight"][
                :4
            ].clone()
        },
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    produced = convert(Job(folder, tmp_path / "model.gguf", type_name="F32"))
    publish(produced.parts, produced.targets)
    ids = [3 + 7 * i % 890 for i in range(40)]
    evaluator = Evaluator(tmp_path / "model.gguf", context_tokens=256, threads=1)
    try:
        actual = np.concatenate([block.copy() for block in evaluator.logits(ids)])
        specials = evaluator.vocabulary.tokenize("[gMASK]sop", special=True)
        assert specials == [901, 903]
        assert ("<|user|>" in evaluator.vocabulary.control_tokens) is roles
    finally:
        evaluator.close()
    assert nmse(chatglm_reference(weights, config, ids), actual) < 1e-6


def test_the_language_model_of_a_multimodal_gemma_is_the_same_model(
    tmp_path: Path, bpe_files: Path, save_case: Callable[..., Any]
) -> None:
    from safetensors.torch import load_file, save_file

    alone, whole = tmp_path / "gemma", tmp_path / "whole" / "gemma"
    save_case("gemma3", alone, bpe_files)
    whole.mkdir(parents=True)
    weights: dict[str, Any] = {}
    for file in alone.iterdir():
        if file.suffix == ".safetensors":
            weights |= {f"language_model.{name}": tensor for name, tensor in load_file(file).items()}
        elif not file.name.endswith(".index.json"):
            shutil.copy(file, whole)
    weights["vision_tower.patch.weight"] = weights["language_model.model.norm.weight"].clone()
    save_file(weights, whole / "model.safetensors")
    text = json.loads((alone / "config.json").read_text("utf-8"))
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
    (whole / "config.json").write_text(json.dumps(config), encoding="utf-8")
    files = [
        convert(Job(folder, folder.with_suffix(".gguf"), type_name="F32")).parts[0]
        for folder in (alone, whole)
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft, about embeddings
def test_an_output_of_its_own_is_refused_where_llama_cpp_has_no_place_for_it(
    tmp_path: Path, bpe_files: Path, save_case: Callable[..., Any], make_adapter: Callable[..., Path]
) -> None:
    save_case("gemma2", tmp_path / "m", bpe_files)
    adapter = make_adapter(tmp_path / "m", tmp_path / "adapter", target_modules=["lm_head"])
    with pytest.raises(RolekitError, match="takes the embedding for its output"):
        convert(Job(tmp_path / "m", tmp_path / "m.gguf", adapter=adapter))


@pytest.mark.parametrize(
    ("class_name", "config", "sentence"),
    [
        ("MistralForCausalLM", {"sliding_window": 128}, "sliding window of 128 tokens"),
        ("Qwen2ForCausalLM", {"use_sliding_window": True}, "uses a sliding window"),
        ("LlamaForCausalLM", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "no dynamic rope scaling"),
    ],
)
def test_what_llama_cpp_does_otherwise_is_said(
    class_name: str, config: dict[str, Any], sentence: str
) -> None:
    notes = architecture_of(class_name).notes(Config({"max_position_embeddings": 512, **config}))
    assert sentence in " ".join(notes)


@pytest.mark.parametrize(
    ("class_name", "config", "sentence"),
    [
        ("Gemma2ForCausalLM", {"query_pre_attn_scalar": 144}, "scales its attention by 144"),
        (
            "Gemma3ForCausalLM",
            {"query_pre_attn_scalar": 16, "use_bidirectional_attention": True},
            "only looks back",
        ),
        ("MistralForCausalLM", {"rope_parameters": {"llama_4_scaling_beta": 0.1}}, "by position"),
        (
            "Phi3ForCausalLM",
            {"rope_scaling": {"type": "longrope", "long_factor": [1.0]}},
            "no long_factor of 8",
        ),
        ("Glm4ForCausalLM", {"rope_parameters": {"mrope_section": [1, 2, 3]}}, "of a vision model"),
        ("ChatGLMModel", {"add_bias_linear": True}, "biases on query, key and value only"),
        ("SmolLM3ForCausalLM", {"no_rope_layers": [0, 1, 1]}, "every fourth layer"),
        ("Qwen2ForCausalLM", {"head_dim": 32}, "wide together"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    class_name: str, config: dict[str, Any], sentence: str
) -> None:
    architecture = architecture_of(class_name)
    values = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "ffn_hidden_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "vocab_size": 700,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "head_dim": 16,
        "sliding_window": 8,
        "attn_logit_softcapping": 50.0 if "Gemma2" in class_name else None,
        "final_logit_softcapping": 30.0,
        "architectures": [class_name],
        **config,
    }
    described = Config(values)
    with pytest.raises(RolekitError, match=sentence):
        assert not (architecture.metadata(described), architecture.constants(described))
