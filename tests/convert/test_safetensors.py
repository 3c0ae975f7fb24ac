"""Safetensors folders: rows are read as they are, and damage is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from rolekit.convert.safetensors_files import open_safetensors
from rolekit.convert.source import span
from rolekit.errors import RolekitError

INDEX = "model.safetensors.index.json"


@pytest.fixture
def numbers() -> Any:
    return np.random.default_rng(1).normal(size=(10, 6)).astype(np.float32)


def sharded(folder: Path, numbers: Any) -> Path:
    """A model of two files with an index."""
    names = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    save_file({"a": numbers}, folder / names[0])
    save_file({"b": numbers.astype(np.float16), "c": numbers[0]}, folder / names[1])
    weights = {"a": names[0], "b": names[1], "c": names[1]}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}), encoding="utf-8")
    return folder


def test_rows_come_in_the_order_they_are_asked_for(tmp_path: Path, numbers: Any) -> None:
    source = open_safetensors(sharded(tmp_path, numbers))
    assert sorted(source.names()) == ["a", "b", "c"]
    assert (source.shape("a"), source.dtype("b")) == ((10, 6), "F16")
    order = np.array([7, 2, 2, 9])
    assert np.array_equal(source.rows("a", order), numbers[order])
    assert np.array_equal(source.rows("b", span(3, 5)), numbers[3:5].astype(np.float16).astype(np.float32))
    assert np.array_equal(source.rows("c", np.array([5, 0])), numbers[0][[5, 0]])
    assert source.raw_rows("b", order).tobytes() == numbers.astype(np.float16)[order].tobytes()
    source.close()


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    weights = torch.randn(5, 4).bfloat16()
    save_torch({"a": weights}, tmp_path / "model.safetensors")
    source = open_safetensors(tmp_path)
    assert source.dtype("a") == "BF16"
    assert np.array_equal(source.rows("a", span(0, 5)), weights.float().numpy())


def test_shards_without_an_index(tmp_path: Path, numbers: Any) -> None:
    (sharded(tmp_path, numbers) / INDEX).unlink()
    assert sorted(open_safetensors(tmp_path).names()) == ["a", "b", "c"]
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(RolekitError, match="has 1 of 2 weight files"):
        open_safetensors(tmp_path)


def test_a_missing_shard(tmp_path: Path, numbers: Any) -> None:
    (sharded(tmp_path, numbers) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(RolekitError, match="1 of 2 weight files is missing"):
        open_safetensors(tmp_path)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "..", "a/b", "c:\\x", ""])
def test_an_index_that_leads_out_of_the_folder(name: str, tmp_path: Path, numbers: Any) -> None:
    sharded(tmp_path, numbers)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    with pytest.raises(RolekitError, match="not a file of this folder"):
        open_safetensors(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weight_map": []}', '{"weight_map": {"a": 3}}', "{}"])
def test_an_unreadable_index(text: str, tmp_path: Path, numbers: Any) -> None:
    (sharded(tmp_path, numbers) / INDEX).write_text(text, encoding="utf-8")
    with pytest.raises(RolekitError, match=r"model\.safetensors\.index\.json is damaged"):
        open_safetensors(tmp_path)


def test_an_index_that_promises_too_much(tmp_path: Path, numbers: Any) -> None:
    folder = sharded(tmp_path, numbers)
    index = json.loads((folder / INDEX).read_text("utf-8"))
    index["weight_map"]["d"] = index["weight_map"]["a"]
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(RolekitError, match="lacks the tensor d"):
        open_safetensors(folder)


def with_header(folder: Path, table: Any, data: bytes = b"") -> Path:
    """A folder whose one file has that header."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (b"{ x", "no JSON text"),
        (b"[1]", "no table of tensors"),
        ({"a": 3}, "the tensor a is unreadable"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}, "unreadable"),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, "impossible"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, "impossible"),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, "not the size of its shape"),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, "cut off: the tensor a"),
        (
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
            },
            "overlaps",
        ),
    ],
)
def test_a_damaged_header(table: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match=sentence):
        open_safetensors(with_header(tmp_path, table, b"\0" * 8))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "cut off"),
        (b"\xff" * 20, "does not begin with a safetensors header"),
        ((100).to_bytes(8, "little") + b"{}", "cut off in its header"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_no_safetensors_file(data: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(RolekitError, match=sentence):
        open_safetensors(tmp_path)


def test_other_formats(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match=r"has no model\.safetensors"):
        open_safetensors(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(RolekitError, match="can run code"):
        open_safetensors(tmp_path)


def test_a_quantized_tensor_is_refused_when_it_is_read(tmp_path: Path) -> None:
    save_file({"a": np.arange(4, dtype=np.int8)}, tmp_path / "model.safetensors")
    source = open_safetensors(tmp_path)
    with pytest.raises(RolekitError, match="stored as I8"):
        source.rows("a", span(0, 4))
