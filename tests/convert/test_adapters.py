"""Adapters of every kind: merged, or put on at run time, llama.cpp computes what Hugging Face + PEFT computes."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from rolekit.cli import app
from rolekit.convert.adapter import read_adapter
from rolekit.convert.adapter_conversion import convert_adapter, merge_reasons
from rolekit.convert.conversion import convert
from rolekit.convert.divergence import Divergence
from rolekit.convert.job import Job
from rolekit.convert.logits import Evaluator
from rolekit.convert.output import publish
from rolekit.engine.gguf_header import read_header
from rolekit.errors import RolekitError

Logits = NDArray[np.float32]
IDS = [3, 200, 17, 5, 650, 17, 301, 99, 4, 120, 55, 7]
SIZES: dict[str, Any] = {
    "vocab_size": 768,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEADS = {"head_dim": 16}
GEMMA = {**HEADS, "query_pre_attn_scalar": 16, "sliding_window": 64}
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", HEADS),
    "phi3": ("Phi3", {}),
    "glm": ("Glm", {**HEADS, "tie_word_embeddings": False}),
    "glm4": ("Glm4", {**HEADS, "tie_word_embeddings": False}),
    "gemma2": ("Gemma2", GEMMA),
    "gemma3": ("Gemma3", {**GEMMA, "model": "Gemma3ForCausalLM"}),
}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PATTERNS = {
    "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 6},
    "alpha_pattern": {"k_proj": 3, "down_proj": 40},
}
RUN_TIME: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {}),
    "tied base": ("tied", {}),
    "rsLoRA": ("llama", {"use_rslora": True}),
    "patterns": ("llama", PATTERNS),
    "rsLoRA with patterns": ("qwen2", {**PATTERNS, "use_rslora": True}),
    "some layers": ("qwen3", {"layers_to_transform": [1]}),
    "head": ("llama", {"target_modules": [*PROJECTIONS, "lm_head"]}),
    "phi3": ("phi3", {"target_modules": "all-linear"}),
    "glm": ("glm", {"target_modules": "all-linear"}),
    "glm4": ("glm4", {"target_modules": "all-linear"}),
    "gemma2": ("gemma2", {}),
    "gemma3": ("gemma3", {}),
    "EVA's values": ("llama", {"init_lora_weights": "orthogonal"}),
}
MERGED_ONLY: dict[str, tuple[str, dict[str, Any], str]] = {
    "DoRA": ("llama", {"use_dora": True}, "DoRA"),
    "DoRA, rsLoRA, patterns": ("qwen2", {"use_dora": True, "use_rslora": True, **PATTERNS}, "DoRA"),
    "whole modules": ("llama", {"modules_to_save": ["lm_head", "embed_tokens", "norm"]}, "whole tensors"),
    "whole embedding, tied": ("tied", {"modules_to_save": ["embed_tokens"]}, "whole tensors"),
    "embedding": ("llama", {"target_modules": [*PROJECTIONS, "embed_tokens"]}, "the embedding"),
    "embedding, tied": ("tied", {"target_modules": [*PROJECTIONS, "embed_tokens"]}, "the embedding"),
    "head, tied": ("tied", {"target_modules": [*PROJECTIONS, "lm_head"]}, "lm_head.weight"),
    "tokens": ("llama", {"trainable_token_indices": [4, 17, 700]}, "trained rows"),
    "tokens, tied": ("tied", {"trainable_token_indices": [4, 17, 700]}, "trained rows"),
    "biases": ("qwen2", {"bias": "all"}, "whole tensors"),
    "LoRA's bias": ("qwen2", {"target_modules": ["q_proj", "v_proj"], "lora_bias": True}, "biases"),
}


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory, bpe_files: Path) -> Callable[[str], Path]:
    """A base by its name in BASES: a folder that holds f32.gguf, too."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            import torch
            import transformers

            family, changes = BASES[name]
            changes = dict(changes)
            model_class = changes.pop("model", f"{family}ForCausalLM")
            folder = tmp_path_factory.mktemp("base")
            torch.manual_seed(len(name))
            config_class = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
            config = getattr(transformers, config_class)(**{**SIZES, **changes})
            model = getattr(transformers, model_class)(config).float()
            with torch.no_grad():
                for key, parameter in model.named_parameters():
                    if key.endswith("bias"):
                        parameter.normal_(std=0.1)
            model.save_pretrained(str(folder))
            for file in bpe_files.iterdir():
                shutil.copy(file, folder)
            write(Job(folder, folder / "f32.gguf", type_name="F32"))
            made[name] = folder
        return made[name]

    return get


