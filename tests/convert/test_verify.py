"""The proof passes what is right, and fails each way in which a conversion goes wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rolekit.convert.adapter import read_adapter
from rolekit.convert.adapter_gguf import write_gguf_adapter
from rolekit.convert.base import open_base
from rolekit.convert.conversations import bundled_conversations
from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.convert.limits import limits_of
from rolekit.convert.output import publish
from rolekit.convert.proof import Proof
from rolekit.convert.references import open_reference, reference_source
from rolekit.convert.tensor_errors import tensor_errors
from rolekit.convert.verify import Candidate, Demands, verify
from rolekit.engine.gguf_header import read_header
from rolekit.errors import RolekitError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_llama) -> Path:
    return make_llama(tmp_path_factory.mktemp("verify") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path, make_adapter) -> Path:
    return make_adapter(base, base.parent / "adapter", lora_alpha=32, use_rslora=True)


@pytest.fixture(scope="module")
def exact(base: Path, adapter: Path) -> Path:
    """base with adapter in F32."""
    return made(Job(base=base, adapter=adapter, out=base.parent / "exact.gguf", type_name="F32"))


def made(job: Job) -> Path:
    produced = convert(job)
    publish(produced.parts, produced.targets)
    return produced.targets[0]


def proved(file: Path, base: Path, adapter: Path | None, **changes: object) -> Proof:
    demands = replace(Demands(bundled_conversations(2), tokens=8, adapter=adapter), **changes)
    job = Job(base=base, out=file, adapter=adapter)
    return verify(Candidate(file), reference_source(base), open_reference(job), demands)


def failed(proof: Proof) -> list[str]:
    return [check.name for check in proof.failed]


def test_an_exact_file_passes_with_hardly_any_divergence(exact: Path, base: Path, adapter: Path) -> None:
    proof = proved(exact, base, adapter)
    found = {check.name: check.figure for check in proof.checks}
    assert (failed(proof), proof.unverified) == ([], ())
    assert found["mean KL"] is not None
    assert found["mean KL"] < 1e-9
    assert found["adapter"] == pytest.approx(1, abs=1e-4)
    assert proof.reference == "Hugging Face + PEFT in fp32"
    report = json.loads(json.dumps(proof.as_json()))
    assert report["verified"]
    assert report["checks"]["prompts"]["passed"]


def test_a_quantized_file_passes_and_its_tensors_are_measured(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    job = Job(base=base, adapter=adapter, out=tmp_path / "m.gguf", type_name="Q8_0")
    assert failed(proved(made(job), base, adapter)) == []
    errors = {tensor.name: tensor for tensor in tensor_errors(job, job.out)}
    assert errors["blk.0.attn_q.weight"].type_name == "Q8_0"
    assert 1e-4 < (errors["blk.0.attn_q.weight"].relative_error or 0) < 0.02
    assert errors["blk.0.attn_norm.weight"].relative_error == 0


def test_a_lost_adapter_fails(base: Path, adapter: Path, tmp_path: Path) -> None:
    bare = made(Job(base=base, out=tmp_path / "bare.gguf", type_name="F32"))
    proof = proved(bare, base, adapter)
    assert "adapter" in failed(proof)
    share = next(check.figure for check in proof.checks if check.name == "adapter")
    assert share == pytest.approx(0, abs=0.01)


def test_an_adapter_at_the_wrong_scale_fails(base: Path, adapter: Path, exact: Path, tmp_path: Path) -> None:
    """What other converters do to rsLoRA: alpha / r in place of alpha / sqrt(r)."""
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": False}))
    wrong = made(Job(base=base, adapter=other, out=tmp_path / "wrong.gguf", type_name="F32"))
    assert "adapter" in failed(proved(wrong, base, adapter))


def test_reordered_rows_fail(exact: Path, base: Path, adapter: Path, tmp_path: Path) -> None:
    wrong = Path(shutil.copy(exact, tmp_path / "wrong.gguf"))
    header = read_header(wrong)
    tensor = next(one for one in header.tensors if one.name == "blk.0.attn_q.weight")
    rows = np.memmap(
        wrong, np.float32, "r+", header.data_offset + tensor.offset, tuple(reversed(tensor.shape))
    )
    rows[:] = rows[::-1].copy()
    rows.flush()
    assert {"mean KL", "p99 KL"} <= set(failed(proved(wrong, base, adapter)))
    with pytest.raises(RolekitError, match="was not made of this base"):
        tensor_errors(Job(base=_smaller(base, tmp_path), out=wrong), wrong)


def _smaller(base: Path, tmp_path: Path) -> Path:
    """The base's configuration over fewer rows of the embedding."""
    from safetensors.numpy import save_file
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(base, tmp_path / "smaller"))
    tensors = {name: tensor.float().numpy() for name, tensor in load_file(base / "model.safetensors").items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = np.ascontiguousarray(tensors[name][:760])
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 760}))
    return folder


def test_another_chat_template_fails_and_spares_the_rest(
    exact: Path, base: Path, adapter: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "base"))
    config = json.loads((other / "tokenizer_config.json").read_text())
    config["chat_template"] = config["chat_template"].replace("assistant", "bot")
    (other / "tokenizer_config.json").write_text(json.dumps(config))
    proof = proved(exact, other, adapter)
    assert failed(proof) == ["prompts"]
    assert "in Hugging Face and" in proof.failed[0].note
    assert proof.unverified == ("Logits were not compared: what the models read differs.",)


