"""The GGUF header reader: sound files as gguf-py reads them, broken and hostile ones in one sentence."""

from __future__ import annotations

import resource
import struct
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader, GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekit.engine.gguf_header import TENSOR_TYPES, GgufHeader, read_header
from rolekit.errors import RolekitError


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], type_id: int, offset: int) -> bytes:
    return (
        string(name)
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        + struct.pack("<IQ", type_id, offset)
    )


def gguf(
    entries: list[bytes],
    tensors: list[bytes],
    *,
    data: int = 4096,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    tensor_count, entry_count = counts or (len(tensors), len(entries))
    head = b"GGUF" + struct.pack("<IQQ", version, tensor_count, entry_count) + b"".join(entries + tensors)
    return head + b"\0" * (-len(head) % 32) + b"\0" * data


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_name("Sound")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_token_list(["<s>", "a", "é", "孙"])
    writer.add_token_types([3, 1, 1, 1])
    writer.add_token_scores([0.0, -1.0, -2.5, 3.0])
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.add_tensor("output.weight", np.zeros((4, 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def fault(tmp_path: Path, data: bytes, name: str = "bad.gguf") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(RolekitError) as raised:
        read_header(path)
    assert raised.value.what_to_do.endswith((".", ")."))
    assert "\n" not in str(raised.value)
    return raised.value.what_happened


def test_reads_what_gguf_py_wrote(sound: Path) -> None:
    header = read_header(sound)
    assert header.version == 3
    assert header.text("general.name") == "Sound"
    assert header.metadata["llama.block_count"] == 2
    assert header.metadata["llama.rope.freq_base"] == pytest.approx(10000.0)
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert header.metadata["tokenizer.ggml.tokens"] == ["<s>", "a", "é", "孙"]
    assert list(header.metadata["tokenizer.ggml.token_type"]) == [3, 1, 1, 1]
    assert list(header.metadata["tokenizer.ggml.scores"]) == [0.0, -1.0, -2.5, 3.0]
    embedding, output = header.tensors
    assert (embedding.name, embedding.shape, embedding.type_name) == ("token_embd.weight", (32, 4), "F32")
    assert (output.offset, output.size_bytes, output.type_name) == (512, 256, "F16")
    assert header.data_offset % header.alignment == 0
    assert header.file_bytes == sound.stat().st_size


def test_agrees_with_gguf_py_on_the_starter(starter_path: Path) -> None:
    header, reference = read_header(starter_path), GGUFReader(starter_path)
    ours = [(t.name, t.type_name, t.size_bytes, header.data_offset + t.offset) for t in header.tensors]
    theirs = [(t.name, t.tensor_type.name, t.n_bytes, t.data_offset) for t in reference.tensors]
    assert ours == theirs
    assert set(reference.fields) >= set(header.metadata)


def test_type_table_agrees_with_gguf_py() -> None:
    for kind, (elements, size) in GGML_QUANT_SIZES.items():
        if kind.name == "Q8_1":
            continue  # gguf-py counts two 32-bit numbers here; ggml-common.h says two 16-bit ones, and no file has it
        assert TENSOR_TYPES[kind.value] == (kind.name, elements, size)


def test_a_big_vocabulary_is_read_quickly(tmp_path: Path) -> None:
    words = b"".join(string(f"word-{number}") for number in range(300_000))
    path = tmp_path / "big.gguf"
    path.write_bytes(
        gguf([entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 300_000) + words)], [], data=0)
    )
    started = time.perf_counter()
    path.read_bytes().split(b"-")
    yardstick = time.perf_counter() - started
    started = time.perf_counter()
    tokens = read_header(path).metadata["tokenizer.ggml.tokens"]
    # A ratio, because machines differ: splitting the bytes in C is the yardstick.
    assert time.perf_counter() - started < 200 * yardstick
    assert isinstance(tokens, list)
    assert (len(tokens), tokens[-1]) == (300_000, "word-299999")


@pytest.mark.parametrize("version", [2, 3])
def test_both_known_versions_are_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "v.gguf"
    path.write_bytes(gguf([], [tensor("a", (32,), 0, 0)], version=version))
    assert read_header(path).version == version


def test_a_download_cut_anywhere_is_named_as_one(sound: Path, tmp_path: Path) -> None:
    data = sound.read_bytes()
    for length in [*range(24, 700, 7), len(data) - 300]:
        if length < len(data) - 256:
            assert "the download did not finish" in fault(tmp_path, data[:length])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"GGUF", "cut off"),
        (b"<!DOCTYPE html><html>404</html>" + b" " * 64, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (struct.pack("<Q", 64) + b'{"__metadata__":{}}' + b" " * 64, "safetensors"),
        (b'{"error": "not found"}' + b" " * 64, "JSON"),
        (b"tjgg" + b"\0" * 64, "old GGML"),
        (b"MZ" + b"\0" * 64, "does not begin with GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 99, 0, 0), "version 99"),
    ],
)
def test_foreign_files_are_told_apart(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in fault(tmp_path, data)


def test_a_zip_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x" * 100)
    with pytest.raises(RolekitError, match="zip archive"):
        read_header(path)


def test_missing_folder_and_device(tmp_path: Path) -> None:
    for path, words in [
        (tmp_path / "none.gguf", "no file"),
        (tmp_path, "folder"),
        (Path("/dev/null"), "regular"),
    ]:
        with pytest.raises(RolekitError, match=words):
            read_header(path)


HOSTILE = {
    "a billion entries": (gguf([], [], counts=(0, 10**9)), "metadata entries"),
    "2^63 entries": (gguf([], [], counts=(0, 2**63)), "metadata entries"),
    "2^64-1 tensors": (gguf([], [], counts=(2**64 - 1, 0)), "tensors"),
    "a string of 2^60 bytes": (gguf([entry("k", 8, struct.pack("<Q", 2**60))], []), "cut off"),
    "a string of 2^64-1 bytes": (gguf([entry("k", 8, struct.pack("<Q", 2**64 - 1))], []), "cut off"),
    "an endless key": (gguf([struct.pack("<Q", 2**40)], [], counts=(0, 1)), "metadata key"),
    "an empty key": (gguf([entry("", 4, b"\0" * 4)], []), "metadata key"),
    "a key in Latin-1": (gguf([struct.pack("<Q", 1) + b"\xe9" + struct.pack("<II", 4, 1)], []), "UTF-8"),
    "a key twice": (gguf([entry("k", 4, b"\0" * 4)] * 2, []), "twice"),
    "an unknown type": (gguf([entry("k", 77, b"")], []), "unknown type 77"),
    "an array of arrays": (gguf([entry("k", 9, struct.pack("<IQ", 9, 1))], []), "nested"),
    "an array of 2^61 numbers": (gguf([entry("k", 9, struct.pack("<IQ", 12, 2**61))], []), "cut off"),
    "an array of 2^61 strings": (gguf([entry("k", 9, struct.pack("<IQ", 8, 2**61))], []), "strings"),
    "an alignment of 0": (gguf([entry("general.alignment", 4, struct.pack("<I", 0))], []), "power of two"),
    "an alignment of 24": (gguf([entry("general.alignment", 4, struct.pack("<I", 24))], []), "power of two"),
    "a text as alignment": (gguf([entry("general.alignment", 8, string("32"))], []), "power of two"),
    "five dimensions": (gguf([], [tensor("a", (1, 1, 1, 1, 1), 0, 0)]), "5 dimensions"),
    "2^32 dimensions": (gguf([], [string("a") + struct.pack("<I", 2**32 - 1)]), "dimensions"),
    "a product past 2^63": (gguf([], [tensor("a", (2**40, 2**40), 0, 0)]), "impossibly large"),
    "a negative dimension": (gguf([], [tensor("a", (2**64 - 32,), 0, 0)]), "impossibly large"),
    "a removed type": (gguf([], [tensor("a", (32,), 4, 0)]), "unknown type 4"),
    "half a block": (gguf([], [tensor("a", (33,), 2, 0)]), "no whole Q4_0 blocks"),
    "an odd offset": (gguf([], [tensor("a", (32,), 0, 7)]), "not aligned"),
    "an offset past the end": (gguf([], [tensor("a", (32,), 0, 2**40)]), "cut off"),
    "overlapping tensors": (gguf([], [tensor("a", (64,), 0, 0), tensor("b", (64,), 0, 32)]), "overlaps"),
    "a name twice": (gguf([], [tensor("a", (32,), 0, 0), tensor("a", (32,), 0, 128)]), "same name"),
    "a long name": (gguf([], [tensor("a" * 64, (32,), 0, 0)]), "tensor name"),
}


def tokens(*texts: str) -> bytes:
    return entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(texts)) + b"".join(map(string, texts)))


