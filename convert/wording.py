"""Whether a GGUF file reads text as its source does: the same tokens, the same prompts, the same ends."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rolekit.convert.conversations import Conversation, as_dicts
from rolekit.convert.proof import Check
from rolekit.engine.prompt import Prompter
from rolekit.engine.vocabulary import Vocabulary
from rolekit.errors import RolekitError
from rolekit.messages import Message
from rolekit.text import one_line

PROBES = (
    "Elementary, my dear Watson! It's 3,141.59 o'clock…",
    "  two spaces,\ttab\nline\n\n\nthree lines   ",
    "你是谁？我是齐天大圣孙悟空，花果山水帘洞的美猴王。",
    "「吾輩は猫である」と彼は言った。１２３",
    "Здравствуйте, кто вы такой? Ёжик в тумане.",
    "مرحبا، من أنت؟ ١٢٣",
    "שלום עולם, מי אתה?",
    "नमस्ते, आप कौन हैं? क्षत्रिय",
    "안녕하세요, 누구세요?",
    "Français : l'été où Noël naît à Besançon, naïve œuvre.",
    "🙂🏴‍☠️👩🏽‍🚀 ﬁne ½ x² №5 a\u0301",
    "def f(x):\n    return x**2  # 0xFF != 1e-10\n",
    "HELLO hElLo we'll they'd I'm DON'T o’clock",
    "12345678901234567890 1 22 333 4444",
    "a\u00a0b\u200bc\ufeffd \r\n e",
)


class HuggingFaceTokenizer:
    """A folder's tokenizer as transformers reads it."""

    def __init__(self, folder: Path, chat_template: str = "", adapter: Path | None = None) -> None:
        """Load it, with another chat template where one is given, or the one saved beside an adapter.

        Raises RolekitError when transformers cannot do so without foreign code.
        """
        import transformers

        transformers.utils.logging.set_verbosity_error()
        own = adapter if adapter and (adapter / "tokenizer.json").is_file() else folder
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                str(own), local_files_only=True, trust_remote_code=False
            )
            if own != folder and not self._tokenizer.chat_template and not chat_template:
                base = transformers.AutoTokenizer.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
                chat_template = base.chat_template or ""
        except (ValueError, OSError, KeyError, RuntimeError, ImportError, AttributeError, TypeError) as error:
            raise RolekitError(
                f"transformers cannot load the tokenizer of {folder} ({one_line(str(error), 200)}).",
                "Without it tokens and prompts cannot be compared.",
            ) from error
        self._folder = folder
        if chat_template:
            self._tokenizer.chat_template = chat_template

    def ids(self, text: str) -> list[int]:
        """The ids of text, special tokens parsed, none added."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: Sequence[Message]) -> list[int] | None:
        """The ids of the rendered prompt that asks for a reply; None where the template takes no such messages.

        A template without a system role gets it in front of the first user's text, as the chat engine puts it.
        """
        from jinja2 import TemplateError

        if not self.chat_template:
            return None
        for form in (messages, _without_system(messages)):
            try:
                text = self._tokenizer.apply_chat_template(
                    as_dicts(form), add_generation_prompt=True, tokenize=False
                )
            except (TemplateError, ValueError, TypeError):
                continue
            if all(message.text.strip() in text for message in messages):
                return self.ids(text)
        return None

    @property
    def chat_template(self) -> str:
        """Its Jinja source; empty where it has none."""
        template: str = self._tokenizer.chat_template or ""
        return template

    @property
    def composes(self) -> bool:
        """Whether it brings text into NFC first, which llama.cpp leaves to whoever calls it."""
        normalizer = getattr(getattr(self._tokenizer, "backend_tokenizer", None), "normalizer", None)
        return normalizer is not None and normalizer.normalize_str("e\u0301") == "\u00e9"

    @property
    def ends(self) -> frozenset[int]:
        """Every id that ends a reply, by the tokenizer and by the generation config."""
        found = {self._tokenizer.eos_token_id}
        for name in ("generation_config.json", "config.json"):
            path = self._folder / name
            try:
                value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            except (OSError, ValueError, AttributeError):
                continue
            found |= set(value) if isinstance(value, list) else {value}
        return frozenset(token for token in found if isinstance(token, int))


def compare_tokens(tokenizer: HuggingFaceTokenizer, vocabulary: Vocabulary, texts: Iterable[str]) -> Check:
    """Whether every text has the same ids on both sides, texts in NFC where the source's tokenizer works on that."""
    total = equal = 0
    note = ""
    if tokenizer.composes:
        texts = [unicodedata.normalize("NFC", text) for text in texts]
    for text in dict.fromkeys(texts):
        theirs, ours = tokenizer.ids(text), vocabulary.tokenize(text, special=True, first=True)
        total += 1
        equal += theirs == ours
        if theirs != ours and not note:
            note = f"{one_line(text, 40)!r}: {_difference(theirs, ours)}"
    return Check(
        "tokens", f"{equal} of {total} texts equal", "all", equal == total, note, _share(equal, total)
    )


def compare_prompts(
    tokenizer: HuggingFaceTokenizer,
    vocabulary: Vocabulary,
    prompter: Prompter,
    conversations: Sequence[Conversation],
) -> Check | None:
    """Whether the rendered prompts have the same ids; None where Hugging Face's template renders none of them."""
    bos = [vocabulary.bos] if vocabulary.adds_bos else []
    total = equal = 0
    note = ""
    for talk in conversations:
        theirs = tokenizer.prompt(talk.prompt)
        if theirs is None:
            continue
        ours = list(prompter.build(talk.prompt).ids)
        if ours[1:] == theirs and ours[:1] == bos:
            ours = theirs  # a template without BOS under a tokenizer that adds it: both sides read it once
        total += 1
        equal += theirs == ours
        if theirs != ours and not note:
            note = f"{one_line(talk.origin, 40)}: {_difference(theirs, ours)}"
    if not total:
        return None
    return Check("prompts", f"{equal} of {total} equal", "all", equal == total, note, _share(equal, total))


def compare_ends(tokenizer: HuggingFaceTokenizer, vocabulary: Vocabulary) -> Check:
    """Whether every token that ends a reply in Hugging Face ends one in the file."""
    ends = tokenizer.ends
    missing = sorted(token for token in ends if not vocabulary.is_end(token))
    note = ", ".join(one_line(vocabulary.text(token) or str(token), 30) for token in missing)
    value = f"{len(ends) - len(missing)} of {len(ends)} known"
    return Check(
        "end tokens", value, "all", not missing, f"missing: {note}" if note else "", float(len(missing))
    )


def _without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    if len(messages) < 2 or messages[0].speaker != "system":
        return tuple(messages)
    system, first, *rest = messages
    return (Message(first.speaker, f"{system.text}\n\n{first.text}"), *rest)


def _difference(theirs: Sequence[int], ours: Sequence[int]) -> str:
    for index, (one, other) in enumerate(zip(theirs, ours, strict=False)):
        if one != other:
            return f"token {index} is {one} in Hugging Face and {other} in the file"
    return f"{len(theirs)} tokens in Hugging Face, {len(ours)} in the file"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
