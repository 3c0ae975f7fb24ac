"""Tiny random models with tokenizers made on the fly, adapters on them, and no network."""

from __future__ import annotations

import json
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
