"""The vocabulary of a Hugging Face folder, cut the way llama.cpp cuts it once the folder is a GGUF.

Training rows then have the ids that a chat with the converted model sends. Only tokenizer files are read, no code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekit.engine.prompt_vocabulary import in_the_middle
from rolekit.errors import RolekitError
from rolekit.text import one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LOOKS_SPECIAL = re.compile(r"<[|｜].*[|｜]>|<pad>|<mask>|<2mass>|\[@BOS@\]|<unused\d+>", re.DOTALL)
"""llama.cpp's converter takes such added tokens for control tokens, whatever their flag says."""
_END_TEXTS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
    "<REPO>", "<reponame>", "<|file_sep|>",
)  # fmt: skip
"""Tokens that end a generation in llama.cpp by their text alone, also where they are no added tokens."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class HfVocabulary:
    """A tokenizer folder as engine.prompt_vocabulary.PromptVocabulary. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Read folder's tokenizer.json (or its tokenizer.model, through transformers).

        Raises RolekitError when it has neither, or one that cannot be read.
        """
        self._config = read_json(folder / "tokenizer_config.json")
        self._description = _described(folder)
        self._tokenizer = _loaded(self._description, folder)
        self._added = {entry["content"]: entry for entry in self._description.get("added_tokens") or []}
        for text in _END_TEXTS:
            if (token := self._tokenizer.token_to_id(text)) is not None:
                self._added[text] = {
                    **self._added.get(text, {}),
                    "id": token,
                    "content": text,
                    "special": True,
                }
        self.size: int = self._tokenizer.get_vocab_size()
        self.bos = self._named("bos_token")
        self.eos = self._named("eos_token")
        self._ends = self._end_ids(folder)
        if self.eos is None and self._ends:
            self.eos = min(self._ends)
        probe = self._tokenizer.encode("a", add_special_tokens=True).ids
        self.adds_bos = self.bos is not None and probe[:1] == [self.bos]

    def _named(self, key: str) -> int | None:
        entry = self._config.get(key)
        text = entry.get("content") if isinstance(entry, dict) else entry
        return self._tokenizer.token_to_id(text) if isinstance(text, str) else None

    def _end_ids(self, folder: Path) -> frozenset[int]:
        """EOS, what the configurations name beside it, and what llama.cpp knows by its text."""
        found = {self.eos} if self.eos is not None else set()
        for name in ("generation_config.json", "config.json"):
            ids = read_json(folder / name).get("eos_token_id")
            found |= {ids} if isinstance(ids, int) else set(ids) if isinstance(ids, list) else set()
        found |= {self._added[text]["id"] for text in _END_TEXTS if text in self._added}
        return frozenset(token for token in found if isinstance(token, int) and 0 <= token < self.size)

    def tokenize(self, text: str, *, special: bool, first: bool = False) -> list[int]:
        """The ids of text; no BOS or EOS is added.

        special: the texts of control tokens become these tokens. first: the text stands at the very beginning
        or behind a control token, where some SentencePiece vocabularies put a space in front.
        """
        ids: list[int] = []
        at = 0
        for match in (self._parsed if special else self._always_parsed).finditer(text):
            entry = self._added[match.group()]
            before = text[at : match.start()]
            ids += self._plain(before.rstrip() if entry.get("lstrip") else before, first)
            ids.append(int(entry["id"]))
            first, at = True, match.end()
            if entry.get("rstrip"):
                at += len(text) - at - len(text[at:].lstrip())
        return ids + self._plain(text[at:], first)

    def _plain(self, text: str, first: bool) -> list[int]:
        if not text:
            return []
        if first or not self._prefixes_a_space:
            return self._encode(text)
        return in_the_middle(self._encode, text)

    def _encode(self, text: str) -> list[int]:
        safe = text.encode("utf-8", "replace").decode("utf-8")
        return list(self._tokenizer.encode(safe, add_special_tokens=False).ids)

    @cached_property
    def _prefixes_a_space(self) -> bool:
        ids = self._encode("a")
        return bool(ids) and self.piece(ids[0]).startswith(b" ")

    @cached_property
    def _parsed(self) -> re.Pattern[str]:
        return _any_of(self._added)

    @cached_property
    def _always_parsed(self) -> re.Pattern[str]:
        return _any_of(self.user_defined_tokens)

    def piece(self, token: int) -> bytes:
        """The bytes token stands for, a control token's own text included; empty for an id out of range."""
        entry = self.text(token)
        if entry in self._added:
            return entry.encode("utf-8")
        if self._is_byte_level:
            return bytes(_BYTE_OF.get(letter, ord("?")) for letter in entry)
        if byte := _BYTE.fullmatch(entry):
            return bytes([int(byte[1], 16)])
        return entry.replace("\u2581", " ").encode("utf-8")

    @cached_property
    def _is_byte_level(self) -> bool:
        decoder = json.dumps([self._description.get("decoder"), self._description.get("pre_tokenizer")])
        return '"ByteLevel"' in decoder

    def text(self, token: int | None) -> str:
        """The vocabulary's own entry for token, as it is written in a template; empty for None."""
        if token is None or not 0 <= token < self.size:
            return ""
        return self._tokenizer.id_to_token(token) or ""

    def is_end(self, token: int) -> bool:
        """Whether token ends a generation: EOS, the configurations' others, and those llama.cpp knows by name."""
        return token in self._ends

    def _with(self, *, special: bool) -> dict[str, int]:
        unknown = self.unknown_tokens
        return {
            text: int(entry["id"])
            for text, entry in self._added.items()
            if text not in unknown and _is_control(entry) == special
        }

    @cached_property
    def control_tokens(self) -> dict[str, int]:
        """Text to id of every token that steers the model: special ones, and all that end a generation."""
        ends = {text: token for text, token in self.user_defined_tokens.items() if token in self._ends}
        return self._with(special=True) | ends

    @cached_property
    def unknown_tokens(self) -> dict[str, int]:
        """Text to id of the token that means `no such text`."""
        text = (self._description.get("model") or {}).get("unk_token")
        token = self._tokenizer.token_to_id(text) if isinstance(text, str) else None
        byte_level = self._is_byte_level
        return {} if not isinstance(text, str) or token is None or byte_level else {text: token}

    @cached_property
    def user_defined_tokens(self) -> dict[str, int]:
        """Text to id of added tokens that are found in any text."""
        return self._with(special=False)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Every id that is cut out of a text before the rest is tokenized."""
        return frozenset(
            [*(int(entry["id"]) for entry in self._added.values()), *self.unknown_tokens.values()]
        )

    @cached_property
    def key(self) -> str:
        """A fingerprint of all tokens: ids are exchangeable between folders with the same key."""
        texts = "\0".join(self.text(token) for token in range(self.size))
        return hashlib.sha256(texts.encode("utf-8", "replace")).hexdigest()[:32]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a folder's .json file; empty where there is no such file.

    Raises RolekitError when it is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(values, dict):
        raise _unreadable(path, ValueError("it holds no object"))
    return values


def _unreadable(path: Path, error: Exception) -> RolekitError:
    return RolekitError(
        f"{path.name} of {one_line(str(path.parent), 200)} cannot be read ({one_line(str(error), 160)}).",
        "Fetch the model again, or name another base.",
    )


def _described(folder: Path) -> dict[str, Any]:
    """The tokenizer as tokenizer.json describes it; one that only has a SentencePiece model goes through transformers."""
    if (folder / "tokenizer.json").is_file():
        description = read_json(folder / "tokenizer.json")
    elif (folder / "tokenizer.model").is_file():
        from transformers import AutoTokenizer

        try:
            slow = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
            description = json.loads(slow.backend_tokenizer.to_str())
        except (OSError, ValueError, ImportError, AttributeError) as error:
            raise _unreadable(folder / "tokenizer.model", error) from error
    else:
        raise RolekitError(
            f"{one_line(str(folder), 200)} has no tokenizer.json and no tokenizer.model.",
            "Name a folder that holds a whole model, tokenizer included.",
        )
    for entry in description.get("added_tokens") or []:
        entry["special"] = _is_control(entry)
    return description


def _loaded(description: dict[str, Any], folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(json.dumps(description))
    except Exception as error:
        if type(error) is not Exception:  # the library's own faults are of no narrower class
            raise
        raise _unreadable(folder / "tokenizer.json", error) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # as ordinary text: they are cut out before
    return tokenizer


def _is_control(entry: dict[str, Any]) -> bool:
    return bool(entry.get("special")) or _LOOKS_SPECIAL.fullmatch(entry["content"]) is not None


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    longest = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest)) if longest else "(?!)")


def _byte_letters() -> dict[str, int]:
    """The printable letter that byte-level BPE writes for each byte, and back (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_letters()
