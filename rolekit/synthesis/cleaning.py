"""The paper's four cleaning rules for what a generator wrote: complete, no AI, no actor, no turning down.

Each rule names the words it found, for whoever looks at the rejected rows. Source: arXiv 2310.00746 (data cleaning);
the phrases are those of rolekit.rolebench.leaks, which benchmarks and training count too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rolekit.ranking import words_of
from rolekit.rolebench.leaks import Leak, leaks_in
from rolekit.roles.language import guess_language
from rolekit.roles.role import Role
from rolekit.text import sanitize

_MOST_WORDS = 100
"""The paper takes general instructions of at most 100 English words, or 100 Chinese characters."""
_MACHINE = re.compile(
    r"\b(?:AI|artificial intelligence|computer|robot|android|automaton|chat ?bot)\b|人工智能|机器人|电脑",
    re.IGNORECASE,
)
_LEAKS: dict[Leak, str] = {
    "ai_identity": "ai-identity",
    "role_identity": "role-identity",
    "rejection": "rejection",
}
_GAPS = re.compile(
    r"\[(?:your|insert|name|character|date|place|location|user|some|any|x+)\b[^\]\n]{0,40}\]|\{\{[^}\n]{0,40}\}\}"
    r"|<(?:name|user|insert|your)\b[^>\n]{0,40}>|_{4,}|（此处[^）\n]{0,40}）|【(?:此处|填写|姓名|人名)[^】\n]{0,40}】"
    r"|\[(?:此处|填写|姓名|人名)[^\]\n]{0,40}\]",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"\b(?:in|from|of|to|by|per|based on) (?:this|the (?:above|given|provided|following)) "
    r"(?:text|passage|scene|script|excerpt|segment|story|paragraph|dialogue|description|profile|chapter|conversation)\b"
    r"|\b(?:the|this) (?:passage|excerpt|segment|screenplay|text above|given text)\b"
    r"(?! (?:of|to|through|across|from|between|into|over)\b)"
    r"|\b(?:mentioned|described|shown|given|quoted) (?:above|here|below|in the (?:text|script|profile|description))\b"
    r"|文中|上文|下文|原文中|本文|片段|剧本|这段(?:话|文字|对话|描述|内容|剧情)|这一幕|根据(?:描述|文本|资料|设定|人物)|该角色|该人物|设定中"
    r"|\b(?:dans|selon) (?:ce|cet|le) (?:texte|passage|extrait|scénario)\b|\b(?:im|in diesem|laut dem) (?:Text|Abschnitt|Drehbuch)\b"
    r"|\b(?:en|según) (?:este|el) (?:texto|pasaje|fragmento|guion)\b",
    re.IGNORECASE,
)
_NOBODY = re.compile(
    r"^(?:(?:and|but|so|then|now),? )?(?:why|what|how|when|where|who|which|did|does|do|is|was|were|are)\b(?: \w+){0,2} "
    r"(?:he|she|him|her|they|them)\b(?! who\b)|^[他她它]们?|^(?:那个人|这个人|那家伙)",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"[?？]|\b(?:tell|describe|explain|share|name|give|talk|imagine|list|speak|recall|show|teach|let me|say|walk me|remind)\b"
    r"|请|说说|讲讲|谈谈|告诉|聊聊|描述|介绍|给我|说一|讲一|谈一|教我",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[.!?…。！？～~—\"”’'」』）)\]*]\s*$")
_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"”’')\]*]*(?=\s|$)|[。！？…～]+[”’」』）]*)")
_FEWEST_WORDS = 4
"""Of an answer that was cut: less says nothing."""
_QUOTES = {'"': '"', "“": "”", "「": "」", "«": "»"}
_ALIKE = {
    "ru": {"ru", "uk", "bg", "sr", "be", "mk", "kk", "mn", "ky"},
    "ar": {"ar", "fa", "ur", "ps"},
    "he": {"he", "yi"},
    "hi": {"hi", "mr", "ne", "sa"},
    "zh": {"zh", "yue", "lzh", "wuu", "nan"},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text is not taken: a key of rows.REASONS, and the words behind it."""

    reason: str
    detail: str = ""


