"""The one pass: what comes out is what went in, whatever the blocks, the threads, the files and the interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rolekit.convert.base import open_base
from rolekit.convert.conversion import convert
from rolekit.convert.dequantize import to_float32
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.job import Job
from rolekit.convert.output import publish
from rolekit.convert.plan import InterleavedPairs, OutputTensor, Part, read_rows
from rolekit.convert.source import span
from rolekit.engine.gguf_header import read_header
from rolekit.errors import RolekitError

MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, make_llama: MakeModel) -> Path:
    """A bf16 Llama in several shards."""
    return make_llama(tmp_path_factory.mktemp("llama") / "tiny-llama", max_shard_size="300KB")


@pytest.fixture(scope="module")
def converted(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as Q4_K_M."""
    return done(Job(llama, tmp_path_factory.mktemp("out") / "m.gguf", type_name="Q4_K_M"))


def done(job: Job, **options: Any) -> Path:
    """The published file of a job; the first one of a split."""
    produced = convert(job, **options)
    publish(produced.parts, produced.targets)
    return produced.targets[0]


def test_row_orders_undo_each_other() -> None:
    order = InterleavedPairs(8)
    rows = span(0, 32)
    assert order(rows)[:8].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert np.array_equal(order(order.places(rows)), rows)
    assert np.array_equal(order.places(order(rows)), rows)


def test_parts_are_cut_and_joined_by_rows() -> None:
    class Numbers:
        def rows(self, name: str, index: Any) -> Any:
            base = {"a": 0, "b": 100}[name]
            return np.asarray([[base + row, 0.5] for row in index], dtype=np.float32)

    parts = (Part("a", 2, 5), Part("b", 0, 4, InterleavedPairs(4)), Part("a", 0, 1))
    tensor = OutputTensor("t", (8, 2), parts, add=1.0)
    source: Any = Numbers()
    whole = read_rows(source, tensor, 0, 8)
    assert whole[:, 0].tolist() == [3, 4, 5, 101, 103, 102, 104, 1]
    for start in range(8):
        for stop in range(start + 1, 9):
            assert np.array_equal(read_rows(source, tensor, start, stop), whole[start:stop])


def test_blocks_and_threads_do_not_matter(llama: Path, converted: Path, tmp_path: Path) -> None:
    for number, (chunk, threads) in enumerate([(1, 1), (10_000, 3), (1 << 30, 2)]):
        job = Job(llama, tmp_path / f"{number}.gguf", chunk_bytes=chunk, threads=threads)
        assert done(job).read_bytes() == converted.read_bytes()


def test_the_bytes_are_those_of_llama_model_quantize(llama: Path, tmp_path: Path, converted: Path) -> None:
    import llama_cpp

    full = done(Job(llama, tmp_path / "f32.gguf", type_name="F32"))
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    parameters.nthread = 1
    target = tmp_path / "theirs.gguf"
    assert llama_cpp.llama_model_quantize(os.fsencode(full), os.fsencode(target), parameters) == 0
    ours, theirs = GgufSource(converted), GgufSource(target)
    assert sorted(ours.names()) == sorted(theirs.names())
    for name in ours.names():
        assert ours.dtype(name) == theirs.dtype(name), name
        rows = span(0, ours.shape(name)[0])
        assert np.array_equal(ours.raw_rows(name, rows), theirs.raw_rows(name, rows)), name


def test_bf16_is_passed_on_bit_by_bit(llama: Path, tmp_path: Path) -> None:
    out = GgufSource(done(Job(llama, tmp_path / "m.gguf", type_name="BF16")))
    source = open_base(llama).source
    for theirs, ours in (
        ("lm_head.weight", "output.weight"),
        ("model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight"),
    ):
        rows = span(0, source.shape(theirs)[0])
        assert out.dtype(ours) == "BF16"
        assert np.array_equal(source.raw_rows(theirs, rows), out.raw_rows(ours, rows))


def test_a_split_model_is_whole_again(llama: Path, converted: Path, tmp_path: Path) -> None:
    first = done(Job(llama, tmp_path / "m.gguf", split_bytes=400_000))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert first.name == f"m-00001-of-{len(names):05d}.gguf"
    assert len(names) > 2
    headers = [read_header(tmp_path / name) for name in names]
    assert [header.metadata["split.no"] for header in headers] == list(range(len(names)))
    assert {header.metadata["split.count"] for header in headers} == {len(names)}
    whole, split = GgufSource(converted), GgufSource(first)
    assert whole.names() == split.names()
    for name in whole.names():
        rows = span(0, whole.shape(name)[0])
        assert np.array_equal(whole.raw_rows(name, rows), split.raw_rows(name, rows))
    import llama_cpp

    model = llama_cpp.llama_model_load_from_file(os.fsencode(first), llama_cpp.llama_model_default_params())
    assert model
    llama_cpp.llama_model_free(model)


