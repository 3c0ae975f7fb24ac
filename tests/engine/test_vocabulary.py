"""The vocabulary on llama.cpp's C API: round trips, borders, control tokens, fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rolekit.engine.gguf_header import read_header
from rolekit.engine.log import last_errors, quiet
from rolekit.engine.vocabulary import Vocabulary, open_vocabulary
from rolekit.errors import RolekitError

CHAT_VOCABULARIES = ["llama-bpe", "llama-spm", "qwen2", "phi-3", "gemma-4", "command-r", "deepseek-llm"]
TEXTS = [
    "Good day, Watson.",
    "孙悟空：俺老孙来也！",
    "Ça va?\n\nTrès bien.",
    "👩‍🔬 x\ty",
    "  two  spaces ",
    "\x01\x02",
    "a",
]


@pytest.mark.parametrize("name", CHAT_VOCABULARIES)
def test_tokens_spell_the_text(name: str, vocabulary_named: Callable[[str], Vocabulary]) -> None:
    vocabulary = vocabulary_named(name)
    for text in TEXTS:
        ids = vocabulary.tokenize(text, special=False)
        assert b"".join(map(vocabulary.piece, ids)).decode() == text


@pytest.mark.parametrize("name", ["llama-spm", "phi-3", "baichuan"])
def test_only_a_beginning_gets_a_space_in_front(
    name: str, vocabulary_named: Callable[[str], Vocabulary]
) -> None:
    vocabulary = vocabulary_named(name)
    for text in ["Hello", "\n\nHello", "!", "孙"]:
        first = vocabulary.tokenize(text, special=False, first=True)
        later = vocabulary.tokenize(text, special=False)
        assert b"".join(map(vocabulary.piece, first)).decode() == f" {text}"
        assert b"".join(map(vocabulary.piece, later)).decode() == text


def test_a_text_in_two_parts_gives_the_ids_of_the_whole(
    vocabulary_named: Callable[[str], Vocabulary],
) -> None:
    vocabulary = vocabulary_named("llama-spm")
    whole = vocabulary.tokenize("[INST] Hi [/INST]\nHello", special=True, first=True)
    head = vocabulary.tokenize("[INST] Hi [/INST]\n", special=True, first=True)
    assert head + vocabulary.tokenize("Hello", special=True) == whole


@pytest.mark.parametrize("name", CHAT_VOCABULARIES)
def test_control_tokens_are_parsed_only_on_request(
    name: str, vocabulary_named: Callable[[str], Vocabulary]
) -> None:
    vocabulary = vocabulary_named(name)
    assert vocabulary.control_tokens
    for text, token in vocabulary.control_tokens.items():
        assert token in vocabulary.tokenize(text, special=True)
        assert vocabulary.text(token) == text
        assert token in vocabulary.special_ids


def test_the_starter(starter_vocabulary: Vocabulary, starter_path: Path) -> None:
    vocabulary = starter_vocabulary
    metadata = read_header(starter_path).metadata
    assert vocabulary.size == len(metadata["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
    assert vocabulary.bos == metadata["tokenizer.ggml.bos_token_id"]
    assert vocabulary.adds_bos == metadata.get("tokenizer.ggml.add_bos_token", False)
    end = vocabulary.control_tokens["<|im_end|>"]
    assert vocabulary.is_end(end)
    assert not vocabulary.is_end(vocabulary.tokenize("Hello", special=False)[0])
    assert vocabulary.piece(end) == b"<|im_end|>"
    assert vocabulary.piece(-1) == vocabulary.piece(vocabulary.size) == b""


def test_a_long_text_fits(starter_vocabulary: Vocabulary) -> None:
    text = "word " * 20_000
    ids = starter_vocabulary.tokenize(text, special=False)
    assert b"".join(map(starter_vocabulary.piece, ids)).decode() == text


def test_the_key_tells_vocabularies_apart(
    vocabulary_named: Callable[[str], Vocabulary], vocabulary_paths: dict[str, Path]
) -> None:
    keys = {vocabulary_named(name).key for name in CHAT_VOCABULARIES}
    assert len(keys) == len(CHAT_VOCABULARIES)
    with open_vocabulary(vocabulary_paths["qwen2"]) as again:
        assert again.key == vocabulary_named("qwen2").key


def test_an_unknown_tokenizer_gives_one_sentence(vocabulary_paths: dict[str, Path], tmp_path: Path) -> None:
    data = vocabulary_paths["llama-spm"].read_bytes()
    path = tmp_path / "odd.gguf"
    path.write_bytes(data.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lamma"))
    with pytest.raises(RolekitError, match=r"odd\.gguf") as raised, open_vocabulary(path):
        raise AssertionError("it opened")
    assert "\n" not in str(raised.value)


def test_llama_cpp_is_quiet(vocabulary_paths: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    quiet()
    quiet()
    with open_vocabulary(vocabulary_paths["phi-3"]):
        pass
    assert capfd.readouterr() == ("", "")
    last_errors()
    assert last_errors() == []
