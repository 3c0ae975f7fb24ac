"""Phrases by which an answer falls out of its role: flagged and counted, for a person to judge.

Three of the paper's four cleaning principles (AI identity concealed, role identity concealed, no rejection) leave such
traces. A phrase proves nothing (a robot may well call itself a machine), so nothing is dropped for it.
"""

from __future__ import annotations

import re
from typing import Literal

Leak = Literal["ai_identity", "role_identity", "rejection"]

_PATTERNS: dict[Leak, re.Pattern[str]] = {
    "ai_identity": re.compile(
        r"\b(?:as|i am|i'm|i’m|being) (?:just |only |merely )?(?:an? )?(?:ai\b|artificial intelligence|"
        r"(?:ai |large )?language model|chat ?bot|virtual assistant)"
        r"|\b(?:ai|large) language model|\bchatgpt\b|\bopenai\b|\bmy training data\b|\bi was trained (?:on|by)\b"
        r"|作为(?:一个|一名|一款|个)?(?:ai|人工智能|语言模型|聊天机器人)|我(?:只)?是(?:一个|一名|一款|个)?(?:ai|人工智能|语言模型)"
        r"|(?:ai|人工智能)(?:语言模型|助手)|大?语言模型",
        re.IGNORECASE,
    ),
    "role_identity": re.compile(
        r"\b(?:as|i am|i'm|i’m) (?:just |only |merely )?(?:an? |the )?(?:fictional|imaginary|made-up) (?:character|person)"
        r"|\b(?:i am|i'm|i’m|while|when) (?:role-?playing|(?:playing|in) the (?:role|part|character|persona) of)"
        r"|\bin (?:the|this) role-?play\b|\b(?:staying|stay|speaking|breaking) (?:in|out of) character\b"
        r"|我(?:正在|在)?扮演|角色扮演|作为(?:一个)?虚构",
        re.IGNORECASE,
    ),
    "rejection": re.compile(
        r"\bi(?:'m| am|’m) (?:sorry|afraid),? (?:but )?(?:i )?(?:cannot|can't|can’t|am unable to|am not able to)"
        r"|\bi (?:cannot|can't|can’t) (?:assist|help) (?:you )?with (?:that|this)"
        r"|\bit (?:is|would be) (?:not appropriate|inappropriate) for me to\b"
        r"|(?:很)?抱歉，?我(?:无法|不能)|对不起，?我(?:无法|不能)",
        re.IGNORECASE,
    ),
}


_HINTS: dict[Leak, tuple[str, ...]] = {
    "ai_identity": (
        *(
            " ai",
            "artificial",
            "language model",
            "bot",
            "virtual",
            "chatgpt",
            "openai",
            "training",
            "trained",
        ),
        *("为ai", "是ai", "个ai", "名ai", "款ai", "ai语言", "ai助手", "人工智能", "语言模型", "聊天"),
    ),
    "role_identity": (
        *("fictional", "imaginary", "made-up", "role", "character", "persona", "the part of", "扮演", "虚构"),
    ),
    "rejection": ("sorry", "afraid", "assist", "help", "appropriate", "抱歉", "对不起"),
}
"""A text without any of these, in lower case, cannot match; looking for them first is several times faster."""


def leaks_in(text: str) -> dict[Leak, str]:
    """The phrase of each kind that the text holds, as it stands there; empty where there is none."""
    lower = text.lower()
    return {
        kind: found[0]
        for kind, hints in _HINTS.items()
        if any(hint in lower for hint in hints) and (found := _PATTERNS[kind].search(text))
    }


def leaks_without_hints(text: str) -> dict[Leak, str]:
    """The same, slowly: what leaks_in is tested against."""
    return {kind: found[0] for kind, pattern in _PATTERNS.items() if (found := pattern.search(text))}