def test_a_killed_conversion_goes_on(llama: Path, converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    code = f"""
    import os, signal
    from pathlib import Path
    from rolekit.convert.conversion import convert
    from rolekit.convert.job import Job
    def stop(name, done, total):
        if done > total / 2:
            os.kill(os.getpid(), signal.SIGKILL)
    convert(Job(Path({str(llama)!r}), Path({str(out)!r})), progress=stop)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    produced = convert(Job(llama, out))
    assert 0 < produced.resumed_tensors < len(produced.rows)
    publish(produced.parts, produced.targets)
    assert out.read_bytes() == converted.read_bytes()


def test_an_interruption_leaves_no_output_and_can_be_resumed(llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"

    def stop(name: str, done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(Job(llama, out), progress=stop)
    assert not out.exists()
    assert convert(Job(llama, out)).resumed_tensors > 0
    assert (
        convert(replace(Job(llama, out), type_name="Q8_0")).resumed_tensors == 0
    )  # another result, another start


def test_progress_reaches_the_end(llama: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    convert(Job(llama, tmp_path / "m.gguf"), progress=lambda *event: seen.append(event))
    assert seen[-1][1] == seen[-1][2] > 0
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_gguf_base_is_passed_or_quantized_anew(llama: Path, converted: Path, tmp_path: Path) -> None:
    full = done(Job(llama, tmp_path / "f32.gguf", type_name="F32"))
    again = done(Job(full, tmp_path / "again.gguf", type_name="Q4_K_M"))
    first, second = GgufSource(converted), GgufSource(again)
    assert sorted(first.names()) == sorted(second.names())
    for name in first.names():
        rows = span(0, first.shape(name)[0])
        assert np.array_equal(first.raw_rows(name, rows), second.raw_rows(name, rows)), name
    assert dict(read_header(again).metadata) == dict(read_header(converted).metadata)
    produced = convert(Job(converted, tmp_path / "copy.gguf", type_name="Q4_K_M"))
    assert not [warning for warning in produced.warnings if "second time" in warning]
    copy = GgufSource(produced.parts[0])
    for name in first.names():
        rows = span(0, first.shape(name)[0])
        assert np.array_equal(first.raw_rows(name, rows), copy.raw_rows(name, rows)), name
    produced = convert(Job(converted, tmp_path / "worse.gguf", type_name="Q3_K_M"))
    assert "second time" in produced.warnings[0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft, about embeddings
def test_an_adapter_finds_its_tensors_in_a_gguf_too(
    llama: Path, make_adapter: MakeModel, tmp_path: Path
) -> None:
    adapter = make_adapter(
        llama, tmp_path / "adapter", target_modules=["q_proj", "k_proj", "down_proj", "lm_head"]
    )
    full = done(Job(llama, tmp_path / "f32.gguf", type_name="F32"))
    of_folder = GgufSource(done(Job(llama, tmp_path / "a.gguf", adapter=adapter, type_name="F32")))
    of_gguf = GgufSource(done(Job(full, tmp_path / "b.gguf", adapter=adapter, type_name="F32")))
    plain = GgufSource(full)
    for name in of_folder.names():
        rows = span(0, of_folder.shape(name)[0])
        assert np.array_equal(of_folder.raw_rows(name, rows), of_gguf.raw_rows(name, rows)), name
        same = np.array_equal(of_folder.raw_rows(name, rows), plain.raw_rows(name, rows))
        touched = name == "output.weight" or any(part in name for part in ("attn_q", "attn_k", "ffn_down"))
        assert same is not touched, name


def test_the_tokenizer_that_was_saved_beside_an_adapter_counts(
    llama: Path, make_adapter: MakeModel, bpe_files: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(llama, tmp_path / "adapter", target_modules=["q_proj"])
    data = json.loads((bpe_files / "tokenizer.json").read_text("utf-8"))
    data["added_tokens"][1]["content"] = "<|begin|>"
    data["model"]["vocab"]["<|begin|>"] = data["model"]["vocab"].pop("<|im_start|>")
    (adapter / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    keys = read_header(done(Job(llama, tmp_path / "m.gguf", adapter=adapter))).metadata
    tokens = keys["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert tokens[1] == "<|begin|>"
    assert "im_start" in str(keys["tokenizer.chat_template"])  # the base's template: the adapter has none


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft, about embeddings
def test_a_tied_output_that_an_adapter_changes_becomes_its_own(
    make_llama: MakeModel, make_adapter: MakeModel, tmp_path: Path
) -> None:
    tied = make_llama(tmp_path / "tied", tie_word_embeddings=True)
    adapter = make_adapter(tied, tmp_path / "adapter", target_modules=["lm_head"])
    full = done(Job(tied, tmp_path / "f32.gguf", type_name="F32"))
    for number, base in enumerate((tied, full)):
        out = GgufSource(done(Job(base, tmp_path / f"{number}.gguf", adapter=adapter, type_name="F32")))
        rows = span(0, 768)
        assert "output.weight" in out.names()
        assert not np.array_equal(out.rows("output.weight", rows), out.rows("token_embd.weight", rows))
        assert np.array_equal(
            out.rows("token_embd.weight", rows), GgufSource(full).rows("token_embd.weight", rows)
        )


@pytest.mark.model
def test_the_starter_is_passed_on_byte_by_byte(starter_path: Path, tmp_path: Path) -> None:
    before = GgufSource(starter_path)
    produced = convert(Job(starter_path, tmp_path / "m.gguf", type_name="Q8_0"))
    after = read_header(produced.parts[0]).metadata
    ignored = {"general.file_type", "general.quantization_version"}
    assert {k: v for k, v in before.header.metadata.items() if k not in ignored} == {
        k: v for k, v in after.items() if k not in ignored
    }


def test_gguf_tensors_have_the_rows_of_hugging_face(llama: Path, tmp_path: Path) -> None:
    full = done(Job(llama, tmp_path / "f32.gguf", type_name="F32"))
    ours, theirs = open_base(full).source, open_base(llama).source
    assert sorted(ours.names()) == sorted(theirs.names())
    for name in theirs.names():
        rows = span(0, theirs.shape(name)[0])[::-1]
        assert np.array_equal(ours.rows(name, rows), theirs.rows(name, rows)), name


def changed(folder: Path, source: Path, **config: Any) -> Path:
    """A copy of a model folder with a changed config.json."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    values = json.loads((folder / "config.json").read_text("utf-8")) | config
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"architectures": ["BloomForCausalLM"]}, "BloomForCausalLM cannot be converted here"),
        ({"architectures": None}, "A model without an architecture"),
        ({"num_hidden_layers": 3}, r"lacks the tensor model\.layers\.2"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\..* is not part of a LlamaForCausalLM"),
        ({"vocab_size": 770}, r"has the shape \[768, 256\] where config.json asks for \[770, 256\]"),
        ({"hidden_size": None}, "config.json lacks hidden_size"),
        ({"num_attention_heads": 0}, "not a positive whole number"),
        ({"num_key_value_heads": 3}, "do not fit"),
        ({"rms_norm_eps": "small"}, "not a number"),
        ({"hidden_act": "gelu"}, "always uses silu"),
        ({"rope_parameters": {"rope_type": "odd", "rope_theta": 1e4}}, "no rotary scaling of the type odd"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"are quantized \(gptq\)"),
    ],
)
def test_a_wrong_config_is_one_sentence(
    config: dict[str, Any], sentence: str, llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(RolekitError, match=sentence):
        convert(Job(changed(tmp_path / "m", llama, **config), tmp_path / "m.gguf"))
    assert not (tmp_path / "m.gguf").exists()


def test_a_missing_output_matrix_is_missed_unless_it_is_tied(make_llama: MakeModel, tmp_path: Path) -> None:
    tied = make_llama(tmp_path / "tied", tie_word_embeddings=True)
    names = GgufSource(done(Job(tied, tmp_path / "m.gguf"))).names()
    assert "output.weight" not in names
    with pytest.raises(RolekitError, match=r"lacks the tensor lm_head\.weight"):
        convert(Job(changed(tmp_path / "x", tied, tie_word_embeddings=False), tmp_path / "x.gguf"))


@pytest.mark.parametrize("type_name", ["Q4_K_M", "BF16", "F32"])
def test_nan_weights_are_named(type_name: str, make_llama: MakeModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_llama(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(RolekitError, match=r"blk\.1\.ffn_up\.weight has a weight that is no finite number"):
        convert(Job(folder, tmp_path / "m.gguf", type_name=type_name))
    assert not (tmp_path / "m.gguf").exists()


def test_ggml_reads_back_every_type_as_gguf_does(converted: Path) -> None:
    gguf = pytest.importorskip("gguf")
    rows = np.random.default_rng(0).normal(size=(4, 256)).astype(np.float32)
    from rolekit.convert.quantize import WRITABLE, GgmlQuantizer

    for name in WRITABLE:
        if name in ("IQ2_XXS", "IQ2_XS"):
            continue  # not without an importance matrix
        data = GgmlQuantizer().quantize("t", name, rows)
        theirs = gguf.dequantize(data, gguf.GGMLQuantizationType[name]).reshape(rows.shape)
        assert np.array_equal(to_float32(data, name, 256), theirs), name
