"""Random models of a few thousand parameters, as Hugging Face folders that transformers and stock mlx-lm read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "head_dim": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3,
}  # fmt: skip
# Gemma 3 scales embeddings by sqrt(hidden_size), which mlx-lm rounds to bfloat16: 8 is the same in both.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {}),
    "gemma2": ("Gemma2Config", {"query_pre_attn_scalar": 8}),
    "gemma3_text": ("Gemma3TextConfig", {"num_hidden_layers": 6, "sliding_window": 6, "hidden_size": 64}),
    "phi3": ("Phi3Config", {"sliding_window": None}),
    "glm4": ("Glm4Config", {"partial_rotary_factor": 0.5}),
}


def save_base(folder: Path, family: str, *, flat: bool = True, **settings: Any) -> Path:
    """A random model of a family.

    mlx-lm passes over the rope_parameters that transformers 5 writes; flat puts rope_theta beside them, as folders
    of older versions have it, so that stock mlx-lm reads the model rightly.
    """
    name, own = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SMALL, **own, **settings})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    file = folder / "config.json"
    saved = json.loads(file.read_text())
    if flat:
        rope = saved["rope_parameters"]
        theta = rope.get("full_attention", rope)["rope_theta"]
        file.write_text(json.dumps({**saved, "rope_theta": theta, **own}))
    return folder
