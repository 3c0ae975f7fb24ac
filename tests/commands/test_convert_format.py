"""`rolekit convert adapter --to …` as somebody types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

pytest.importorskip("safetensors")
from rolekit.train.tensors import Tensor, read_tensors, write_tensors


def rolekit(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rolekit", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def peft_adapter(tmp_path: Path) -> Path:
    """A peft adapter over two layers with different ranks."""
    random, folder, tensors = numpy.random.default_rng(0), tmp_path / "peft", {}
    for layer, rank in enumerate((2, 4)):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{prefix}.lora_A.weight"] = Tensor("F32", random.normal(size=(rank, 8)).astype("<f4"))
        tensors[f"{prefix}.lora_B.weight"] = Tensor("F32", random.normal(size=(6, rank)).astype("<f4"))
    write_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    config = {
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": {"layers.0.self_attn.q_proj": 2},
        "target_modules": ["q_proj"], "base_model_name_or_path": "somebody/base",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_there_and_back(peft_adapter: Path, tmp_path: Path) -> None:
    there = rolekit("convert", "adapter", peft_adapter, "--to", "mlx", "--out", tmp_path / "mlx")
    assert there.returncode == 0, there.stderr
    assert "2 modules of rank 4" in there.stdout
    assert "1 modules got rows of zeros" in there.stderr
    back = rolekit(
        "convert",
        "adapter",
        tmp_path / "mlx",
        "--to",
        "peft",
        "--out",
        tmp_path / "back",
        "--base",
        "me/mine",
        "--json",
    )
    assert json.loads(back.stdout) == {
        "folder": str(tmp_path / "back"), "format": "peft", "from": "mlx", "modules": 2, "rank": 4,
        "padded": 0, "folded": 0,
    }  # fmt: skip
    assert (
        json.loads((tmp_path / "back" / "adapter_config.json").read_text())["base_model_name_or_path"]
        == "me/mine"
    )
    before, after = (
        read_tensors(folder / "adapter_model.safetensors") for folder in (peft_adapter, tmp_path / "back")
    )
    assert before.keys() == after.keys()


def test_what_is_missing_is_usage_and_what_is_wrong_a_sentence(peft_adapter: Path, tmp_path: Path) -> None:
    assert rolekit("convert", "adapter", peft_adapter, "--to", "mlx").returncode == 2
    assert rolekit("convert", "adapter", peft_adapter, "--out", tmp_path / "x.gguf").returncode == 2
    assert rolekit("convert", "adapter", peft_adapter, "--to", "onnx", "--out", tmp_path).returncode == 2
    wrong = rolekit("convert", "adapter", peft_adapter, "--to", "peft", "--out", tmp_path / "out")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("rolekit: ")
    assert "format already" in wrong.stderr
