"""The models that bench_convert.py converts: the starter as a Hugging Face folder, and a random Llama of 1.1 B."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from measuring import starter

SHARD_BYTES = 500 << 20
# TinyLlama's shape.
LAYERS, HIDDEN, FEED_FORWARD, HEADS, KEY_HEADS, VOCABULARY = 22, 2048, 5632, 32, 4, 32000
RANK = 16
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def starter_folder(folder: Path) -> Path:
    """The starter's weights and tokenizer as bf16 safetensors, as transformers writes them."""
    if not (folder / "done").exists():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

        source = starter()
        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        read = AutoModelForCausalLM.from_pretrained(
            str(source.parent), gguf_file=source.name, dtype=torch.float32
        )
        values = read.config.to_dict()
        values.pop("quantization_config", None)
        model = LlamaForCausalLM(LlamaConfig(**values))
        model.load_state_dict(read.state_dict())
        model.to(torch.bfloat16).save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        (folder / "done").touch()
    return folder


def random_folder(folder: Path, *, layers: int = LAYERS) -> Path:
    """A random Llama of TinyLlama's shape in bf16 shards, with a SentencePiece tokenizer trained on the spot."""
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder)
    _write_weights(folder, layers)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": 2048,
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": KEY_HEADS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": VOCABULARY,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "attention_bias": False,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "done").touch()
    return folder


def adapter_for(base: Path, folder: Path, seed: int = 2) -> Path:
    """A PEFT adapter with random weights on every linear layer of base."""
    if not (folder / "done").exists():
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = LoraConfig(
                r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
            )
            adapted = get_peft_model(model, config)
            with torch.no_grad():
                for name, parameter in adapted.named_parameters():
                    if "lora_B" in name:
                        parameter.normal_(std=0.01)
            adapted.save_pretrained(str(folder))
        (folder / "done").touch()
    return folder


def _write_weights(folder: Path, layers: int) -> None:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    shard: dict[str, Any] = {}
    shards: list[dict[str, Any]] = []
    held = 0
    for name, shape in _shapes(layers):
        if len(shape) == 1:
            tensor = torch.ones(shape, dtype=torch.bfloat16)
        else:
            tensor = (torch.randn(shape, generator=generator) * 0.02).to(torch.bfloat16)
        if held and held + tensor.nbytes > SHARD_BYTES:
            shards.append({name: f"part-{len(shards)}" for name in shard})
            save_file(shard, str(folder / f"part-{len(shards) - 1}"), metadata={"format": "pt"})
            shard, held = {}, 0
        shard[name] = tensor
        held += tensor.nbytes
    shards.append({name: f"part-{len(shards)}" for name in shard})
    save_file(shard, str(folder / f"part-{len(shards) - 1}"), metadata={"format": "pt"})
    weight_map = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"part-{number}").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _shapes(layers: int) -> list[tuple[str, tuple[int, ...]]]:
    keys = HIDDEN // HEADS * KEY_HEADS
    shapes: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (VOCABULARY, HIDDEN))]
    for layer in range(layers):
        head = f"model.layers.{layer}"
        shapes += [
            (f"{head}.input_layernorm.weight", (HIDDEN,)),
            (f"{head}.self_attn.q_proj.weight", (HIDDEN, HIDDEN)),
            (f"{head}.self_attn.k_proj.weight", (keys, HIDDEN)),
            (f"{head}.self_attn.v_proj.weight", (keys, HIDDEN)),
            (f"{head}.self_attn.o_proj.weight", (HIDDEN, HIDDEN)),
            (f"{head}.post_attention_layernorm.weight", (HIDDEN,)),
            (f"{head}.mlp.gate_proj.weight", (FEED_FORWARD, HIDDEN)),
            (f"{head}.mlp.up_proj.weight", (FEED_FORWARD, HIDDEN)),
            (f"{head}.mlp.down_proj.weight", (HIDDEN, FEED_FORWARD)),
        ]
    return [*shapes, ("model.norm.weight", (HIDDEN,)), ("lm_head.weight", (VOCABULARY, HIDDEN))]


def _write_tokenizer(folder: Path) -> None:
    import sentencepiece

    from rolekit.roles.library import RoleLibrary

    roles = [entry.role for entry in RoleLibrary().all() if entry.role]
    lines = [
        line
        for role in roles
        for line in (role.description, *role.facts, *(turn.reply for turn in role.examples))
    ]
    # As many tokens as the embedding has rows: convert_hf_to_gguf.py does not fill up a vocabulary that is smaller, and
    # llama.cpp does not load its file then. Python's own library is text enough for so many.
    for file in sorted(Path(os.__file__).parent.glob("*.py")):
        lines += file.read_text(encoding="utf-8").splitlines()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=VOCABULARY,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.9995,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
