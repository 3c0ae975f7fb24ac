"""`rolekit train --set backend=mlx`, from rows to an adapter that stock mlx-lm loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("mlx_lm")
tokenizers = pytest.importorskip("tokenizers")
from tiny_bases import save_base

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A random Llama with a byte-level tokenizer and a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = save_base(tmp_path / "base", "llama", vocab_size=320)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["Who are you? I keep the lighthouse and the lamp."] * 3, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def rolekit(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rolekit", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_from_rows_to_an_adapter_of_either_package(base: Path, tmp_path: Path) -> None:
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model

    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {n}?"},
                {"role": "assistant", "content": f"Lamp {n}."},
            ]
        }
        for n in range(12)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = (
        "train", "--role", "Keeper", "--data", data, "--base", base, "--out", tmp_path / "run", "--set", "backend=mlx",
        "--set", "run.epochs=1", "--set", "lora.r=2", "--set", "run.sample_tokens=4", "--json",
    )  # fmt: skip
    done = rolekit(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])
    adapter = tmp_path / "run" / "adapter"
    saved = (adapter / "adapter_model.safetensors").read_bytes()
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    again = rolekit(*command)
    assert again.returncode == 0, again.stderr
    assert (adapter / "adapter_model.safetensors").read_bytes() == saved

    converted = rolekit("convert", "adapter", adapter, "--to", "mlx", "--out", tmp_path / "mlx")
    assert converted.returncode == 0, converted.stderr
    assert (tmp_path / "mlx" / "rolekit.json").read_bytes() == (adapter / "rolekit.json").read_bytes()
    model, _ = load_model(base, lazy=True)
    load_adapters(model, str(tmp_path / "mlx"))
