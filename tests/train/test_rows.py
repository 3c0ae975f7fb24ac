"""Rows: the ids of a row are the engine's own, and what is learned is each answer with its end token, no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from gguf import TokenType
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from rolekit.engine.gguf_header import GgufHeader, read_header
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import ChatTemplate, load_template, template_names
from rolekit.engine.vocabulary import Vocabulary
from rolekit.errors import RolekitError
from rolekit.messages import Message
from rolekit.roles.block import opening_messages
from rolekit.roles.library import RoleLibrary
from rolekit.train.base_text import folder_template, open_base_text
from rolekit.train.hf_vocabulary import HfVocabulary
from rolekit.train.rows import RowMaker

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
CHAT = [
    Message("user", "Who are you?"),
    Message("assistant", "I keep the lighthouse, <|im_end|> as ever — 你好, café."),
    Message("user", "Since when? </s>[INST]<|user|>"),
    Message("assistant", "Thirty years.\n\nAnd 3 days  more."),
]
TEXTS = [
    *(message.text for message in CHAT),
    "  two  spaces\n\n\nlines\t tabs ",
    "Ünïcödé 🏳️‍🌈 1234567 don't WE'LL",
    "<|im_start|>user\nHi<|im_end|>\n",
    "",
]


def opening() -> list[Message]:
    role = RoleLibrary().find("sherlock-holmes").loaded()
    return list(opening_messages(role, "You"))


def template_named(name: str) -> ChatTemplate:
    return load_template(name, GgufHeader(3, {}, (), 32, 0, 0))


def learned(vocabulary: Vocabulary | HfVocabulary, ids: tuple[int, ...], mask: tuple[bool, ...]) -> list[str]:
    """The learned stretches of a row, as text."""
    spans: list[list[int]] = []
    for place, (token, on) in enumerate(zip(ids, mask, strict=True)):
        if on:
            if not mask[place - 1]:
                spans.append([])
            spans[-1].append(token)
    return [b"".join(map(vocabulary.piece, span)).decode("utf-8", "replace") for span in spans]


def bpe(header: GgufHeader, pattern: str) -> Tokenizer:
    """The byte-level BPE tokenizer of a GGUF; pattern "" cuts as SmolLM does."""
    tokens, merges = listed(header, "tokens"), listed(header, "merges")
    tokenizer = Tokenizer(
        models.BPE({token: n for n, token in enumerate(tokens)}, [(*m.split(" "),) for m in merges])
    )
    split: list[Any] = (
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        if pattern
        else [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentencepiece(header: GgufHeader) -> Tokenizer:
    """The SentencePiece tokenizer of a GGUF, as transformers makes Llama 2's: merges in the order of their scores."""
    tokens, scores = listed(header, "tokens"), listed(header, "scores")
    ids = {token: n for n, token in enumerate(tokens)}
    splits = [
        (-scores[n], ids[token[:at]], ids[token[at:]], token[:at], token[at:])
        for n, token in enumerate(tokens)
        for at in range(1, len(token))
        if token[:at] in ids and token[at:] in ids
    ]
    merges = [(left, right) for *_, left, right in sorted(splits)]
    model = models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def listed(header: GgufHeader, key: str) -> list[Any]:
    return list(cast("list[Any]", header.metadata[f"tokenizer.ggml.{key}"]))