# What parses well but would make llama.cpp abort the whole process.
ARCHITECTURE = entry("general.architecture", 8, string("llama"))
HOSTILE |= {
    "a token twice": (gguf([tokens("a", "b", "a")], []), "same text"),
    "a token twice for C": (gguf([tokens("a\0b", "a\0c")], []), "same text"),
    "an empty token's name": (gguf([tokens("", "[EMPTY_0]")], []), "same text"),
    "tokens that are numbers": (
        gguf([entry("tokenizer.ggml.tokens", 9, struct.pack("<IQI", 4, 1, 7))], []),
        "no list of texts",
    ),
    "too few token types": (
        gguf([tokens("a", "b"), entry("tokenizer.ggml.token_type", 9, struct.pack("<IQi", 5, 1, 1))], []),
        "token_type does not fit",
    ),
    "no layers": (gguf([ARCHITECTURE, entry("llama.block_count", 4, struct.pack("<I", 0))], []), "0 layers"),
    "2^31 layers": (
        gguf([ARCHITECTURE, entry("llama.block_count", 4, struct.pack("<I", 2**31))], []),
        "layers",
    ),
    "not a number": (
        gguf([entry("llama.eps", 6, struct.pack("<f", float("nan")))], []),
        "not a finite number",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_get_one_sentence(tmp_path: Path, name: str) -> None:
    data, words = HOSTILE[name]
    assert words in fault(tmp_path, data)


SEED = gguf(
    [
        entry("general.alignment", 4, struct.pack("<I", 32)),
        entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 3) + string("a") + string("b") + string("")),
        entry("scores", 9, struct.pack("<IQ3f", 6, 3, 0, 1, 2)),
        entry("general.name", 8, string("name")),
    ],
    [tensor("a", (32, 2), 2, 0), tensor("b", (8,), 0, 64)],
    data=128,
)


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.binary(min_size=1, max_size=9)), max_size=4),
    length=st.integers(0, len(SEED)),
)
def test_mutated_files_are_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, bytes]], length: int
) -> None:
    data = bytearray(SEED)
    for place, patch in changes:
        data[place : place + len(patch)] = patch
    path = tmp_path / "fuzzed.gguf"
    path.write_bytes(data[:length] if not changes else data)
    before = peak_bytes()
    try:
        header: GgufHeader | None = read_header(path)
    except RolekitError:
        header = None
    assert peak_bytes() - before < 64 << 20
    if header:
        assert all(header.data_offset + t.offset + t.size_bytes <= header.file_bytes for t in header.tensors)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
