"""The rule by which tokenizer.json cuts text into words, and llama.cpp's names for such rules (llama-vocab.cpp)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rolekit.convert.vocabulary.tokenizer_json import TokenizerJson

_GPT2 = "GPT-2"
_DIGIT = r"\p{N}"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+%s|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*%s"
    r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_REST}"

_KNOWN: Mapping[tuple[str, ...], tuple[str, ...]] = {
    (_GPT2,): ("gpt-2",),
    (_DIGIT, _GPT2): ("smollm",),
    (_LLAMA3,): ("llama-bpe", "smaug-bpe"),
    (rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_REST}",): ("qwen2",),
    (_CASED % ("", "", ""),): ("tekken",),
    (_CASED % (f"{_ENDINGS}?", f"{_ENDINGS}?", "{1,3}"),): ("gpt-4o", "granite-embed-multi-97m"),
}
_OTHERS = (
    *(
        "llama-bpe",
        "smaug-bpe",
        "qwen2",
        "gpt-2",
        "smollm",
        "tekken",
        "gpt-4o",
        "deepseek-llm",
        "deepseek-coder",
    ),
    *("deepseek-v3", "qwen35", "falcon", "seed-coder", "bailingmoe", "exaone-moe", "minicpm5", "superbpe"),
)
"""One name for each rule that llama.cpp has for Latin-script chat models."""


def patterns(data: TokenizerJson) -> tuple[str, ...]:
    """The regular expressions that text is cut by, one after the other."""
    found = []
    for step in data.pre_tokenizers:
        kind = step.get("type")
        if kind == "Split":
            found.append(_pattern(step.get("pattern")))
        elif kind == "Digits":
            found.append(_DIGIT if step.get("individual_digits") else r"\p{N}+")
        elif kind == "ByteLevel" and step.get("use_regex", True):
            found.append(_GPT2)
    return tuple(found)


def _pattern(pattern: Any) -> str:
    if isinstance(pattern, dict):
        return str(pattern.get("Regex") or pattern.get("String") or "")
    return str(pattern)


def names(data: TokenizerJson, arch: str) -> tuple[str, ...]:
    """llama.cpp's names for the rule, the likeliest first; every one that is worth a try where the rule is unknown.

    Which one is right is decided by the proof.
    """
    known = _KNOWN.get(patterns(data), ())
    if known == ("llama-bpe", "smaug-bpe") and not data.ignore_merges:
        known = ("smaug-bpe", "llama-bpe")
    if known and arch in ("chatglm", "glm4"):
        known = (*(("glm4", "chatglm-bpe") if data.ignore_merges else ("chatglm-bpe", "glm4")), *known)
    return known or _OTHERS
