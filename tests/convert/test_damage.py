"""Damaged and hostile inputs: one sentence each, and no file that looks finished."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.errors import RolekitError

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, make_llama) -> Path:
    folder = make_llama(tmp_path_factory.mktemp("damage") / "base", max_shard_size="1MB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


@pytest.fixture
def base(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "base"))


def complaint(base: Path, adapter: Path | None = None) -> str:
    """What a conversion of base says; it leaves nothing under the name it was to have."""
    out = base.parent / "out.gguf"
    with pytest.raises(RolekitError) as caught:
        convert(Job(base=base, adapter=adapter, out=out, type_name="Q8_0"))
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shard_with(base: Path, tensor: str) -> Path:
    return base / json.loads((base / INDEX).read_text())["weight_map"][tensor]


def edited(base: Path, tensor: str, change: Callable[[Any], Any]) -> None:
    """Write the shard that holds tensor again, tensor changed."""
    from safetensors.torch import load_file, save_file

    path = shard_with(base, tensor)
    tensors = load_file(path)
    tensors[tensor] = change(tensors[tensor]).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_missing_shard(base: Path) -> None:
    path = shard_with(base, "model.layers.1.mlp.down_proj.weight")
    path.unlink()
    assert path.name in complaint(base)


def test_a_truncated_shard(base: Path) -> None:
    path = shard_with(base, "model.layers.1.mlp.down_proj.weight")
    path.write_bytes(path.read_bytes()[:-1000])
    assert path.name in complaint(base)


@pytest.mark.parametrize("length", [0, 5, 8])
def test_a_shard_without_a_header(base: Path, length: int) -> None:
    path = shard_with(base, "lm_head.weight")
    path.write_bytes(path.read_bytes()[:length])
    assert path.name in complaint(base)


def test_a_header_that_claims_everything(base: Path) -> None:
    path = shard_with(base, "lm_head.weight")
    data = bytearray(path.read_bytes())
    data[:8] = struct.pack("<Q", 1 << 62)
    path.write_bytes(data)
    assert path.name in complaint(base)


def test_tensors_that_overlap_or_lie_outside(base: Path) -> None:
    path = shard_with(base, "lm_head.weight")
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["lm_head.weight"]["data_offsets"] = [0, 1 << 40]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    assert path.name in complaint(base)


def test_a_wrong_shape(base: Path) -> None:
    edited(base, "model.layers.0.mlp.up_proj.weight", lambda tensor: tensor[:, :-32])
    assert "up_proj" in complaint(base)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(base: Path, value: float) -> None:
    def spoil(tensor: Any) -> Any:
        tensor[3, 5] = value
        return tensor

    edited(base, "model.layers.1.self_attn.o_proj.weight", spoil)
    found = complaint(base)
    assert "blk.1.attn_output.weight" in found
    assert str(value) in found


def test_a_missing_tensor(base: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = shard_with(base, "model.layers.1.self_attn.v_proj.weight")
    tensors = load_file(path)
    del tensors["model.layers.1.self_attn.v_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    assert "v_proj" in complaint(base)


def test_more_tokens_than_the_embedding_has_rows(base: Path) -> None:
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        edited(base, name, lambda tensor: tensor[:700])
    assert "700" in complaint(base)


def test_fewer_tokens_than_the_embedding_has_rows_are_filled_up(base: Path) -> None:
    """Many models round their embedding up; the rows that no token names get names that no text contains."""
    import torch

    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        edited(base, name, lambda tensor: torch.cat([tensor, tensor[:32]]))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "vocab_size": 800}))
    produced = convert(Job(base=base, out=base.parent / "out.gguf", type_name="Q8_0"))
    assert next(row.shape for row in produced.rows if row.name == "token_embd.weight") == (256, 800)


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "sub/../../x.safetensors", "", "a\0b", "."]
)
def test_an_index_that_leads_out_of_the_folder(base: Path, name: str) -> None:
    index = json.loads((base / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = name
    (base / INDEX).write_text(json.dumps(index))
    (base.parent / "secret.safetensors").write_bytes(shard_with(base, "model.norm.weight").read_bytes())
    found = complaint(base)
    assert "root:" not in found
    assert INDEX in found or "lm_head" in found


def test_a_link_out_of_the_folder_is_not_followed_by_surprise(base: Path) -> None:
    """Hub caches link every shard to a blob outside the folder: such a link is fine, a dangling one is a sentence."""
    path = shard_with(base, "lm_head.weight")
    moved = path.rename(base.parent / "blob")
    path.symlink_to(moved)
    convert(Job(base=base, out=base.parent / "linked.gguf", type_name="Q8_0"))
    moved.unlink()
    assert path.name in complaint(base)


def test_a_pickle_only_folder(base: Path) -> None:
    for path in (*base.glob("*.safetensors"), base / INDEX):
        path.unlink()
    (base / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    found = complaint(base)
    assert "safetensors" in found
    assert "pickle" in found or "pytorch_model.bin" in found


@pytest.mark.parametrize("text", ["", "[]", "{", '{"architectures": ["EvilForCausalLM"]}', "\ud800"])
def test_a_config_that_says_nothing_or_something_unknown(base: Path, text: str) -> None:
    (base / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert complaint(base)


def test_an_adapter_for_another_base(base: Path, tmp_path: Path, make_llama, make_adapter) -> None:
    other = make_llama(tmp_path / "other", hidden_size=128, intermediate_size=256)
    adapter = make_adapter(other, tmp_path / "adapter")
    assert "was trained on another model" in complaint(base, adapter)


def test_an_adapter_of_a_deeper_base(base: Path, tmp_path: Path, make_llama, make_adapter) -> None:
    other = make_llama(tmp_path / "other", num_hidden_layers=3)
    adapter = make_adapter(other, tmp_path / "adapter")
    assert "layers.2" in complaint(base, adapter)


def test_an_adapter_with_nan(base: Path, tmp_path: Path, make_adapter) -> None:
    from safetensors.numpy import load_file, save_file

    adapter = make_adapter(base, tmp_path / "adapter")
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = np.nan
    save_file(tensors, adapter / "adapter_model.safetensors")
    assert complaint(base, adapter)