def write(job: Job) -> None:
    """Convert to the job's file."""
    produced = convert(job)
    publish(produced.parts, produced.targets)


def trained(base: Path, folder: Path, settings: Mapping[str, Any]) -> Logits:
    """Write a PEFT adapter whose every weight is random into folder; gives the logits of base with it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32, attn_implementation="eager")
    values = {"r": 4, "lora_alpha": 12, "target_modules": PROJECTIONS, "task_type": "CAUSAL_LM", **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(**values))
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if parameter.requires_grad:
                    moved = torch.randn_like(parameter)
                    if "magnitude" in key:
                        parameter.mul_(1 + 0.3 * moved)
                    else:
                        parameter.add_(0.1 * moved)
        adapted.save_pretrained(str(folder))
        with torch.no_grad():
            logits: Logits = adapted(torch.tensor([IDS])).logits[0].numpy()
    return logits


def computed(model: Path, adapter: Path | None = None) -> Logits:
    """llama.cpp's logits."""
    with Evaluator(model, [(adapter, 1.0)] if adapter else []) as evaluator:
        return np.concatenate([block.copy() for block in evaluator.logits(IDS)])


def distance(one: Logits, other: Logits) -> float:
    divergence = Divergence()
    divergence.add(one, other)
    return divergence.nmse


