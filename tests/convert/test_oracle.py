"""Against llama.cpp's own convert_hf_to_gguf.py: the same tensors, and the same metadata where both say something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rolekit.convert.conversion import convert
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.job import Job
from rolekit.convert.source import span
from rolekit.engine.gguf_header import read_header

NAMES = ["llama-biases", "llama3", "qwen2-yarn", "qwen3", "gemma3", "phi3-longrope", "glm4"]

DRIVER = """
import runpy, sys
from pathlib import Path
source, *folders = map(Path, sys.argv[1:])
sys.path[:0] = [str(source / "gguf-py"), str(source)]
from conversion import base, glm, phi
# Its table of known tokenizers does not have ours; its GLM-4 and Phi 3 ask for tokenizers of their own.
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
glm.Glm4Model.set_vocab = phi.Phi3MiniModel.set_vocab = base.TextModel._set_vocab_gpt2
for folder in folders:
    out = folder.with_suffix(".theirs.gguf")
    sys.argv = ["convert", str(folder), "--outtype", "f32", "--outfile", str(out)]
    runpy.run_path(str(source / "convert_hf_to_gguf.py"), run_name="__main__")
"""


@pytest.fixture(scope="module")
def theirs(
    tmp_path_factory: pytest.TempPathFactory, llama_cpp_source: Path, bpe_files: Path, save_case: Any
) -> dict[str, Path]:
    """Case to the folder of the model; beside it lies what llama.cpp's converter makes of it."""
    folder = tmp_path_factory.mktemp("oracle")
    folders = {name: folder / name for name in NAMES}
    for name, path in folders.items():
        save_case(name, path, bpe_files)
    command = [
        sys.executable,
        "-c",
        DRIVER,
        str(llama_cpp_source / "vendor/llama.cpp"),
        *map(str, folders.values()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folders


@pytest.mark.parametrize("name", NAMES)
def test_tensors_and_metadata_are_llama_cpps(name: str, theirs: dict[str, Path], tmp_path: Path) -> None:
    folder = theirs[name]
    ours_path = convert(Job(folder, tmp_path / "ours.gguf", type_name="F32")).parts[0]
    ours, oracle = GgufSource(ours_path), GgufSource(folder.with_suffix(".theirs.gguf"))
    assert sorted(ours.names()) == sorted(oracle.names())
    for tensor in ours.names():
        rows = span(0, ours.shape(tensor)[0])
        assert ours.shape(tensor) == oracle.shape(tensor)
        if "rope_f" in tensor:  # computed, in torch there
            assert np.allclose(ours.rows(tensor, rows), oracle.rows(tensor, rows), rtol=1e-6)
        else:
            assert np.array_equal(ours.rows(tensor, rows), oracle.rows(tensor, rows)), tensor
    mine, other = read_header(ours_path).metadata, oracle.header.metadata
    said_by_us_alone = {key for key in mine if key not in other}
    assert said_by_us_alone <= {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.add_eos_token"} | {
        key
        for key in mine
        if key.endswith((".vocab_size", "_token_id", "add_bos_token", "rope.scaling.type"))
    }
    missing = {key for key in other if key not in mine and not key.startswith("general.")}
    assert not missing
    for key in set(mine) & set(other) - {"general.name", "general.file_type"}:
        assert mine[key] == other[key] or np.allclose(mine[key], other[key], rtol=1e-6), key
