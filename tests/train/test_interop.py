"""Adapters between peft and mlx-lm: the stock packages load what was converted and compute the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rolekit.errors import RolekitError
from rolekit.train.interop import convert_adapter, read_adapter, unified
from rolekit.train.interop_peft import target_settings, to_peft
from rolekit.train.lora_adapter import LoraAdapter, LoraModule
from rolekit.train.tensors import Tensor, read_tensors, write_tensors

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
mx = pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")
from tiny_bases import FAMILIES, save_base

pytestmark = [  # what peft warns of in its own code
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]
Logits = NDArray[numpy.float32]
Make = Callable[..., Path]
IDS = [[3, 17, 42, 5, 9, 60, 1, 33]]
ATTENTION = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Make:
    """A peft adapter with random weights, saved by peft itself."""

    def made(base: Path = base, **settings: Any) -> Path:
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        config = peft.LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ATTENTION, **settings})
        model = peft.get_peft_model(model, config)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                spread = torch.randn_like(parameter) * 0.1
                parameter.data = parameter.data + spread if "magnitude" in name else spread
        model.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    return made


def torch_logits(base: Path, adapter: Path | None) -> Logits:
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
        assert set(model.load_adapter(adapter, "default").missing_keys) <= set(model.state_dict())
    with torch.no_grad():
        return numpy.asarray(model.eval()(torch.tensor(IDS)).logits.numpy())


def mlx_logits(base: Path, adapter: Path | None) -> Logits:
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model

    model, _ = load_model(base, lazy=True)
    if adapter is not None:
        load_adapters(model, str(adapter))
    model.eval()
    return numpy.asarray(model(mx.array(IDS)))


def change(logits: Logits, plain: Logits) -> float:
    return float(numpy.abs(logits - plain).max())


UNIFORM: list[dict[str, Any]] = [
    {"r": 4, "lora_alpha": 8},
    {"r": 3, "lora_alpha": 7},
    {"r": 8, "lora_alpha": 8, "use_rslora": True},
    {"r": 4, "lora_alpha": 8, "use_dora": True},
    {"r": 4, "lora_alpha": 8, "layers_to_transform": [1]},
    {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
    {"r": 4, "lora_alpha": 8, "target_modules": ["layers.0.self_attn.q_proj", "down_proj"]},
]


@pytest.mark.parametrize("settings", UNIFORM, ids=str)
def test_a_uniform_adapter_keeps_every_number(
    base: Path, adapter: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    source = adapter(**settings)
    made = convert_adapter(source, "mlx", tmp_path / "mlx")
    assert (made.padded, made.folded) == (0, 0)
    back = convert_adapter(tmp_path / "mlx", "peft", tmp_path / "back")
    assert (back.padded, back.folded) == (0, 0)
    before = read_tensors(source / "adapter_model.safetensors")
    after = read_tensors(tmp_path / "back" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(before[name].values.tobytes() == after[name].values.tobytes() for name in before)

    expected, plain = torch_logits(base, source), torch_logits(base, None)
    assert change(expected, plain) > 0.1
    assert change(mlx_logits(base, tmp_path / "mlx"), expected) < 2e-5
    assert change(torch_logits(base, tmp_path / "back"), expected) < 1e-6


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("rslora", [False, True])
def test_patterns_of_rank_and_alpha_compute_the_same(
    base: Path, adapter: Make, tmp_path: Path, dora: bool, rslora: bool
) -> None:
    source = adapter(
        r=4, lora_alpha=8, use_rslora=rslora, use_dora=dora, target_modules=[*ATTENTION, "down_proj"],
        rank_pattern={"v_proj": 2, "layers.1.mlp.down_proj": 7}, alpha_pattern={"down_proj": 5},
    )  # fmt: skip
    made = convert_adapter(source, "mlx", tmp_path / "mlx")
    assert (made.rank, made.modules, made.padded) == (7, 6, 5)
    assert made.folded == 4
    convert_adapter(tmp_path / "mlx", "peft", tmp_path / "back")
    expected, plain = torch_logits(base, source), torch_logits(base, None)
    assert change(expected, plain) > 0.1
    assert change(mlx_logits(base, tmp_path / "mlx"), expected) < 2e-5
    assert change(torch_logits(base, tmp_path / "back"), expected) < 1e-5


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "llama"])
def test_every_family_has_the_same_module_names(tmp_path: Path, adapter: Make, family: str) -> None:
    base = save_base(tmp_path / "base", family)
    source = adapter(base, r=4, lora_alpha=8, target_modules="all-linear")
    convert_adapter(source, "mlx", tmp_path / "mlx")
    expected, plain = torch_logits(base, source), torch_logits(base, None)
    assert change(expected, plain) > 0.05
    assert change(mlx_logits(base, None), plain) < 1e-3 * numpy.abs(plain).max()
    assert change(mlx_logits(base, tmp_path / "mlx"), expected) < 1e-3 * numpy.abs(expected).max()


def test_what_mlx_lm_trains_loads_in_peft(base: Path, tmp_path: Path) -> None:
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load_model

    model, _ = load_model(base, lazy=True)
    model.freeze()
    parameters = {"rank": 5, "scale": 3.3, "dropout": 0.1}
    linear_to_lora_layers(model, 1, parameters)
    mx.random.seed(0)
    model.update(tree_map(lambda a: mx.random.normal(a.shape) * 0.1, model.trainable_parameters()))
    source = tmp_path / "mlx"
    source.mkdir()
    mx.save_safetensors(
        str(source / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters()))
    )
    settings = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": parameters, "model": str(base)}
    (source / "adapter_config.json").write_text(json.dumps(settings))
    made = convert_adapter(source, "peft", tmp_path / "peft")
    assert (made.rank, made.modules, made.folded) == (5, 7, 0)
    saved = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert saved["lora_alpha"] / saved["r"] == 3.3
    assert saved["layers_to_transform"] == [1]
    assert saved["base_model_name_or_path"] == str(base)
    expected, plain = mlx_logits(base, source), mlx_logits(base, None)
    assert change(expected, plain) > 0.1
    assert change(torch_logits(base, tmp_path / "peft"), expected) < 2e-5


@given(
    ranks=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    scales=st.lists(st.floats(0.01, 100.0), min_size=5, max_size=5),
)
def test_one_rank_and_one_scale_mean_the_same(ranks: list[int], scales: list[float]) -> None:
    random = numpy.random.default_rng(0)
    modules = tuple(
        LoraModule(
            f"model.layers.{number}.mlp.up_proj",
            Tensor("F32", random.normal(size=(rank, 6)).astype("<f4")),
            Tensor("F32", random.normal(size=(4, rank)).astype("<f4")),
            scales[number],
        )
        for number, rank in enumerate(ranks)
    )
    config, tensors = to_peft(unified(LoraAdapter(modules)))
    scale = config["lora_alpha"] / config["r"]
    for module in modules:
        a, b = (tensors[f"base_model.model.{module.path}.lora_{half}.weight"].values for half in "AB")
        meant = module.scale * module.b.values.astype(float) @ module.a.values
        assert numpy.allclose(scale * b.astype(float) @ a, meant, rtol=1e-6, atol=1e-6 * abs(meant).max())


@given(layers=st.sets(st.integers(0, 30), min_size=1), leaves=st.sets(st.sampled_from("qkvo"), min_size=1))
def test_targets_name_exactly_the_modules(layers: set[int], leaves: set[str]) -> None:
    config = peft.LoraConfig(
        **target_settings(f"model.layers.{layer}.self_attn.{leaf}" for layer in layers for leaf in leaves)
    )
    every = [f"model.layers.{layer}.self_attn.{leaf}" for layer in range(31) for leaf in "qkvo"]
    found = [path for path in every if peft.tuners.tuners_utils.check_target_module_exists(config, path)]
    assert found == [path for path in every if int(path.split(".")[2]) in layers and path[-1] in leaves]


def test_half_precision_goes_through_bit_by_bit(tmp_path: Path) -> None:
    bits = numpy.arange(0, 65536, 7, dtype="<u2").reshape(1, -1)
    write_tensors(tmp_path / "x.safetensors", {"t": Tensor("BF16", bits)}, {})
    again = read_tensors(tmp_path / "x.safetensors")["t"]
    assert again.dtype == "BF16"
    assert again.values.tobytes() == bits.tobytes()
    theirs = torch.from_numpy(bits.view("<i2")).view(torch.bfloat16).float().numpy()
    assert numpy.array_equal(again.float32().values, theirs, equal_nan=True)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"modules_to_save": ["lm_head"]}, "replaces whole layers"),
    ({"bias": "lora_only"}, "trains biases"),
    ({"target_modules": ["embed_tokens"]}, "adapts the embedding"),
    ({"target_modules": ["lm_head"]}, "whole weights"),
    ({"init_lora_weights": "pissa"}, "changed the base's own weights"),
]


@pytest.mark.parametrize(("settings", "reason"), REFUSED, ids=str)
def test_what_has_no_counterpart_is_refused_in_a_sentence(
    adapter: Make, tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    source = adapter(r=4, lora_alpha=8, **settings)
    with pytest.raises(RolekitError, match=reason):
        convert_adapter(source, "mlx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def edited(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_damaged_adapter_ends_in_a_sentence(adapter: Make, tmp_path: Path) -> None:
    source, out = adapter(r=4, lora_alpha=8), tmp_path / "out"
    with pytest.raises(RolekitError, match="peft's format already"):
        convert_adapter(source, "peft", out)
    edited(source, r=5)
    with pytest.raises(RolekitError, match="the rank 5"):
        convert_adapter(source, "mlx", out)
    edited(source, r=4, lora_alpha="eight")
    with pytest.raises(RolekitError, match="no number"):
        convert_adapter(source, "mlx", out)
    edited(source, lora_alpha=8, rank_pattern={"(": 4})
    with pytest.raises(RolekitError, match="no usable expression"):
        convert_adapter(source, "mlx", out)
    weights = source / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(RolekitError, match="damaged"):
        convert_adapter(source, "mlx", out)
    weights.unlink()
    with pytest.raises(RolekitError, match="no adapter"):
        convert_adapter(source, "mlx", out)
    (source / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(RolekitError, match="pickled"):
        convert_adapter(source, "mlx", out)
    assert not list(tmp_path.glob("out*"))


def test_only_an_adapter_folder_is_replaced(adapter: Make, tmp_path: Path) -> None:
    source, out = adapter(r=4, lora_alpha=8), tmp_path / "out"
    (source / "rolekit.json").write_text('{"role": "Ada"}')
    convert_adapter(source, "mlx", out)
    first = (out / "adapters.safetensors").read_bytes()
    convert_adapter(source, "mlx", out, base="somebody/else")
    assert (out / "adapters.safetensors").read_bytes() == first
    assert (out / "rolekit.json").read_text() == '{"role": "Ada"}'
    assert json.loads((out / "adapter_config.json").read_text())["model"] == "somebody/else"
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out"]
    (out / "diary.txt").write_text("mine")
    with pytest.raises(RolekitError, match="diary"):
        convert_adapter(source, "mlx", out)
    assert read_adapter(out).modules[0].rank == 4
