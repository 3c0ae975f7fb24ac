"""Which tokens begin and end what: from the tokenizer's, the generation's and the model's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rolekit.convert.metadata import MetaValue
from rolekit.convert.model_folder import ModelFolder

_KINDS = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding", "mask": "mask"}
"""transformers' names and GGUF's; the misspelling is the specification's."""

FOUND_BY_TEXT = frozenset(
    [
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>"),
        *("<|end_of_text|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "<eos>"),
    ]
)
"""What llama.cpp takes for the end of a generation by its text alone (llama-vocab.cpp)."""


def special_ids(folder: ModelFolder, ids: Mapping[str, int]) -> dict[str, int]:
    """GGUF's name of a special token (bos, eos, unknown, …) to its id.

    ids: every token's id by its text. tokenizer_config.json says it by text; config.json by number.
    """
    found = {}
    for kind, name in _KINDS.items():
        text = _text(folder.tokenizer_config.get(f"{kind}_token"))
        number = ids.get(text) if text else None
        if number is None:
            numbers = _numbers(folder.config.get(f"{kind}_token_id"))
            number = numbers[0] if numbers else None
        if number is not None and 0 <= number < max(len(ids), 1):
            found[name] = number
    return found


def end_ids(folder: ModelFolder, ids: Mapping[str, int]) -> list[int]:
    """Every token that ends a reply, the tokenizer's own first: of tokenizer, generation and model configuration."""
    found = []
    text = _text(folder.tokenizer_config.get("eos_token"))
    if text in ids:
        found.append(ids[text])
    for table in (folder.generation_config, folder.config):
        found += _numbers(table.get("eos_token_id"))
    known = frozenset(ids.values())
    return [number for number in dict.fromkeys(found) if number in known]


def end_keys(ends: Sequence[int], texts: Mapping[int, str]) -> dict[str, MetaValue]:
    """The keys that make llama.cpp stop at each of ends.

    There are places for three (eos, eot, eom); tokens that llama.cpp finds by their text need none.
    """
    if not ends:
        return {}
    keys: dict[str, MetaValue] = {"tokenizer.ggml.eos_token_id": ends[0]}
    others = [number for number in ends[1:] if texts.get(number) not in FOUND_BY_TEXT]
    by_text = [number for number in ends[1:] if texts.get(number) in FOUND_BY_TEXT]
    for place, number in zip(("eot", "eom"), others + by_text, strict=False):
        keys[f"tokenizer.ggml.{place}_token_id"] = number
    return keys


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [number for number in values if type(number) is int and number >= 0]
