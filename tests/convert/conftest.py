"""Tiny random models with tokenizers made on the fly, adapters on them, and no network."""

from __future__ import annotations

import json
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rolekit.roles.library import RoleLibrary

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversion needs no network: whoever opens a connection fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """Text in several languages to train tokenizers on: the bundled roles' own words."""
    roles = [entry.role for entry in RoleLibrary().all() if entry.role]
    return [
        text
        for role in roles
        for text in (role.description, *role.facts, *(turn.reply for turn in role.examples))
    ]


@pytest.fixture(scope="session")
def bpe_files(tmp_path_factory: pytest.TempPathFactory, corpus: list[str]) -> Path:
    """A folder with a byte-level BPE tokenizer of 768 tokens in the way of GPT-2, with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    folder = tmp_path_factory.mktemp("bpe")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=768,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def make_llama(bpe_files: Path) -> MakeModel:
    """make_llama(folder, dtype="bfloat16", **config): a random Llama of two layers with 256 columns."""

    def make(folder: Path, dtype: str = "bfloat16", max_shard_size: str = "5GB", **changes: Any) -> Path:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        values: dict[str, Any] = {
            "vocab_size": 768,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "initializer_range": 0.05,
            **changes,
        }
        torch.manual_seed(1)
        model = LlamaForCausalLM(LlamaConfig(**values)).to(getattr(torch, dtype))
        model.save_pretrained(str(folder), max_shard_size=max_shard_size)
        for file in bpe_files.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    return make


@pytest.fixture(scope="session")
def make_adapter() -> MakeModel:
    """make_adapter(base, folder, **lora): a PEFT adapter with random weights on every linear layer of base."""

    def make(base: Path, folder: Path, **changes: Any) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(2)
        model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
        values = {
            "r": 8,
            "lora_alpha": 16,
            "target_modules": "all-linear",
            "task_type": "CAUSAL_LM",
            **changes,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
            adapted = get_peft_model(model, LoraConfig(**values))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.05)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            adapted.save_pretrained(str(folder))
        return folder

    return make


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


def _saved(name: str, folder: Path, tokenizer: Path) -> Any:
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


@pytest.fixture(scope="session")
def save_case() -> Callable[[str, Path, Path], Any]:
    """save_case(name, folder, tokenizer_folder): saves the random model of one of CASES; the model, in fp32."""
    return _saved


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `model_case` once for each of CASES."""
    if "model_case" in metafunc.fixturenames:
        metafunc.parametrize("model_case", CASES)
