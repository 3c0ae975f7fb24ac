"""Whole torch runs in their own processes: killed at any moment, and spread over two."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import tiny_model

pytest.importorskip("torch")
pytest.importorskip("peft")

WORKER = Path(__file__).with_name("torch_worker.py")
Steps = list[list[float]]


def work(mode: str, base: Path, out: Path, *more: str) -> Steps:
    """What the worker printed, parsed."""
    environment = {**os.environ, "PYTHONPATH": str(WORKER.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(WORKER), mode, str(base), str(out), *more],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def adapter(out: Path) -> bytes:
    return (out / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model("llama").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Steps]:
    """An uninterrupted run's folder, and its steps' losses and gradient norms."""
    out = tmp_path_factory.mktemp("whole")
    return out, work("run", base, out)


def test_it_learns(whole: tuple[Path, Steps]) -> None:
    losses = [loss for _, loss, _ in whole[1]]
    assert len(losses) == 8
    assert losses[-1] < losses[0]


def test_killed_and_resumed_gives_the_same_bytes(
    base: Path, whole: tuple[Path, Steps], tmp_path: Path
) -> None:
    (kills,) = work("lives", base, tmp_path)
    assert kills >= 2
    assert adapter(tmp_path) == adapter(whole[0])


@pytest.mark.parametrize("sharded", ["false", "true"], ids=["ddp", "fsdp"])
def test_two_processes_learn_like_one(
    base: Path, whole: tuple[Path, Steps], tmp_path: Path, sharded: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    steps = work("pair", base, tmp_path, str(port), sharded)
    assert [step for step, *_ in steps] == [step for step, *_ in whole[1]]
    for found, expected in zip(steps, whole[1], strict=True):
        assert found[1:] == pytest.approx(expected[1:], rel=1e-4)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_stock_peft_loads_the_adapter(base: Path, whole: tuple[Path, Steps]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.arange(3, 12)[None]
    before = model(input_ids=ids).logits
    loaded = PeftModel.from_pretrained(model, whole[0] / "adapter")
    assert (loaded(input_ids=ids).logits - before).abs().max() > 0.01
    config = json.loads((whole[0] / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["peft_type"], config["base_model_name_or_path"], config["r"]) == ("LORA", "tiny", 4)