def tidied(answer: str, names: Iterable[str]) -> str:
    """The answer as it is kept: printable, without the role's name as a heading and without quotation marks around."""
    text = sanitize(answer).strip()
    for name in names:
        heading = re.match(rf"(?:\*\*)?{re.escape(name)}(?:\*\*)?\s*[:：](?:\*\*)?\s*", text, re.IGNORECASE)
        if heading and name:
            text = text[heading.end() :]
            break
    closing = _QUOTES.get(text[:1], "")
    if closing and len(text) > 2 and text.endswith(closing) and closing not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def up_to_last_sentence(answer: str) -> str:
    """What is left of an answer that was cut off when its last, broken sentence goes; empty where that is next to nothing."""
    ends = [found.end() for found in _SENTENCE_END.finditer(answer)]
    kept = answer[: ends[-1]].rstrip() if ends else ""
    return kept if len(words_of(kept)) >= _FEWEST_WORDS else ""


def question_fault(question: str, language: str = "en") -> Fault | None:
    """What makes a question useless when it stands alone. In English and Chinese it must ask, or tell to tell."""
    words = words_of(question)
    if len(words) < 2:
        return Fault("incomplete-question", "too short")
    if len(words) > _MOST_WORDS:
        return Fault("incomplete-question", f"longer than {_MOST_WORDS} words")
    if circle := circle_in(question):
        return Fault("repeats", circle)
    for pattern in (_POINTING, _GAPS, _NOBODY):
        if found := pattern.search(question.strip()):
            return Fault("incomplete-question", found[0])
    if language.split("-")[0] in ("en", "zh") and not _ASKS.search(question):
        return Fault("incomplete-question", "asks nothing")
    return None


def answer_fault(
    answer: str, finish_reason: str = "stop", allowed: frozenset[str] = frozenset()
) -> Fault | None:
    """Which of the four rules an answer breaks; allowed: reasons that do not count (see allowed_for)."""
    if finish_reason == "content_filter":
        return Fault("content-filter")
    if not words_of(answer):
        return Fault("incomplete-answer", "empty")
    if finish_reason == "length" and not _ENDS.search(answer):
        return Fault("incomplete-answer", f"cut off: …{answer[-30:]}")
    if found := _GAPS.search(answer):
        return Fault("incomplete-answer", found[0])
    if circle := circle_in(answer):
        return Fault("repeats", circle)
    for leak, phrase in leaks_in(answer).items():
        if _LEAKS[leak] not in allowed:
            return Fault(_LEAKS[leak], phrase)
    return None


def allowed_for(role: Role) -> frozenset[str]:
    """Rules that do not hold for this role: a machine may say that it is one."""
    return frozenset({"ai-identity"}) if _MACHINE.search(role.description) else frozenset()


def circle_in(text: str) -> str:
    """Words that a text says over and over, as small models do; empty where it goes on.

    A run of four words more than three times, or of twelve words twice; Chinese and Japanese characters count half.
    """
    words = words_of(text)
    scale = 2 if sum(len(word) for word in words) < 2 * len(words) else 1
    for length, most in ((4 * scale, 3), (12 * scale, 1)):
        runs = Counter(tuple(words[place : place + length]) for place in range(len(words) - length + 1))
        for run, times in runs.items():
            if times > most and len(set(run)) > 1:
                return " ".join(run)
    return ""


def language_fault(role: Role, text: str) -> Fault | None:
    """Whether the letters are those of another language; languages that share an alphabet cannot be told apart."""
    own = role.language.split("-")[0].lower()
    family = next((head for head, members in _ALIKE.items() if own in members), own)
    if not any(letter.isalpha() for letter in text):
        return None
    script = guess_language(text, default="")
    written_so = guess_language(_SAMPLES.get(family, ""), default="")
    return None if script == written_so else Fault("wrong-language", script or "Latin letters")


_SAMPLES = {
    "ja": "かな", "ko": "한글", "zh": "汉字", "ru": "буквы", "ar": "حروف", "he": "אות", "el": "γραμμα", "th": "ไทย",
    "hi": "हिन्दी",
}  # fmt: skip
"""What guess_language makes of a family's letters; the empty sample stands for all that it does not know."""