def test_another_way_to_cut_text_fails(exact: Path, base: Path, adapter: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    key = b"tokenizer.ggml.pre" + (8).to_bytes(4, "little") + (5).to_bytes(8, "little")
    data = exact.read_bytes()
    assert data.count(key + b"gpt-2") == 1
    wrong.write_bytes(data.replace(key + b"gpt-2", key + b"qwen2"))
    assert "tokens" in failed(proved(wrong, base, adapter))


def test_an_end_that_the_file_does_not_know_fails(
    exact: Path, base: Path, adapter: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "base"))
    (other / "generation_config.json").write_text('{"eos_token_id": [2, 300]}')
    assert failed(proved(exact, other, adapter)) == ["end tokens"]


def test_what_does_not_fit_into_memory_is_said_to_be_unverified(
    exact: Path, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekit.convert.reference_hf.available_memory_bytes", lambda: 1 << 20)
    proof = proved(exact, base, adapter)
    assert proof.passed
    assert not proof.as_json()["verified"]
    assert [check.name for check in proof.checks] == ["tokens", "prompts", "end tokens"]
    assert proof.unverified[0].startswith(
        "Divergence, greedy agreement and ends were not measured: Comparing"
    )


def test_a_gguf_base_is_compared_with_what_it_is_dequantized(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """Merging onto a 4-bit base rounds twice: the adapter arrives, weakened, and the report says by how much."""
    coarse = made(Job(base=base, out=tmp_path / "coarse.gguf", type_name="Q4_0"))
    again = made(Job(base=coarse, adapter=adapter, out=tmp_path / "again.gguf", type_name="Q8_0"))
    proof = proved(again, coarse, adapter)
    found = {check.name: check.figure for check in proof.checks}
    assert failed(proof) == []
    assert proof.reference == "the base, dequantized, with the adapter"
    assert found["adapter"] == pytest.approx(1, abs=0.1)
    lost = made(Job(base=coarse, out=tmp_path / "lost.gguf", type_name="Q8_0"))
    assert "adapter" in failed(proved(lost, coarse, adapter))
    assert not list(tmp_path.glob(".reference-*"))


def test_an_adapter_file_on_its_base_is_proved_too(base: Path, adapter: Path, tmp_path: Path) -> None:
    plain = made(Job(base=base, out=tmp_path / "plain.gguf", type_name="F32"))
    opened = open_base(base)
    shapes = {name: opened.source.shape(name) for name in opened.source.names()}
    fitted = read_adapter(adapter).fitted(shapes, opened.name, opened.tied())
    write_gguf_adapter(fitted, opened.plan(opened.source), tmp_path / "adapter.gguf")
    opened.close()
    demands = Demands(bundled_conversations(1), tokens=4)
    reference = open_reference(Job(base=base, out=plain, adapter=adapter))
    for scale, fails in ((1.0, []), (0.5, ["mean KL", "p99 KL", "adapter"])):
        candidate = Candidate(plain, ((tmp_path / "adapter.gguf", scale),))
        proof = verify(candidate, base, reference, demands)
        assert [name for name in failed(proof) if name != "greedy"] == fails


def test_limits_loosen_with_the_bits() -> None:
    types = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_S", "Q2_K")
    means = [limits_of(name).mean_kl for name in types]
    assert means == sorted(means)
    assert limits_of("IQ4_XS") == limits_of("Q4_K_M")
    assert limits_of("Q4_0").mean_kl > limits_of("Q4_K_M").mean_kl
    assert limits_of("Q4_K_M", mean_kl=0.01).mean_kl == 0.01
    assert limits_of("F32", exact_reference=False).mean_kl > limits_of("F32").mean_kl


def test_an_mlx_adapter_is_proved_against_its_own_arithmetic(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """The same change, written as mlx-lm writes it: x·a·b·scale."""
    from safetensors.numpy import load_file, save_file

    peft = load_file(adapter / "adapter_model.safetensors")
    folder = tmp_path / "mlx"
    folder.mkdir()
    halves = {"lora_A": "lora_a", "lora_B": "lora_b"}
    tensors = {}
    for name, values in peft.items():
        module, half, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
        tensors[f"{module}.{halves[half]}"] = np.ascontiguousarray(values.T)
    save_file(tensors, folder / "adapters.safetensors")
    config = {
        "fine_tune_type": "lora",
        "num_layers": 2,
        "lora_parameters": {"rank": 8, "scale": 32 / np.sqrt(8), "dropout": 0.0},
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    file = made(Job(base=base, adapter=folder, out=tmp_path / "m.gguf", type_name="F32"))
    proof = proved(file, base, folder)
    found = {check.name: check.figure for check in proof.checks}
    assert proof.reference == "Hugging Face + the MLX adapter in fp32"
    assert (failed(proof), proof.unverified) == ([], ())
    assert found["adapter"] == pytest.approx(1, abs=1e-4)
    assert failed(proved(file, base, adapter)) == []


def test_tokens_that_training_added_are_proved_too(base: Path, tmp_path: Path) -> None:
    """An adapter that brings a larger embedding and the tokenizer to it: both sides read and predict the new tokens."""
    import warnings

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|aside|>"]})
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    folder = tmp_path / "adapter"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        config = LoraConfig(
            r=4,
            target_modules=["q_proj"],
            modules_to_save=["embed_tokens", "lm_head"],
            task_type="CAUSAL_LM",
        )
        get_peft_model(model, config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    file = made(Job(base=base, adapter=folder, out=tmp_path / "m.gguf", type_name="F32"))
    proof = proved(file, base, folder)
    assert (failed(proof), proof.unverified) == ([], ())
    assert read_header(file).metadata["tokenizer.ggml.tokens"][768] == "<|aside|>"  # type: ignore[index]
