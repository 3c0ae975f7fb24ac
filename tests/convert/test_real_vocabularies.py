"""The vocabularies of released models, as llama.cpp's tests carry them: from tokenizer.json back to the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rolekit.convert.model_folder import ModelFolder
from rolekit.convert.vocabulary import pre_tokenizers
from rolekit.convert.vocabulary.build import Vocabulary, build_vocabulary
from rolekit.engine.gguf_header import read_header

KEYS = {"general.architecture": "llama", "general.name": "released"}
UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 2, 3, 4, 5


def rebuilt(
    folder: Path, tokenizer: Any, tokens: list[str], kinds: list[int], rstrip: frozenset[int]
) -> Vocabulary:
    """The vocabulary made of a tokenizer to which the special tokens of a GGUF file are added."""
    data = json.loads(tokenizer.to_str())
    flags = {"single_word": False, "lstrip": False, "normalized": False}
    data["added_tokens"] = [
        {
            "id": number,
            "content": tokens[number],
            "special": kind != USER_DEFINED,
            "rstrip": number in rstrip,
            **flags,
        }
        for number, kind in enumerate(kinds)
        if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    return build_vocabulary(ModelFolder(folder, {}, {}, {}), "llama", len(tokens), KEYS)


@pytest.mark.parametrize("name", ["gpt-2", "starcoder", "qwen2"])
def test_byte_level_vocabularies_come_back_as_they_are(
    name: str, vocabulary_paths: dict[str, Path], tmp_path: Path
) -> None:
    from tokenizers import Regex, Tokenizer, models, normalizers
    from tokenizers import pre_tokenizers as steps

    keys: Any = read_header(vocabulary_paths[name]).metadata
    tokens, kinds = keys["tokenizer.ggml.tokens"], list(keys["tokenizer.ggml.token_type"])
    vocab = {token: number for number, token in enumerate(tokens) if kinds[number] != UNUSED}
    merges = [tuple(merge.split(" ", 1)) for merge in keys["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    if name == "qwen2":
        (pattern,) = next(rule for rule, names in pre_tokenizers._KNOWN.items() if names == ("qwen2",))
        split = steps.Split(Regex(pattern), "isolated")
        tokenizer.pre_tokenizer = steps.Sequence(
            [split, steps.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        tokenizer.normalizer = normalizers.NFC()
    else:
        digits = [steps.Digits(individual_digits=True)] if name == "starcoder" else []
        tokenizer.pre_tokenizer = steps.Sequence([*digits, steps.ByteLevel(add_prefix_space=False)])
    vocabulary = rebuilt(tmp_path, tokenizer, tokens, kinds, frozenset())
    assert vocabulary.different == 0
    assert vocabulary.metadata["tokenizer.ggml.pre"] in (name, "smollm")  # starcoder's rule has both names
    assert vocabulary.metadata["tokenizer.ggml.tokens"] == tuple(tokens)
    assert list(vocabulary.metadata["tokenizer.ggml.token_type"]) == kinds
    assert list(vocabulary.metadata["tokenizer.ggml.merges"]) == keys["tokenizer.ggml.merges"]


@pytest.mark.parametrize("name", ["llama-spm", "phi-3"])
def test_sentencepiece_scores_are_found_again_from_merges(
    name: str, vocabulary_paths: dict[str, Path], tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, models, normalizers

    keys: Any = read_header(vocabulary_paths[name]).metadata
    tokens, kinds, scores = (
        list(keys[f"tokenizer.ggml.{part}"]) for part in ("tokens", "token_type", "scores")
    )
    vocab = {token: number for number, token in enumerate(tokens) if number < 32_000}
    pairs = sorted(
        (-scores[number], vocab[token[:cut]], vocab[token[cut:]], token[:cut], token[cut:])
        for token, number in vocab.items()
        if kinds[number] == 1
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    )
    merges = [(left, right) for *_, left, right in pairs]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    phi = name == "phi-3"
    rstrip = frozenset([2, *range(32_001, len(tokens))] if phi else [])
    vocabulary = rebuilt(tmp_path, tokenizer, tokens, kinds, rstrip)
    assert vocabulary.different == 0
    assert vocabulary.texts > 400
    assert vocabulary.metadata["tokenizer.ggml.tokens"] == tuple(tokens)
    assert vocabulary.metadata["general.name"] == ("released phi-3" if phi else "released")