@pytest.mark.parametrize("case", RUN_TIME)
def test_at_run_time_and_merged_it_does_what_peft_does(
    case: str, tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    name, settings = RUN_TIME[case]
    base, adapter = base_of(name), tmp_path / "adapter"
    expected = trained(base, adapter, settings)
    bare = computed(base / "f32.gguf")
    assert distance(expected, bare) > 1e-3  # the adapter does something
    made = convert_adapter(adapter, base, tmp_path / "adapter.gguf")
    assert made.tensors > 0
    assert merge_reasons(adapter, base) == []
    assert distance(expected, computed(base / "f32.gguf", made.path)) < 1e-6
    from_gguf = convert_adapter(adapter, base / "f32.gguf", tmp_path / "same.gguf")
    assert from_gguf.path.read_bytes() == made.path.read_bytes()
    write(Job(base, tmp_path / "merged.gguf", adapter=adapter, type_name="F32"))
    assert distance(expected, computed(tmp_path / "merged.gguf")) < 1e-6


def test_whole_norms_go_onto_a_gguf_of_gemma_with_the_one_that_its_file_adds(
    tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    base, adapter = base_of("gemma2"), tmp_path / "adapter"
    expected = trained(base, adapter, {"modules_to_save": ["norm"]})
    write(Job(base / "f32.gguf", tmp_path / "merged.gguf", adapter=adapter, type_name="F32"))
    assert distance(expected, computed(tmp_path / "merged.gguf")) < 1e-6


@pytest.mark.parametrize("case", MERGED_ONLY)
def test_what_cannot_be_swapped_is_merged_exactly(
    case: str, tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    name, settings, reason = MERGED_ONLY[case]
    base, adapter = base_of(name), tmp_path / "adapter"
    expected = trained(base, adapter, settings)
    with pytest.raises(RolekitError, match=reason) as error:
        convert_adapter(adapter, base, tmp_path / "adapter.gguf")
    assert "Merge it: rolekit convert" in str(error.value)
    assert not (tmp_path / "adapter.gguf").exists()
    write(Job(base, tmp_path / "merged.gguf", adapter=adapter, type_name="F32"))
    assert distance(expected, computed(base / "f32.gguf")) > 1e-3
    assert distance(expected, computed(tmp_path / "merged.gguf")) < 1e-6


def test_the_command_writes_the_file_and_routes_the_rest_to_a_merge(
    tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    base, adapter, out = base_of("llama"), tmp_path / "adapter", tmp_path / "role.gguf"
    trained(base, adapter, {"use_rslora": True})
    command = ["convert", "adapter", str(adapter), "--base", str(base), "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--role", "Ada", "--json"])
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout.splitlines()[0])
    assert (row["tensors"], row["ranks"], row["architecture"]) == (14, [4], "llama")
    header = read_header(out)
    assert header.text("rolekit.role") == "Ada"
    assert header.metadata["adapter.lora.alpha"] == 0.0
    assert header.text("general.type") == "adapter"
    with pytest.raises(RolekitError, match="is a GGUF adapter"):
        read_adapter(out)
    trained(base, adapter, {"use_dora": True})
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, RolekitError)
    assert "DoRA" in str(result.exception)


# -- mlx-lm -------------------------------------------------------------------------------------------------------


def mlx_trained(base: Path, folder: Path, kind: str, keys: list[str]) -> Logits:
    """Write a random mlx-lm adapter into folder; gives the logits that mlx-lm computes with it."""
    mx = pytest.importorskip("mlx.core")
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model

    folder.mkdir()
    parameters = {"rank": 4, "scale": 2.5, "dropout": 0.0, "keys": keys}
    config = {"fine_tune_type": kind, "num_layers": 2, "lora_parameters": parameters, "model": "tiny"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    model, _ = load_model(base)
    mx.save_safetensors(str(folder / "adapters.safetensors"), {})
    model = load_adapters(model, str(folder))
    mx.random.seed(7)
    weights = {}
    for key, value in tree_flatten(model.parameters()):
        leaf = key.rpartition(".")[2]
        if leaf in ("lora_a", "lora_b"):
            weights[key] = 0.2 * mx.random.normal(value.shape)
        elif leaf == "m":
            weights[key] = value * (1 + 0.3 * mx.random.normal(value.shape))
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    model.load_weights(list(weights.items()), strict=False)
    logits: Logits = np.array(model(mx.array([IDS]))[0].astype(mx.float32))
    return logits


@pytest.mark.parametrize(
    ("base_name", "kind", "extra"),
    [
        ("llama", "lora", []),
        ("tied", "lora", ["model.embed_tokens"]),
        ("llama", "dora", []),
    ],
)
def test_an_mlx_adapter_does_what_it_does_in_mlx_lm(
    base_name: str, kind: str, extra: list[str], tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    base, adapter = base_of(base_name), tmp_path / "adapter"
    modules = [f"self_attn.{name}" for name in PROJECTIONS[:4]] + [f"mlp.{name}" for name in PROJECTIONS[4:]]
    expected = mlx_trained(base, adapter, kind, [*modules, *extra])
    assert distance(expected, computed(base / "f32.gguf")) > 1e-3
    write(Job(base, tmp_path / "merged.gguf", adapter=adapter, type_name="F32"))
    assert distance(expected, computed(tmp_path / "merged.gguf")) < 1e-6
    if kind == "lora" and not extra:
        made = convert_adapter(adapter, base, tmp_path / "adapter.gguf")
        assert distance(expected, computed(base / "f32.gguf", made.path)) < 1e-6
    else:
        assert merge_reasons(adapter, base)


# -- what is refused ----------------------------------------------------------------------------------------------


def rewritten(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peft_type": "IA3"}, "of the type IA3, not LORA"),
        ({"init_lora_weights": "pissa_niter_4"}, "PiSSA moved the main part"),
        ({"init_lora_weights": "olora"}, "OLoRA took"),
        ({"init_lora_weights": "loftq"}, "LoftQ trained it on a quantized base"),
        ({"init_lora_weights": "mystery"}, "initialisation 'mystery'"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "it repeats layers of its base"),
        ({"alora_invocation_tokens": [1, 2]}, "activated LoRA"),
        ({"target_parameters": ["experts.w"]}, "by parameter, not by module"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"new_setting": 3}, "does not know, new_setting"),
        ({"r": 8}, "has rank 4 in its tensors and 8 in its settings"),
        ({"lora_alpha": None}, "lora_alpha of .* is None"),
        ({"lora_alpha": True}, "lora_alpha of .* is True"),
        ({"rank_pattern": {"(": 3}}, "no usable expression"),
        ({"rank_pattern": {"(a|a)*$|((a|aa)+)+": 3}}, "."),
        ({"use_dora": True}, "has no DoRA magnitudes"),
    ],
)
def test_settings_that_change_the_result_are_honoured_or_refused(
    changes: dict[str, Any], sentence: str, tmp_path: Path, base_of: Callable[[str], Path]
) -> None:
    base, adapter = base_of("llama"), tmp_path / "adapter"
    trained(base, adapter, {"target_modules": ["q_proj"]})
    rewritten(adapter, **changes)
    if sentence == ".":
        read_adapter(adapter)  # a hostile expression that matches nothing ends soon
        return
    with pytest.raises(RolekitError, match=sentence) as error:
        read_adapter(adapter)
    assert "\n" not in str(error.value)


def test_an_adapter_of_another_base_is_one_sentence(tmp_path: Path, base_of: Callable[[str], Path]) -> None:
    adapter = tmp_path / "adapter"
    trained(base_of("llama"), adapter, {})
    with pytest.raises(
        RolekitError, match=r"trained on another model .*has no model\.layers\.0\.mlp\.gate_proj"
    ):
        convert_adapter(adapter, base_of("phi3"), tmp_path / "a.gguf")
    with pytest.raises(RolekitError, match=r"another model .*is 64x64 there and"):
        convert_adapter(wider(tmp_path, base_of), base_of("llama"), tmp_path / "a.gguf")
    assert not (tmp_path / "a.gguf").exists()


def wider(tmp_path: Path, base_of: Callable[[str], Path]) -> Path:
    """An adapter whose q_proj has 80 rows."""
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "wider"
    trained(base_of("llama"), folder, {"target_modules": ["q_proj"]})
    tensors = load_file(folder / "adapter_model.safetensors")
    for name, values in tensors.items():
        if "lora_B" in name:
            tensors[name] = np.zeros((80, values.shape[1]), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_damaged_adapters_are_one_sentence(tmp_path: Path, base_of: Callable[[str], Path]) -> None:
    from safetensors.numpy import load_file, save_file

    base, adapter = base_of("llama"), tmp_path / "adapter"
    trained(base, adapter, {"target_modules": ["q_proj"]})
    weights = adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    tensors = load_file(weights)
    first = next(name for name in tensors if "lora_A" in name)

    def refused(sentence: str) -> None:
        with pytest.raises(RolekitError, match=sentence) as error:
            convert_adapter(adapter, base, tmp_path / "a.gguf")
        assert "\n" not in str(error.value)
        assert list(tmp_path.glob("a.gguf*")) == []

    save_file({**tensors, first: np.full_like(tensors[first], np.nan)}, weights)
    refused("NaN or infinity in .*lora_A")
    save_file({name: values for name, values in tensors.items() if name != first}, weights)
    refused("only one half")
    save_file({**tensors, "base_model.model.x.lora_C.weight": tensors[first]}, weights)
    refused("no part of a LoRA")
    save_file({**tensors, "surprise": tensors[first]}, weights)
    refused("does not begin with base_model.model")
    weights.write_bytes(whole[:-40])
    refused("cut off")
    weights.write_bytes(whole)
    (adapter / "adapter_config.json").write_text("{")
    refused("no JSON text")
    (adapter / "adapter_config.json").unlink()
    refused("nobody knows the adapter's scale")
    weights.rename(adapter / "adapter_model.bin")
    refused("holds a pickled adapter")
    (adapter / "adapter_model.bin").unlink()
    refused("holds no adapter")


def test_mlx_settings_are_read_strictly(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(
        {"model.layers.0.self_attn.q_proj.lora_a": np.ones((64, 4), np.float32)},
        tmp_path / "adapters.safetensors",
    )
    for config, sentence in [
        ({"fine_tune_type": "magic"}, "of the type magic"),
        ({"lora_parameters": {"rank": 4, "alpha": 8}}, "no scale .it has alpha"),
        ({"lora_parameters": {"scale": 8.0}}, "no rank"),
        ({"lora_parameters": {"scale": 8.0, "rank": 4}}, "only one half"),
    ]:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(RolekitError, match=sentence):
            read_adapter(tmp_path)
