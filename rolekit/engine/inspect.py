"""What a GGUF file says of itself: everything `rolekit models show` prints, without loading the model."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rolekit.engine.footprint import Footprint, footprint, sliding_window
from rolekit.engine.gguf_header import GgufHeader, Value, read_header
from rolekit.engine.references import quantization_of, shard_names
from rolekit.engine.template_check import template_warnings
from rolekit.text import one_line, sanitize

# fmt: off
FILE_TYPES: Mapping[int, str] = MappingProxyType({
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M",
    18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S",
    25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M",
    32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
})
# fmt: on
"""general.file_type -> its name (llama.h)."""

# fmt: off
_END_TEXTS = frozenset((
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<｜end▁of▁sentence｜>", "[e~[",
))
# fmt: on
_FILL_TEXTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "fim_pad": frozenset(("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]")),
        "fim_rep": frozenset(("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>")),
        "fim_sep": frozenset(("<|file_sep|>",)),
    }
)

_OWN_PREFIX, _MOST_NOTED = "rolekit.", 20


@dataclass(frozen=True, slots=True)
class TypeUse:
    """How much of a model is stored in one tensor type."""

    type_name: str
    tensors: int
    parameters: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class EndToken:
    """A token after which llama.cpp ends the reply."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model file in figures. All text is safe to print."""

    path: Path
    files: int
    file_bytes: int
    name: str
    architecture: str
    licence: str
    languages: tuple[str, ...]
    parameters: int
    layers: int
    quantization: str
    types: tuple[TypeUse, ...]
    vocabulary: int
    context_tokens: int
    window_tokens: int
    """What sliding-window layers look back; 0 where there are none."""
    template: str
    template_warnings: tuple[str, ...]
    end_tokens: tuple[EndToken, ...]
    footprint: Footprint
    origin: Mapping[str, str]
    """What `rolekit convert` wrote down of its making: role, recipe_hash, data_hash, template, base, version."""


def inspect(path: Path, context_tokens: int = 8192) -> ModelFacts:
    """The facts of the model whose first (or only) file is path, with its memory need at a context length.

    context_tokens beyond the model's own limit means that limit. Raises RolekitError for a file that is no sound GGUF.
    """
    headers = [read_header(path.with_name(name)) for name in shard_names(path.name)]
    first = headers[0]
    types = _types(headers)
    limit = _number(first, f"{first.text('general.architecture')}.context_length")
    template = first.text("tokenizer.chat_template")
    tokens = first.metadata.get("tokenizer.ggml.tokens")
    return ModelFacts(
        path=path,
        files=len(headers),
        file_bytes=sum(header.file_bytes for header in headers),
        name=one_line(first.text("general.name") or path.stem),
        architecture=one_line(first.text("general.architecture")),
        licence=one_line(first.text("general.license.name") or first.text("general.license")),
        languages=_languages(first),
        parameters=sum(use.parameters for use in types),
        layers=_number(first, f"{first.text('general.architecture')}.block_count"),
        quantization=quantization(path, first),
        types=types,
        vocabulary=len(tokens) if isinstance(tokens, list) else 0,
        context_tokens=limit,
        window_tokens=sliding_window(first),
        template=sanitize(template),
        template_warnings=template_warnings(template),
        end_tokens=end_tokens(first.metadata),
        footprint=footprint(
            first,
            sum(use.size_bytes for use in types),
            min(context_tokens, limit) if limit else context_tokens,
        ),
        origin=_origin(first),
    )


def quantization(path: Path, header: GgufHeader | None = None) -> str:
    """What the model is quantized to: its header's word, else the commonest type; without a header the name's word."""
    if header is None:
        return quantization_of(path.name) or quantization(path, read_header(path))
    known = FILE_TYPES.get(_number(header, "general.file_type", -1))
    if known:
        return known
    types = _types([header])
    return quantization_of(path.name) or (types[0].type_name if types else "")


def end_tokens(metadata: Mapping[str, Value]) -> tuple[EndToken, ...]:
    """The tokens that end a reply, by llama.cpp's own rules (llama-vocab.cpp, special_eog_ids), sorted by id."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        return ()
    found = {index for index, text in enumerate(tokens) if text in _END_TEXTS}
    for name, texts in _FILL_TEXTS.items():
        index = metadata.get(f"tokenizer.ggml.{name}_token_id")
        found |= {index} if isinstance(index, int) else {i for i, text in enumerate(tokens) if text in texts}
    default_end = {"llama": 2, "gpt2": 11}.get(str(metadata.get("tokenizer.ggml.model", "")), -1)
    for name, default in (("eos", default_end), ("eot", -1), ("eom", -1)):
        index = metadata.get(f"tokenizer.ggml.{name}_token_id", default)
        if isinstance(index, int) and 0 <= index < len(tokens):
            found.add(index)
    ends = {tokens[index]: index for index in found if 0 <= index < len(tokens)}
    # Two families use a text as an ordinary token that ends a reply elsewhere.
    if {"<|return|>", "<|call|>"} <= ends.keys() or {"<|calls|>", "<|flush|>"} <= ends.keys():
        ends.pop("<|end|>", None)
    if "<|tool_response>" in ends or "<|plamo:eos|>" in ends:
        ends.pop("</s>", None)
    return tuple(
        sorted((EndToken(index, one_line(text, 40)) for text, index in ends.items()), key=lambda end: end.id)
    )


def _origin(header: GgufHeader) -> dict[str, str]:
    noted = dict[str, str]()
    for key, value in header.metadata.items():
        if key.startswith(_OWN_PREFIX) and isinstance(value, str) and len(noted) < _MOST_NOTED:
            noted[one_line(key.removeprefix(_OWN_PREFIX), 40)] = one_line(value, 200)
    base = one_line(header.text("general.base_model.0.name"), 200)
    return noted if "base" in noted or not base else {"base_model": base, **noted}


def _types(headers: list[GgufHeader]) -> tuple[TypeUse, ...]:
    uses: dict[str, list[int]] = {}
    for tensor in (tensor for header in headers for tensor in header.tensors):
        use = uses.setdefault(tensor.type_name, [0, 0, 0])
        use[0] += 1
        use[1] += math.prod(tensor.shape)
        use[2] += tensor.size_bytes
    ordered = sorted(uses.items(), key=lambda item: -item[1][2])
    return tuple(TypeUse(name, *use) for name, use in ordered)


def _number(header: GgufHeader, key: str, default: int = 0) -> int:
    value = header.metadata.get(key)
    if isinstance(value, array):
        return int(max(value, default=default))
    return int(value) if isinstance(value, int | float) else default


def _languages(header: GgufHeader) -> tuple[str, ...]:
    value = header.metadata.get("general.languages")
    return tuple(one_line(language, 20) for language in value[:40]) if isinstance(value, list) else ()
