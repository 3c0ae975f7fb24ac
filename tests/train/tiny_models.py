"""Random-weight models of every family, small enough to check to the last digit."""

from __future__ import annotations

from typing import Any

COMMON: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "max_position_embeddings": 256,
}
EXTRA: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 7},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "qwen3": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "gemma2": {
        "sliding_window": 6,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 12,
        "num_hidden_layers": 2,
    },
    "gemma3_text": {"sliding_window": 6, "num_hidden_layers": 3, "query_pre_attn_scalar": 12},
    "phi3": {"sliding_window": 8, "hidden_size": 48, "num_hidden_layers": 2},
    "glm": {"attention_bias": True},
    "glm4": {"attention_bias": True},
}


def tiny_model(family: str, seed: int = 0) -> Any:
    """A causal language model of this family with large random weights, fp32, frozen."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {**COMMON, **EXTRA[family]}
    if family in ("qwen2", "phi3"):
        del values["head_dim"]
    config = AutoConfig.for_model(family, **values)
    eager = getattr(config, "attn_logit_softcapping", None)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager" if eager else "sdpa")
    chance = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.15, generator=chance)
        else:
            parameter.data.uniform_(0.2, 0.6, generator=chance)
    return model.float().requires_grad_(False).eval()
