"""Packed training gives each row the losses and gradients it has alone, in every family, on both ways."""

from __future__ import annotations

import copy
import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_models import COMMON, EXTRA, tiny_model
from toy_rows import toy_rows

from rolekit.errors import RolekitError
from rolekit.train.examples import Example
from rolekit.train.packing import attention_mask, build_pack
from rolekit.train.recipe import Batch, Lora, Recipe

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from rolekit.train import torch_linear, torch_stepper
from rolekit.train.torch_dtype import Precision, precision
from rolekit.train.torch_flex import tree_rule
from rolekit.train.torch_lora import add_lora, trained
from rolekit.train.torch_stepper import TorchStepper, open_torch

ROWS = toy_rows(7, roles=2)
TOKENS = sum(row.supervised_tokens for row in ROWS)
FP32 = Precision(torch.float32, torch.float32)


def adapted(family: str, lora: Lora) -> Any:
    """A peft model whose adapter already does something."""
    model = add_lora(tiny_model(family), lora, 0, "tiny")
    chance = torch.Generator().manual_seed(1)
    for name, parameter in trained(model):
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=chance)
    return model


def reference(model: Any) -> tuple[list[float], dict[str, Any]]:
    """What transformers and peft say about each row alone: token losses in order, and summed gradients."""
    losses = []
    for row in ROWS:
        ids = torch.tensor([row.ids])
        logits = model(input_ids=ids).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        mine = each[torch.tensor(row.supervised[1:])]
        losses += mine.tolist()
        (mine.sum() / TOKENS).backward()
    return losses, {name: parameter.grad.clone() for name, parameter in trained(model)}


def packed(stepper: TorchStepper, rows: list[Example] = ROWS) -> tuple[list[float], dict[str, Any]]:
    """The same from one pack."""
    pack = build_pack(rows, range(len(rows)))
    total = stepper.forward_backward(pack, TOKENS, (0, 0, 0))
    way = stepper._fast or stepper._general
    assert way is not None
    losses = way.losses(pack)
    assert total == pytest.approx(float(losses.sum()), abs=1e-4)
    owners = torch.from_numpy(pack.owners)
    ordered = [loss for index in range(len(rows)) for loss in losses[owners == index].tolist()]
    return ordered, {name: parameter.grad.clone() for name, parameter in trained(stepper.model)}


def assert_equal(stepper: TorchStepper, expected: tuple[list[float], dict[str, Any]]) -> None:
    losses, gradients = packed(stepper)
    assert losses == pytest.approx(expected[0], abs=1e-5)
    for name, gradient in gradients.items():
        assert (gradient - expected[1][name]).abs().max() <= 1e-5, name
    assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 0.01


@pytest.mark.parametrize("family", EXTRA)
def test_packed_rows_are_unpacked_rows(family: str) -> None:
    model = adapted(family, Lora(r=4))
    expected = reference(copy.deepcopy(model))
    general = TorchStepper(copy.deepcopy(model), Recipe(), FP32, general=True)
    assert_equal(general, expected)
    stepper = TorchStepper(model, Recipe(), FP32)
    assert (stepper.general_because == "") == (family in ("llama", "mistral", "qwen2", "qwen3"))
    if not stepper.general_because:
        assert_equal(stepper, expected)


@pytest.mark.parametrize(
    "lora",
    [
        Lora(r=4, rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 3.0}),
        Lora(r=4, target_modules=("q_proj", "down_proj"), layers_to_transform=(1, 2)),
        Lora(r=4, dora=True),
    ],
    ids=["rslora and patterns", "some modules of some layers", "dora"],
)
def test_kinds_of_lora(lora: Lora) -> None:
    model = adapted("llama", lora)
    expected = reference(copy.deepcopy(model))
    stepper = TorchStepper(model, Recipe(lora=lora), FP32)
    assert bool(stepper.general_because) == lora.dora
    assert_equal(stepper, expected)


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_checkpointing_changes_nothing(family: str) -> None:
    model = adapted(family, Lora(r=4))
    expected = reference(copy.deepcopy(model))
    assert_equal(TorchStepper(model, Recipe(checkpointing="on"), FP32), expected)


def test_weights_in_sixteen_bits_compute_in_fp32() -> None:
    model = adapted("llama", Lora(r=4))
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.bfloat16().float()
    expected = reference(copy.deepcopy(model))
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.bfloat16()
    chosen = Precision(torch.float32, torch.bfloat16)
    assert_equal(TorchStepper(copy.deepcopy(model), Recipe(), chosen, general=True), expected)
    assert_equal(TorchStepper(model, Recipe(), chosen), expected)


