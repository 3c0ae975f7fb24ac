"""The mixes choose what llama_model_quantize chooses, and the quantizer writes the bytes it writes."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from rolekit.convert.conversion import convert
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.job import Job
from rolekit.convert.metadata import MetaValue, encode_header
from rolekit.convert.mixes import FILE_TYPES, Mix, Override, fallback, file_type
from rolekit.convert.plan import ModelPlan, OutputTensor, Part
from rolekit.convert.quantize import WRITABLE, GgmlQuantizer
from rolekit.convert.source import Float32, span
from rolekit.convert.tensor_types import TYPE_IDS, block_size
from rolekit.engine import log
from rolekit.errors import RolekitError

NEEDS_IMATRIX = {"IQ3_XS", "Q2_K_S"}
WITHOUT = [name for name in FILE_TYPES if name not in NEEDS_IMATRIX]
SEPARATE = ("attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up")
FUSED = ("attn_output", "attn_qkv", "ffn_down", "ffn_up")
ROWS = 8


@dataclass(frozen=True)
class Shape:
    """A model for the mixes: only its names, row lengths and hyperparameters matter."""

    name: str
    arch: str
    layers: int
    columns: int
    grouping: int
    tied: bool
    parts: tuple[str, ...] = SEPARATE
    wide: int = 0
    """Row length of ffn_down."""

    def tensors(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {"token_embd.weight": (ROWS, self.columns)}
        for layer in range(self.layers):
            for part in self.parts:
                columns = self.wide or self.columns if part == "ffn_down" else self.columns
                found[f"blk.{layer}.{part}.weight"] = (ROWS, columns)
            found[f"blk.{layer}.attn_norm.weight"] = (self.columns,)
            found[f"blk.{layer}.ffn_norm.weight"] = (self.columns,)
        found["output_norm.weight"] = (self.columns,)
        if not self.tied:
            found["output.weight"] = (ROWS, self.columns)
        return found

    def metadata(self) -> dict[str, MetaValue]:
        arch, heads = self.arch, 8
        return {
            "general.architecture": arch,
            f"{arch}.block_count": self.layers,
            f"{arch}.context_length": 64,
            f"{arch}.embedding_length": self.columns,
            f"{arch}.feed_forward_length": self.wide or self.columns,
            f"{arch}.attention.head_count": heads,
            f"{arch}.attention.head_count_kv": heads // self.grouping,
            f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
            f"{arch}.rope.dimension_count": self.columns // heads,
            f"{arch}.vocab_size": ROWS,
            f"{arch}.attention.sliding_window": 32,
        }


SHAPES = [
    Shape("llama of 256", "llama", 9, 256, 1, tied=False),
    Shape("llama with grouped heads, tied", "llama", 17, 256, 4, tied=True, wide=512),
    Shape("rows of 96", "llama", 9, 96, 1, tied=False, wide=256),
    Shape("qwen2, rows of 288, tied", "qwen2", 8, 288, 4, tied=True),
    Shape("phi3, fused", "phi3", 8, 256, 1, tied=False, parts=FUSED),
    Shape("gemma2", "gemma2", 10, 256, 2, tied=True),
    Shape("chatglm, fused", "chatglm", 9, 256, 4, tied=False, parts=FUSED),
    Shape("rows of 40", "llama", 4, 40, 2, tied=False),
    Shape("70B", "llama", 80, 256, 8, tied=False),
]


def made(shape: Shape, folder: Path) -> Path:
    """The model as an F32 GGUF file without a tokenizer: llama_model_quantize asks for none."""
    random = np.random.default_rng(len(shape.name))
    path = folder / "f32.gguf"
    tensors, offset, data = [], 0, []
    for name, size in shape.tensors().items():
        values = random.normal(0, 0.02, size).astype(np.float32)
        data.append(values.tobytes() + b"\0" * (-values.nbytes % 32))
        tensors.append((name, size, "F32", offset))
        offset += len(data[-1])
    path.write_bytes(encode_header({**shape.metadata(), "general.file_type": 0}, tensors) + b"".join(data))
    return path


def quantized(
    source: Path,
    target: Path,
    name: str,
    imatrix: dict[str, Float32] | None = None,
    patterns: dict[str, str] | None = None,
) -> GgufSource:
    """The file that llama_model_quantize makes of source."""
    log.quiet()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[name][0]
    params.nthread = 1
    params.allow_requantize = True
    kept = []
    if imatrix:
        entries = (llama_cpp.llama_model_imatrix_data * (len(imatrix) + 1))()
        for entry, (tensor, values) in zip(entries, imatrix.items(), strict=False):
            entry.name = tensor.encode()
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = values.size
        params.imatrix = ctypes.cast(entries, type(params.imatrix))
        kept.append(entries)
    if patterns:
        overrides = (llama_cpp.llama_model_tensor_override * (len(patterns) + 1))()
        for override, (pattern, kind) in zip(overrides, patterns.items(), strict=False):
            override.pattern, override.type = pattern.encode(), TYPE_IDS[kind]
        params.tt_overrides = ctypes.cast(overrides, type(params.tt_overrides))
        kept.append(overrides)
    assert (
        llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) == 0
    )
    return GgufSource(target)


def plan_of(source: GgufSource, shape: Shape) -> ModelPlan:
    tensors = tuple(
        OutputTensor(
            name,
            source.shape(name),
            (Part(name, 0, source.shape(name)[0]),),
            keep_type="F32" if len(source.shape(name)) == 1 else "",
        )
        for name in source.names()
    )
    return ModelPlan(shape.arch, shape.metadata(), tensors)


def importance(source: GgufSource) -> dict[str, Float32]:
    random = np.random.default_rng(3)
    return {
        name: random.uniform(0.1, 2.0, source.shape(name)[1]).astype(np.float32)
        for name in source.names()
        if name.startswith("blk.") and len(source.shape(name)) == 2
    }


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_types_and_bytes_equal_llama_cpps(shape: Shape, tmp_path: Path) -> None:
    path = made(shape, tmp_path)
    source = GgufSource(path)
    plan = plan_of(source, shape)
    quantizer = GgmlQuantizer()
    names = WITHOUT if shape.layers < 80 else ["Q2_K", "Q3_K_M", "Q4_K_M"]
    written: dict[tuple[str, str], bytes] = {}
    for name in names:
        theirs = quantized(path, tmp_path / "theirs.gguf", name)
        ours = Mix(name).choose(plan)
        assert ours == {tensor: theirs.dtype(tensor) for tensor in theirs.names()}, name
        for tensor, kind in ours.items():
            if (tensor, kind) in written or (tensor.startswith("blk.") and "blk.0." not in tensor):
                continue
            rows = source.rows(tensor, span(0, source.shape(tensor)[0]))
            written[tensor, kind] = quantizer.quantize(tensor, kind, rows).tobytes()
            index = span(0, theirs.shape(tensor)[0])
            assert theirs.raw_rows(tensor, index).tobytes() == written[tensor, kind], (name, tensor)
        theirs.close()
    source.close()


@pytest.mark.parametrize("shape", SHAPES[:4], ids=lambda shape: shape.name)
def test_with_an_importance_matrix_types_and_bytes_are_equal_too(shape: Shape, tmp_path: Path) -> None:
    path = made(shape, tmp_path)
    source = GgufSource(path)
    weights = importance(source)
    quantizer = GgmlQuantizer(weights)
    for name in FILE_TYPES:
        theirs = quantized(path, tmp_path / "theirs.gguf", name, weights)
        ours = Mix(name, has_imatrix=True).choose(plan_of(source, shape))
        assert ours == {tensor: theirs.dtype(tensor) for tensor in theirs.names()}, name
        for tensor in ("blk.0.ffn_down.weight", "blk.1.attn_v.weight", "token_embd.weight"):
            rows = source.rows(tensor, span(0, ROWS))
            expected = theirs.raw_rows(tensor, span(0, ROWS)).tobytes()
            assert quantizer.quantize(tensor, ours[tensor], rows).tobytes() == expected, (name, tensor)
        theirs.close()
    source.close()


@pytest.mark.model
def test_the_starter_comes_out_as_llama_cpp_makes_it(starter_path: Path, tmp_path: Path) -> None:
    produced = convert(Job(starter_path, tmp_path / "ours.gguf", type_name="Q4_K_M"))
    ours = GgufSource(produced.parts[0])
    theirs = quantized(starter_path, tmp_path / "theirs.gguf", "Q4_K_M")
    assert {tensor: ours.dtype(tensor) for tensor in ours.names()} == {
        tensor: theirs.dtype(tensor) for tensor in theirs.names()
    }
    for tensor in theirs.names():
        index = span(0, theirs.shape(tensor)[0])
        assert np.array_equal(ours.raw_rows(tensor, index), theirs.raw_rows(tensor, index)), tensor
    ours.close()
    theirs.close()


def test_overrides_win_and_fall_back_like_llama_cpps(tmp_path: Path) -> None:
    shape = SHAPES[2]
    path = made(shape, tmp_path)
    source = GgufSource(path)
    patterns = {r"attn_v": "Q6_K", r"blk\.[0-2]\.ffn_down": "Q8_0", r"ffn_up": "F16"}
    theirs = quantized(path, tmp_path / "theirs.gguf", "Q4_K_M", patterns=patterns)
    overrides = [
        Override(kind, lambda name, pattern=pattern: bool(re.search(pattern, name)))  # type: ignore[misc]
        for pattern, kind in patterns.items()
    ]
    choices = Mix("Q4_K_M", overrides=overrides).choices(plan_of(source, shape))
    assert {name: choice.type_name for name, choice in choices.items()} == {
        name: theirs.dtype(name) for name in theirs.names()
    }
    assert choices["blk.3.attn_v.weight"].wanted == "Q6_K"
    assert choices["blk.3.attn_v.weight"].type_name == "Q8_0"  # 96 columns
    theirs.close()
    source.close()


@pytest.mark.parametrize("name", sorted(NEEDS_IMATRIX))
def test_what_needs_an_importance_matrix_says_so(name: str, tmp_path: Path) -> None:
    shape = SHAPES[0]
    source = GgufSource(made(shape, tmp_path))
    with pytest.raises(RolekitError, match="importance matrix"):
        Mix(name).choose(plan_of(source, shape))
    source.close()


def test_names_of_file_types() -> None:
    assert file_type(" q4_k ") == "Q4_K_M"
    assert file_type("iq4_xs") == "IQ4_XS"
    with pytest.raises(RolekitError, match="no quantization type 'Q9'"):
        file_type("Q9")
    assert fallback("Q4_K", 896) == "Q5_0"
    assert fallback("IQ4_XS", 40) == "F16"


@pytest.mark.parametrize("kind", WRITABLE)
def test_rows_may_be_cut_anywhere(kind: str) -> None:
    rows = np.random.default_rng(1).normal(0, 1, (7, 512)).astype(np.float32)
    quantizer = GgmlQuantizer({"x": np.linspace(0.5, 2, 512, dtype=np.float32)})
    whole = quantizer.quantize("x", kind, rows)
    pieces = [quantizer.quantize("x", kind, rows[:3]), quantizer.quantize("x", kind, rows[3:])]
    assert np.array_equal(whole, np.concatenate(pieces))
    assert whole.shape == (7, whole.size // 7)
    assert block_size(kind) in (1, 32, 256)


def test_what_cannot_be_quantized_is_one_sentence() -> None:
    quantizer = GgmlQuantizer({"short": np.ones(3, np.float32)})
    rows = np.ones((4, 256), np.float32)
    with pytest.raises(RolekitError, match="short, which has 256"):
        quantizer.quantize("short", "Q4_K", rows)
    rows[2, 7] = np.nan
    for kind in WRITABLE[:14]:
        with pytest.raises(RolekitError, match="no finite number"):
            quantizer.quantize("w", kind, rows)
    rows[2, 7] = 1e9
    with pytest.raises(RolekitError, match="too large for F16"):
        quantizer.quantize("w", "F16", rows)
    assert quantizer.quantize("w", "BF16", rows).shape == (4, 512)
