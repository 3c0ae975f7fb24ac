"""Every architecture: a tiny random model, converted at F32, computes in llama.cpp what it computes in transformers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.convert.logits import Evaluator
from rolekit.convert.output import publish

COMMON: dict[str, Any] = {
    "vocab_size": 768,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEADS = {"head_dim": 16}
GEMMA = {**HEADS, "query_pre_attn_scalar": 16, "sliding_window": 8}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.5 * i for i in range(8)],
    "original_max_position_embeddings": 256,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True}),
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-wide-heads": ("Llama", {"head_dim": 32}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "mistral": ("Mistral", {"sliding_window": 4096, **HEADS}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-yarn": (
        "Qwen2",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 128,
                "rope_theta": 1e4,
            }
        },
    ),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "gemma2": ("Gemma2", GEMMA),
    "gemma3": ("Gemma3", {**GEMMA, "num_hidden_layers": 7}),
    "gemma3-other-pattern": (
        "Gemma3",
        {**GEMMA, "layer_types": ["full_attention", "sliding_attention"] * 2, "num_hidden_layers": 4},
    ),
    "phi3": ("Phi3", {}),
    "phi3-longrope": ("Phi3", {"rope_parameters": LONG}),
    "glm": ("Glm", {**HEADS, "attention_bias": True}),
    "glm4": ("Glm4", {**HEADS, "attention_bias": True}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 5}),
}


def saved(name: str, folder: Path, tokenizer: Path) -> Any:
    """A random model of a case, saved with a tokenizer: the model."""
    import torch
    import transformers

    kind, changes = CASES[name]
    text = "Text" if kind == "Gemma3" else ""
    config = getattr(transformers, f"{kind}{text}Config")(**{**COMMON, **changes})
    torch.manual_seed(3)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for _, weight in model.named_parameters():
            if weight.ndim == 1:  # norms of one and biases of zero would hide a mistake
                weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(str(folder), max_shard_size="100KB")
    for file in tokenizer.iterdir():
        shutil.copy(file, folder)
    return model


def nmse(expected: Any, actual: Any) -> float:
    """Squared error over the expected values' own variance."""
    return float(((actual - expected) ** 2).mean() / ((expected - expected.mean()) ** 2).mean())


def logits_of(model: Any, ids: list[int]) -> Any:
    """transformers' logits, (len(ids), vocabulary)."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path, bpe_files: Path) -> None:
    model = saved(name, tmp_path / "model", bpe_files)
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