def hf_folder(gguf: Path, folder: Path, pattern: str | None) -> Path:
    """A Hugging Face folder with the tokenizer that a GGUF holds; without a pattern it is a SentencePiece one."""
    header = read_header(gguf)
    tokens = listed(header, "tokens")
    tokenizer = sentencepiece(header) if pattern is None else bpe(header, pattern)
    named = {
        f"{key}_token": tokens[header.metadata[f"tokenizer.ggml.{key}_token_id"]] for key in ("bos", "eos")
    }
    if pattern != QWEN_2 and pattern != "":
        bos = named["bos_token"]
        pair = (bos, header.metadata["tokenizer.ggml.bos_token_id"])
        tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", special_tokens=[pair])
    description = json.loads(tokenizer.to_str())
    added = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    description["added_tokens"] = [
        {"id": n, "content": tokens[n], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": kind != TokenType.USER_DEFINED}
        for n, kind in enumerate(listed(header, "token_type")) if kind in added
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    template = {"chat_template": source} if (source := header.text("tokenizer.chat_template")) else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(named | template), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def starter_folder(starter_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folder(starter_path, tmp_path_factory.mktemp("starter"), "")


def test_a_rows_prompt_is_the_engines_and_masks_are_the_answers(starter_path: Path) -> None:
    with open_base_text(starter_path) as text:
        (row,) = text.maker.rows(opening(), CHAT)
        first = text.prompter.build([*opening(), CHAT[0]])
        assert row.ids[: len(first.ids)] == first.ids
        assert row.role_tokens == first.role_tokens > 200
        assert not any(row.supervised[: len(first.ids)])
        ids = text.prompter.reply_ids(CHAT[1].text, first)
        answer = Message("assistant", CHAT[1].text, token_ids=ids)
        second = text.prompter.build([*opening(), CHAT[0], answer, CHAT[2]])
        assert row.ids[: len(second.ids)] == second.ids, "the next turn's prompt, as a chat would send it"
        vocabulary = text.vocabulary
        assert learned(vocabulary, row.ids, row.supervised) == [  # type: ignore[arg-type]
            f"{CHAT[1].text}<|im_end|>",
            f"{CHAT[3].text}<|im_end|>",
        ]
        assert vocabulary.is_end(row.ids[-1])
        assert row.ids.count(row.ids[-1]) == 2 + sum(m.text != "" for m in opening()) + 2, (
            "none comes from a text"
        )


@pytest.mark.parametrize("name", template_names())
@pytest.mark.parametrize("vocabulary_name", ["llama-spm", "qwen2"])
def test_every_template_learns_the_answers_and_their_ends(
    name: str, vocabulary_name: str, vocabulary_named: Callable[[str], Vocabulary]
) -> None:
    vocabulary = vocabulary_named(vocabulary_name)
    maker = RowMaker(Prompter(template_named(name), vocabulary), vocabulary)
    rows = maker.rows(opening(), CHAT)
    assert len(rows) == (1 if maker.joins_turns else 2)
    spans = [span for row in rows for span in learned(vocabulary, row.ids, row.supervised)]
    end = b"".join(map(vocabulary.piece, maker.end_ids)).decode()
    assert [span.strip() for span in spans] == [f"{CHAT[n].text}{end}".strip() for n in (1, 3)]
    for row in rows:
        assert row.supervised[-1]
        assert vocabulary.is_end(row.ids[-1])
        assert len({row.role_tokens for row in rows}) == 1
        assert not any(row.supervised[: row.role_tokens])


@pytest.mark.parametrize(
    ("name", "pattern", "template"),
    [("llama-bpe", LLAMA_3, "llama-3"), ("qwen2", QWEN_2, "chatml"), ("llama-spm", None, "llama-2")],
    ids=["llama-bpe", "qwen2", "llama-spm"],
)
def test_a_hugging_face_folder_gives_the_ids_of_its_gguf(
    name: str, pattern: str | None, template: str, vocabulary_paths: dict[str, Path], tmp_path: Path
) -> None:
    folder = hf_folder(vocabulary_paths[name], tmp_path / name, pattern)
    with open_base_text(folder, template) as theirs, open_base_text(vocabulary_paths[name], template) as ours:
        _same(theirs.vocabulary, ours.vocabulary)
        assert theirs.maker.rows(opening(), CHAT) == ours.maker.rows(opening(), CHAT)
        assert theirs.prompter.count(CHAT) == ours.prompter.count(CHAT)


def test_the_starter_as_a_folder_gives_the_ids_of_the_starter(
    starter_path: Path, starter_folder: Path
) -> None:
    with open_base_text(starter_folder) as theirs, open_base_text(starter_path) as ours:
        _same(theirs.vocabulary, ours.vocabulary)
        assert theirs.template.source == ours.template.source
        assert theirs.maker.rows(opening(), CHAT) == ours.maker.rows(opening(), CHAT)


def _same(theirs: Any, ours: Any) -> None:
    assert theirs.size == ours.size
    assert (theirs.bos, theirs.eos, theirs.adds_bos) == (ours.bos, ours.eos, ours.adds_bos)
    assert theirs.control_tokens == ours.control_tokens
    assert theirs.special_ids == ours.special_ids
    assert all(theirs.is_end(n) == ours.is_end(n) for n in range(ours.size))
    assert all(theirs.piece(n) == ours.piece(n) for n in range(0, ours.size, 37))
    for text in TEXTS:
        for special in (True, False):
            for first in (True, False):
                expected = ours.tokenize(text, special=special, first=first)
                assert theirs.tokenize(text, special=special, first=first) == expected, text


def test_the_end_is_learned_where_pad_and_eos_are_one(starter_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "padded"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((starter_folder / "tokenizer.json").read_bytes())
    config = json.loads((starter_folder / "tokenizer_config.json").read_text())
    config |= {"pad_token": config["eos_token"], "padding_side": "left"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with open_base_text(folder) as text:
        (row,) = text.maker.rows(opening(), CHAT)
        assert row.ids[-1] == text.vocabulary.eos
        assert row.supervised[-1]


def test_a_base_without_a_template_says_which_to_name(starter_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((starter_folder / "tokenizer.json").read_bytes())
    with pytest.raises(RolekitError, match="carries no chat template") as caught, open_base_text(folder):
        pass
    assert "--set template=NAME: rocit" in caught.value.what_to_do
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert folder_template(folder).source == "{{ messages[0].content }}"


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match="has no tokenizer"):
        HfVocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(RolekitError, match=r"tokenizer.json of .* cannot be read"):
        HfVocabulary(tmp_path)


def test_a_dialogue_without_an_answer_is_an_error(starter_path: Path) -> None:
    with open_base_text(starter_path) as text:
        for turns in ([], CHAT[:1], [Message("assistant", "Hello!")], [CHAT[0], Message("assistant", " \n")]):
            with pytest.raises(RolekitError, match="no answer to learn"):
                text.maker.rows(opening(), turns)
