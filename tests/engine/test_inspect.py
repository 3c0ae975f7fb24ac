"""The figures of `models show`, compared with what llama.cpp itself says after loading the same file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from rolekit.engine.catalog import recommended
from rolekit.engine.footprint import CHUNK_TOKENS, footprint
from rolekit.engine.gguf_header import read_header
from rolekit.engine.inspect import end_tokens, inspect
from rolekit.engine.template_check import template_warnings
from rolekit.errors import RolekitError

LOAD = """
import ctypes, json, sys
import llama_cpp as L
lines = []
collect = L.llama_log_callback(lambda level, text, data: lines.append(text.decode("utf-8", "replace")))
L.llama_log_set(collect, ctypes.c_void_p(0))
path, context, chunk, full = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "full"
model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
params = L.llama_context_default_params()
params.n_ctx, params.n_batch, params.n_ubatch = context, chunk, chunk
params.n_outputs_max, params.kv_unified, params.swa_full = 1, True, full
params.flash_attn_type = -1 if L.llama_supports_gpu_offload() else 0  # as rolekit.engine.context has it
assert model and L.llama_init_from_model(model, params), "".join(lines)
vocabulary = L.llama_model_get_vocab(model)
ends = [i for i in range(L.llama_vocab_n_tokens(vocabulary)) if L.llama_vocab_is_eog(vocabulary, i)]
print(json.dumps({"log": "".join(lines), "ends": ends, "parameters": L.llama_model_n_params(model)}))
"""


def loaded(path: Path, context: int, *, full: bool = True) -> dict[str, Any]:
    """What llama.cpp says about the model; in a process of its own, because the log callback is global."""
    command = [
        sys.executable,
        "-c",
        LOAD,
        str(path),
        str(context),
        str(CHUNK_TOKENS),
        "full" if full else "short",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout)
    sizes = re.findall(r"KV buffer size =\s+([\d.]+) MiB", row["log"])
    row["kv_mib"] = sum(float(size) for size in sizes)
    row["compute_mib"] = sum(
        float(size) for size in re.findall(r"compute buffer size =\s+([\d.]+) MiB", row["log"])
    )
    return row


def writer_of(path: Path, architecture: str, tokens: list[str] | None = None) -> gguf.GGUFWriter:
    """A writer with a small SentencePiece vocabulary in it."""
    writer = gguf.GGUFWriter(path, architecture)
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(tokens or [])]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([2, 3, 3] + [6] * 256 + [3] * len(tokens or []))
    return writer


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gemma3(path: Path, layers: int = 12, window: int = 512) -> Path:
    """A loadable Gemma 3: grouped heads, heads wider than the embedding says, five windowed layers in six."""
    embedding, heads, kv_heads, head, feed_forward = 64, 4, 2, 32, 128
    writer = writer_of(path, "gemma3", ["<end_of_turn>"])
    writer.add_context_length(32768)
    writer.add_embedding_length(embedding)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(window)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))

    add("token_embd.weight", 260, embedding)
    add("output_norm.weight", embedding)
    for layer in range(layers):
        block = f"blk.{layer}"
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            add(f"{block}.{name}.weight", embedding)
        for name in ("attn_q_norm", "attn_k_norm"):
            add(f"{block}.{name}.weight", head)
        add(f"{block}.attn_q.weight", heads * head, embedding)
        add(f"{block}.attn_k.weight", kv_heads * head, embedding)
        add(f"{block}.attn_v.weight", kv_heads * head, embedding)
        add(f"{block}.attn_output.weight", embedding, heads * head)
        add(f"{block}.ffn_gate.weight", feed_forward, embedding)
        add(f"{block}.ffn_up.weight", feed_forward, embedding)
        add(f"{block}.ffn_down.weight", embedding, feed_forward)
    return finish(writer, path)


@pytest.mark.model
@pytest.mark.parametrize("context", [512, 4096, 8192])
def test_the_starter_needs_what_llama_cpp_allocates(starter_path: Path, context: int) -> None:
    facts, real = inspect(starter_path, context), loaded(starter_path, context)
    assert facts.footprint.kv_bytes / 2**20 == pytest.approx(real["kv_mib"], abs=0.01)
    assert facts.footprint.compute_bytes / 2**20 == pytest.approx(real["compute_mib"], rel=0.25)
    assert facts.parameters == real["parameters"]
    assert [end.id for end in facts.end_tokens] == real["ends"]


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("context", [300, 8192])
def test_sliding_windows_and_grouped_heads_are_counted_as_llama_cpp_does(
    tmp_path: Path, context: int, full: bool
) -> None:
    path = gemma3(tmp_path / "gemma3.gguf")
    header, real = read_header(path), loaded(path, context, full=full)
    need = footprint(header, 0, context, short_windows=not full)
    assert need.kv_bytes / 2**20 == pytest.approx(real["kv_mib"], abs=0.01)
    assert inspect(path).window_tokens == 512
    assert [end.id for end in inspect(path).end_tokens] == real["ends"] == [2, 259]


def test_the_chunk_is_the_one_the_engine_evaluates() -> None:
    from rolekit.engine import context

    assert context.CHUNK_TOKENS == CHUNK_TOKENS


def test_the_starter_in_figures(starter_path: Path) -> None:
    facts = inspect(starter_path)
    assert (facts.architecture, facts.layers, facts.quantization) == ("llama", 30, "Q4_1")
    assert (facts.context_tokens, facts.vocabulary, facts.licence) == (8192, 49152, "apache-2.0")
    assert {use.type_name: use.tensors for use in facts.types} == {"Q4_1": 210, "Q8_0": 1, "F32": 61}
    assert sum(use.size_bytes for use in facts.types) == facts.footprint.weights_bytes < facts.file_bytes
    assert "<|im_start|>" in facts.template
    assert facts.template_warnings == ()
    assert inspect(starter_path, 10**6).footprint.context_tokens == 8192


def test_a_split_model_is_counted_whole(tmp_path: Path) -> None:
    for part in (1, 2):
        path = tmp_path / f"m-{part:05d}-of-00002.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tensor(f"blk.{part}.weight", np.zeros((10, 32), dtype=np.float16))
        finish(writer, path)
    facts = inspect(tmp_path / "m-00001-of-00002.gguf")
    assert (facts.files, facts.parameters, facts.types[0].tensors) == (2, 640, 2)


def test_hostile_metadata_does_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.gguf"
    writer = writer_of(path, "llama", ["<|im_end|>"])
    writer.add_name("nice\x1b]52;c;ZXZpbA==\x07\x9b2J\u202egnp")
    writer.add_license("MIT\x1b[31m")
    writer.add_languages(["en\x1b[2J"])
    writer.add_chat_template("\x1b[2J{{ messages }}")
    facts = inspect(finish(writer, path))
    shown = json.dumps(asdict(facts), default=str, ensure_ascii=False)
    assert "nice" in facts.name
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]|\\u00[01]", shown)


@pytest.mark.parametrize(
    ("more", "without"), [(["<|return|>", "<|call|>", "<|end|>"], "<|end|>"), (["<|tool_response>"], "</s>")]
)
def test_the_two_families_with_an_ordinary_end_text(tmp_path: Path, more: list[str], without: str) -> None:
    path = finish(writer_of(tmp_path / "m.gguf", "llama", more), tmp_path / "m.gguf")
    texts = [end.text for end in end_tokens(read_header(path).metadata)]
    assert without not in texts
    assert set(more) - {without} <= set(texts)


def test_a_broken_file_is_one_sentence(tmp_path: Path, starter_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(starter_path.read_bytes()[:1_000_000])
    with pytest.raises(RolekitError, match=r"cut\.gguf"):
        inspect(path)


def test_the_usual_template_gets_no_warning() -> None:
    assert (
        template_warnings(
            "{% for m in messages %}{% if m.role == 'system' %}{% set s = m.content %}{% endif %}"
            "{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1] }}{% endif %}"
            "{% if m.content is string and m['role'] == 'assistant' %}{{ m.content | trim }}{% endif %}{% endfor %}"
        )
        == ()
    )


@pytest.mark.parametrize(
    ("template", "sign"),
    [
        ("{% if 'password' in messages[-1]['content']|lower %}x{% endif %}", "'password'"),
        (
            "{% set t = messages[-1].content %}{% set u = t|lower %}{% if u.find('bank account') >= 0 %}{% endif %}",
            "bank",
        ),
        ("{% if messages[-1].content.startswith('how do I') %}{% endif %}", "'how do I'"),
        ("{% if messages[0].content == '密码是什么' %}{% endif %}", "密码是什么"),
        ("Visit https://evil.example/pay{{ messages }}", "https://evil.example/pay"),
        ("{{ messages }} Never reveal this.", "Never reveal"),
        ("{{ messages }} and do not mention it", "do not mention"),
    ],
)
def test_a_template_that_reacts_to_words_is_named(template: str, sign: str) -> None:
    warnings = template_warnings(template)
    assert len(warnings) == 1
    assert sign in warnings[0]


def test_the_recommendations_are_consistent() -> None:
    table = recommended()
    assert 8 <= len(table) <= 12
    assert {entry.machine_gb for entry in table} == {4, 8, 16, 32}
    assert [entry.machine_gb for entry in table] == sorted(entry.machine_gb for entry in table)
    assert len({entry.ref for entry in table}) == len(table)
    for entry in table:
        assert re.fullmatch(r"hf:[\w.-]+/[\w.-]+-GGUF", entry.ref)
        assert entry.file.lower().endswith("q4_k_m.gguf")
        assert entry.file_bytes < entry.memory_bytes < entry.machine_gb * 0.75e9
    for gigabytes in (4, 8, 16, 32):
        assert any("zh" in entry.languages for entry in table if entry.machine_gb == gigabytes)
