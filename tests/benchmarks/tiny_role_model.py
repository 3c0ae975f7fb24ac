"""A small model that has learnt something: four layers of 256 columns, trained on role conversations for a minute."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rolekit.messages import Message

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY, CONTEXT, SECONDS = 2048, 192, 75


def train(folder: Path, talks: Sequence[Sequence[Message]]) -> None:
    """Put the trained model and its tokenizer into folder, as transformers keeps them."""
    import time

    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    texts = ["".join(f"<|im_start|>{m.speaker}\n{m.text}<|im_end|>\n" for m in talk) for talk in talks]
    tokenizer = _tokenizer(folder, texts)
    assert isinstance(tokenizer, Tokenizer)
    ids = torch.tensor([token for text in texts for token in tokenizer.encode(text).ids])
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=2,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    started, losses = time.monotonic(), []
    while time.monotonic() - started < SECONDS:
        starts = torch.randint(0, len(ids) - CONTEXT, (8,))
        batch = torch.stack([ids[start : start + CONTEXT] for start in starts.tolist()])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    print(f"tiny: {len(losses)} steps, loss {losses[0]:.2f} -> {sum(losses[-20:]) / 20:.2f}")
    model.to(torch.bfloat16).save_pretrained(str(folder))


def _tokenizer(folder: Path, texts: Sequence[str]) -> object:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tokenizer
