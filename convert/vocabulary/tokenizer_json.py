"""tokenizer.json: its vocabulary, merges, added tokens and rules, checked; and the tokenizer itself, as reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.convert.model_folder import ModelFolder, read_json
from rolekit.errors import RolekitError
from rolekit.text import one_line


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is found in any text before the rest is split."""

    id: int
    text: str
    special: bool = False
    rstrip: bool = False


@dataclass(frozen=True, slots=True)
class TokenizerJson:
    """What tokenizer.json says."""

    path: Path
    model: str
    """BPE, Unigram or WordPiece."""
    vocab: Mapping[str, int]
    merges: tuple[tuple[str, str], ...]
    added: tuple[AddedToken, ...]
    byte_fallback: bool
    ignore_merges: bool
    unknown: str
    normalizers: tuple[Mapping[str, Any], ...]
    """Each step's own table, a Sequence laid flat; so are the pre-tokenizers."""
    pre_tokenizers: tuple[Mapping[str, Any], ...]

    @property
    def is_byte_level(self) -> bool:
        """Whether bytes are spelled with the letters of GPT-2."""
        return any(step.get("type") == "ByteLevel" for step in self.pre_tokenizers)


def read_tokenizer_json(folder: ModelFolder) -> TokenizerJson | None:
    """tokenizer.json with the tokens that tokenizer_config.json adds; None when there is no such file.

    Raises RolekitError when it is damaged.
    """
    path = folder.file("tokenizer.json")
    if path is None:
        return None
    data = read_json(path)
    model = data.get("model")
    if not isinstance(model, dict):
        raise _damaged(path, "it has no model")
    added = [_added(path, entry) for entry in data.get("added_tokens") or ()]
    known = {token.id for token in added} | {token.text for token in added}
    added += [token for token in config_tokens(folder) if not {token.id, token.text} & known]
    vocab = model.get("vocab")
    is_table = isinstance(vocab, dict) and all(type(number) is int for number in vocab.values())
    return TokenizerJson(
        path=path,
        model=str(model.get("type") or "BPE"),
        vocab=vocab if isinstance(vocab, dict) and is_table else {},
        merges=tuple(_merge(path, entry) for entry in model.get("merges") or ()),
        added=tuple(sorted(added, key=lambda token: token.id)),
        byte_fallback=bool(model.get("byte_fallback")),
        ignore_merges=bool(model.get("ignore_merges")),
        unknown=str(model.get("unk_token") or ""),
        normalizers=_flat(data.get("normalizer"), "normalizers"),
        pre_tokenizers=_flat(data.get("pre_tokenizer"), "pretokenizers"),
    )


def config_tokens(folder: ModelFolder) -> list[AddedToken]:
    """The tokens of tokenizer_config.json (added_tokens_decoder) and added_tokens.json, by id."""
    tokens = {}
    for text, number in read_json(folder.path / "added_tokens.json").items():
        if type(number) is int:
            tokens[number] = AddedToken(number, text)
    decoder = folder.tokenizer_config.get("added_tokens_decoder")
    for key, entry in (decoder if isinstance(decoder, dict) else {}).items():
        if str(key).isdecimal() and isinstance(entry, dict) and isinstance(entry.get("content"), str):
            number = int(key)
            special, rstrip = bool(entry.get("special")), bool(entry.get("rstrip"))
            tokens[number] = AddedToken(number, entry["content"], special, rstrip)
    return [tokens[number] for number in sorted(tokens)]


def _added(path: Path, entry: Any) -> AddedToken:
    if (
        not isinstance(entry, dict)
        or type(entry.get("id")) is not int
        or not isinstance(entry.get("content"), str)
    ):
        raise _damaged(path, "an added token has no id or no text")
    return AddedToken(entry["id"], entry["content"], bool(entry.get("special")), bool(entry.get("rstrip")))


def _merge(path: Path, entry: Any) -> tuple[str, str]:
    pair = entry.split(" ", 1) if isinstance(entry, str) else entry
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise _damaged(path, f"the merge {one_line(str(entry))} is no pair of texts")
    return pair[0], pair[1]


def _flat(step: Any, inner: str) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(step, dict):
        return ()
    if step.get("type") == "Sequence":
        return tuple(part for child in step.get(inner) or () for part in _flat(child, inner))
    return (step,)


def _damaged(path: Path, fault: str) -> RolekitError:
    return RolekitError(f"{path.name} is damaged: {fault}.", "Fetch the model's files again.")
