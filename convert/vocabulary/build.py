"""From a model's tokenizer files to the metadata of a vocabulary that is proved to be the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rolekit.convert.metadata import MetaValue
from rolekit.convert.model_folder import ModelFolder
from rolekit.convert.vocabulary import chatglm
from rolekit.convert.vocabulary.bpe import byte_fallback_drafts, byte_level_drafts, prefix_rule, space_drafts
from rolekit.convert.vocabulary.chat_template import chat_templates, template_metadata
from rolekit.convert.vocabulary.proof import Verdict, judge, probe_texts, proved
from rolekit.convert.vocabulary.reference import FastReference, Reference, SentencePieceReference
from rolekit.convert.vocabulary.sentencepiece_model import read_sentencepiece
from rolekit.convert.vocabulary.specials import end_ids, end_keys, special_ids
from rolekit.convert.vocabulary.tokenizer_json import (
    AddedToken,
    TokenizerJson,
    config_tokens,
    read_tokenizer_json,
)
from rolekit.convert.vocabulary.tokens import Draft, TokenType
from rolekit.errors import RolekitError
from rolekit.text import one_line


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What goes into the file, and what the user should know about it."""

    metadata: Mapping[str, MetaValue]
    """tokenizer.* keys, and general.name where llama.cpp looks at it."""
    texts: int
    """How many probe texts were compared."""
    different: int = 0
    """How many llama.cpp splits otherwise than the model does: none, unless that was allowed."""
    notes: tuple[str, ...] = ()


def build_vocabulary(
    folder: ModelFolder, arch: str, rows: int, keys: Mapping[str, MetaValue], *, strict: bool = True
) -> Vocabulary:
    """The vocabulary for an embedding of that many rows; keys is the metadata that it will stand beside.

    strict: without it, the nearest way to write the vocabulary is taken when none is equal, and said so.

    Raises RolekitError when the files are damaged or missing, and when llama.cpp cannot be brought to split every
    probe text as the model's own tokenizer does.
    """
    data = read_tokenizer_json(folder)
    added = data.added if data else tuple(config_tokens(folder))
    if data is None and arch == "chatglm":
        added = chatglm.added_tokens(folder, added)
    reference = FastReference(data) if data else _sentencepiece(folder, arch, added)
    special = [token.text for token in added if token.special and token.id < rows and token.text]
    composed = data is not None and any(step.get("type") == "NFC" for step in data.normalizers)
    words = [token.text for token in added if not token.special and token.id < rows and token.text]
    texts = probe_texts(reference, special, words, composed=composed)
    verdicts, endings = list[Verdict](), list[_Ending]()
    for draft in _drafts(folder, data, arch, rows, added):
        endings.append(_Ending.of(folder, draft, reference))
        full = {**keys, **_keys(keys, draft, endings[-1])}
        fewest = min((len(verdict.different) for verdict in verdicts), default=len(texts))
        verdicts.append(judge(draft, full, texts, endings[-1].ends, fewest + 1))
        if not verdicts[-1].different:
            break
    if not verdicts:
        raise RolekitError(
            f"{folder.path} has no tokenizer that can be converted.", "Put tokenizer.json into it."
        )
    verdict = proved(verdicts, strict=strict)
    return _finished(folder, keys, verdict, endings[verdicts.index(verdict)])


def _keys(keys: Mapping[str, MetaValue], draft: Draft, ending: _Ending) -> dict[str, MetaValue]:
    return {"general.name": draft.name(str(keys.get("general.name", ""))), **draft.metadata(), **ending.keys}


def _finished(
    folder: ModelFolder, keys: Mapping[str, MetaValue], verdict: Verdict, ending: _Ending
) -> Vocabulary:
    draft, notes = verdict.draft, [*verdict.draft.notes, *ending.notes]
    templates = chat_templates(folder)
    if verdict.different:
        notes.append(
            f"llama.cpp splits {len(verdict.different)} of {verdict.texts} probe texts otherwise than the model's "
            f"tokenizer, {one_line(verdict.different[0], 60)!r} for one."
        )
    missed = [draft.tokens[number].text for number in verdict.missed]
    if missed:
        notes.append(
            f"llama.cpp has no place for all the ends of a reply: {', '.join(missed)} will not stop it."
        )
    if "default" not in templates:
        notes.append("The model has no chat template.")
    metadata = {**_keys(keys, draft, ending), **template_metadata(templates)}
    return Vocabulary(metadata, verdict.texts, len(verdict.different), tuple(notes))


def _drafts(
    folder: ModelFolder, data: TokenizerJson | None, arch: str, rows: int, added: Sequence[AddedToken]
) -> Iterator[Draft]:
    model_file = folder.file("tokenizer.model")
    if data is not None and data.model not in ("BPE", "Unigram"):
        raise RolekitError(
            f"llama.cpp's chat models have no {data.model} tokenizer.", "It cannot be converted."
        )
    if data is not None and data.is_byte_level:
        yield from byte_level_drafts(data, arch, rows)
        return
    if model_file is not None:
        model = read_sentencepiece(model_file)
        prefix = prefix_rule(data) if data else ("always" if model.dummy_prefix else "never")
        yield from space_drafts(dict(enumerate(model.pieces)), tuple(added), rows, prefix)
    if data is not None and data.vocab:
        yield from byte_fallback_drafts(data, rows)


def _sentencepiece(folder: ModelFolder, arch: str, added: Sequence[AddedToken]) -> Reference:
    path = folder.file("tokenizer.model")
    if path is None:
        raise RolekitError(
            f"{folder.path} has neither tokenizer.json nor tokenizer.model.",
            "Fetch the tokenizer's files too.",
        )
    pieces = {token.text: number for number, token in enumerate(read_sentencepiece(path).pieces)}
    adds_bos = bool(folder.tokenizer_config.get("add_bos_token", arch != "chatglm"))
    before = special_ids(folder, pieces).get("bos")
    return SentencePieceReference(path, added, [before] if adds_bos and before is not None else [])


@dataclass(frozen=True, slots=True)
class _Ending:
    """The keys that say which tokens begin and end what."""

    keys: Mapping[str, MetaValue]
    ends: tuple[int, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, folder: ModelFolder, draft: Draft, reference: Reference) -> _Ending:
        tokens = draft.tokens
        ids = {
            token.text: number for number, token in enumerate(tokens) if token.type is not TokenType.UNUSED
        }
        ends, named = end_ids(folder, ids), special_ids(folder, ids)
        before, behind = reference.surroundings()
        if len(before) == 1:
            named["bos"] = before[0]
        keys: dict[str, MetaValue] = {
            f"tokenizer.ggml.{kind}_token_id": number for kind, number in named.items()
        }
        keys |= end_keys(ends, {number: token.text for number, token in enumerate(tokens)})
        keys["tokenizer.ggml.add_bos_token"] = len(before) == 1
        keys["tokenizer.ggml.add_eos_token"] = bool(behind) and behind == ends[:1]
        notes = () if ends else ("Neither tokenizer nor generation settings name a token that ends a reply.",)
        return cls(keys, tuple(ends), notes)