@pytest.mark.parametrize("general", [False, True])
def test_an_answer_is_the_same_with_weights_held_for_it(
    general: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is room they are merged once an answer, else once a token; training does not notice."""
    model, chosen = adapted("llama", Lora(r=4)), Precision(torch.float32, torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.bfloat16()
    stepper = TorchStepper(model, Recipe(), chosen, general=general)
    before, merges = packed(stepper), list[int]()
    stepper.discard()
    merged = torch_linear._merged
    monkeypatch.setattr(torch_linear, "_merged", lambda *given: merges.append(1) or merged(*given))

    def answer(free_bytes: int) -> tuple[tuple[int, ...], int]:
        monkeypatch.setattr(torch_stepper, "available_memory_bytes", lambda: free_bytes)
        merges.clear()
        return stepper.generate(ROWS[0].ids[:6], frozenset(), 8), len(merges)

    (held, few), (anew, many) = answer(1 << 40), answer(1)
    assert held == anew
    assert many == 8 * few
    assert_equal(stepper, before)


def test_one_pack_of_eight_is_eight_packs_of_one() -> None:
    whole = TorchStepper(adapted("llama", Lora(r=4)), Recipe(), FP32)
    cut = TorchStepper(adapted("llama", Lora(r=4)), Recipe(), FP32)
    whole.forward_backward(build_pack(ROWS, range(7)), TOKENS, (0, 0, 0))
    for index in range(7):
        cut.forward_backward(build_pack(ROWS, [index]), TOKENS, (0, 0, index))
    assert (whole._flat.gradient - cut._flat.gradient).abs().max() < 1e-6


def test_noise_and_dropout_follow_the_key() -> None:
    recipe = Recipe(lora=Lora(r=4, dropout=0.3), batch=Batch(neftune=5.0))
    stepper = TorchStepper(adapted("llama", recipe.lora), recipe, FP32)
    pack = build_pack(ROWS, range(7))

    def gradient(key: tuple[int, int, int]) -> Any:
        stepper.discard()
        stepper.forward_backward(pack, TOKENS, key)
        return stepper._flat.gradient.clone()

    first, other = gradient((0, 1, 2)), gradient((0, 2, 2))
    torch.manual_seed(99)
    assert torch.equal(gradient((0, 1, 2)), first)
    assert not torch.equal(first, other)
    assert stepper.evaluate(pack) == stepper.evaluate(pack)


def test_an_unknown_family_is_refused_with_its_reason() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("olmo2", **COMMON)
    model = add_lora(AutoModelForCausalLM.from_config(config), Lora(), 0, "x")
    with pytest.raises(RolekitError, match="has not been verified"):
        TorchStepper(model, Recipe(), FP32)


def test_bfloat16_only_where_it_is_native(tmp_path: Any) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpu = torch.device("cpu")
    cpuinfo.write_text("flags\t\t: fpu avx2 fma\n", encoding="utf-8")
    assert precision("auto", cpu, cpuinfo) == Precision(torch.float32, None)
    cpuinfo.write_text("flags\t\t: fpu avx2 avx512_bf16 fma\n", encoding="utf-8")
    assert precision("auto", cpu, cpuinfo).compute == torch.bfloat16
    assert precision("float32", cpu, cpuinfo) == FP32
    with pytest.raises(RolekitError, match="float16"):
        precision("float16", cpu, cpuinfo)


def test_frozen_layers_are_computed_once() -> None:
    lora = Lora(r=4, layers_to_transform=(2,))
    stepper = TorchStepper(adapted("llama", lora), Recipe(lora=lora), FP32)
    fresh = packed(stepper)
    stepper.discard()
    for indices in ([0, 2, 4, 6], [1, 3, 5]):
        stepper.remember(build_pack(ROWS, indices))
    assert stepper._fast is not None
    stepper._fast._embedding = torch.full_like(stepper._fast._embedding, math.nan)
    assert_equal(stepper, fresh)


@pytest.mark.parametrize("window", [0, 5])
def test_the_gpu_kernel_gets_the_same_tree(window: int) -> None:
    from torch.nn.attention.flex_attention import create_mask

    pack = build_pack(ROWS, range(7))
    rule = tree_rule(pack, window, torch.device("cpu"))
    found = create_mask(rule, None, None, pack.tokens, pack.tokens, device="cpu")
    assert torch.equal(found[0, 0], torch.from_numpy(attention_mask(pack, window)))


def test_four_bit_weights_train_or_say_why_not(tmp_path: Path) -> None:
    """QLoRA: where bitsandbytes works the adapter gets a gradient, elsewhere there is one sentence."""
    tiny_model("llama").save_pretrained(tmp_path)
    lora = Lora(r=4, quantize="nf4")
    said = ""
    try:
        stepper = open_torch(tmp_path, Recipe(lora=lora), "tiny")
    except RolekitError as error:
        said = str(error)
    if said and importlib.util.find_spec("bitsandbytes") is not None:
        pytest.skip(f"bitsandbytes is installed and does not work here: {said}")
    if said:
        assert "4-bit weights (QLoRA) do not work" in said
        return
    assert stepper.general_because == "its weights are in 4 bits"
    stepper.forward_backward(build_pack(ROWS, range(7)), TOKENS, (0, 0, 0))
    assert stepper.step(0.1, 1.0) > 0.0
