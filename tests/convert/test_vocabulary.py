"""Tokenizers of every kind become vocabularies by which llama.cpp splits text as the model does, or an error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rolekit.convert.model_folder import open_folder
from rolekit.convert.vocabulary import pre_tokenizers
from rolekit.convert.vocabulary.build import Vocabulary, build_vocabulary
from rolekit.convert.vocabulary.chat_template import without_generation_tags
from rolekit.convert.vocabulary.probes import plain_texts
from rolekit.errors import RolekitError

KEYS = {"general.architecture": "llama", "general.name": "tiny"}
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
RULES = {
    names[0]: patterns[-1]
    for patterns, names in pre_tokenizers._KNOWN.items()
    if names[0] not in ("gpt-2", "smollm")
}


def written(folder: Path, tokenizer: Any = None, **files: Mapping[str, Any]) -> Path:
    """folder with a tokenizer and JSON files by their stems."""
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    for stem, values in {"config": {"architectures": ["LlamaForCausalLM"]}, **files}.items():
        (folder / f"{stem}.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


def built(folder: Path, rows: int, arch: str = "llama", *, strict: bool = True) -> Vocabulary:
    return build_vocabulary(open_folder(folder), arch, rows, KEYS, strict=strict)


def byte_level(rule: str, size: int = 700, **model: Any) -> Any:
    """A byte-level BPE tokenizer trained on the probe texts, which cuts them by one of llama.cpp's rules."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, trainers
    from tokenizers import pre_tokenizers as steps

    tokenizer = Tokenizer(models.BPE(**model))
    if rule == "gpt-2":
        tokenizer.pre_tokenizer = steps.ByteLevel(add_prefix_space=False)
    elif rule == "smollm":
        digits = steps.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = steps.Sequence([digits, steps.ByteLevel(add_prefix_space=False)])
    else:
        split = steps.Split(Regex(RULES.get(rule, rule)), "isolated")
        bytes_ = steps.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = steps.Sequence([split, bytes_])
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=steps.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(plain_texts(), trainer)
    return tokenizer


@pytest.fixture(scope="module")
def sentencepiece_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model like Llama's: BPE with 256 bytes to fall back to."""
    from sentencepiece import SentencePieceTrainer

    folder = tmp_path_factory.mktemp("spm")
    text = folder / "text"
    text.write_text("\n".join(probe.replace("\n", " ") for probe in plain_texts()), encoding="utf-8")
    SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=1100,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.98,
        max_sentence_length=100_000,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}


def like_transformers(kind: str, file: Path, folder: Path, **settings: Any) -> Path:
    """folder with the tokenizer.json that a transformers class makes of a SentencePiece file."""
    import transformers

    source = written(folder / "source", tokenizer_config={**LLAMA, "tokenizer_class": kind, **settings})
    shutil.copy(file, source / "tokenizer.model")
    tokenizer = getattr(transformers, kind).from_pretrained(str(source), **settings)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|end|>"]})
    tokenizer.save_pretrained(str(folder))
    return written(
        folder, generation_config={"eos_token_id": [2, tokenizer.convert_tokens_to_ids("<|user|>")]}
    )


@pytest.mark.parametrize("rule", ["gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2"])
def test_byte_level_rules_are_found_and_proved(rule: str, tmp_path: Path) -> None:
    pattern = "llama-bpe" if rule == "smaug-bpe" else rule
    tokenizer = byte_level(pattern, ignore_merges=rule == "llama-bpe")
    vocabulary = built(written(tmp_path, tokenizer), 700)
    assert vocabulary.metadata["tokenizer.ggml.pre"] == rule
    assert vocabulary.texts > 400
    assert vocabulary.different == 0


def test_a_rule_in_another_spelling_is_found_by_trial(tmp_path: Path) -> None:
    respelled = RULES["qwen2"].replace(r"\p{N}|", r"\p{N}{1}|", 1)
    vocabulary = built(written(tmp_path, byte_level(respelled)), 700)
    assert (
        vocabulary.different == 0
    )  # which of the rules it is does not matter where they agree on every token


def test_a_rule_that_llama_cpp_lacks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match=r"llama.cpp would split .* probe texts otherwise"):
        built(written(tmp_path, byte_level(r"[a-m]+|[^a-m]+")), 700)


def test_tekken_is_refused_with_the_texts_that_differ_unless_that_is_accepted(tmp_path: Path) -> None:
    folder = written(tmp_path, byte_level("tekken", ignore_merges=True))
    with pytest.raises(RolekitError, match="'tekken' comes closest"):
        built(folder, 700)
    vocabulary = built(folder, 700, strict=False)
    assert vocabulary.metadata["tokenizer.ggml.pre"] == "tekken"
    assert 0 < vocabulary.different < vocabulary.texts / 5
    assert "splits" in " ".join(vocabulary.notes)


def test_sentencepiece_alone(tmp_path: Path, sentencepiece_file: Path) -> None:
    folder = written(tmp_path, tokenizer_config=LLAMA)
    shutil.copy(sentencepiece_file, folder / "tokenizer.model")
    keys = built(folder, 1100).metadata
    assert (keys["tokenizer.ggml.model"], keys["tokenizer.ggml.add_space_prefix"]) == ("llama", True)
    assert (keys["tokenizer.ggml.bos_token_id"], keys["tokenizer.ggml.eos_token_id"]) == (1, 2)
    assert keys["tokenizer.ggml.add_bos_token"] is True


@pytest.mark.parametrize("with_model", [False, True], ids=["tokenizer.json alone", "and tokenizer.model"])
@pytest.mark.parametrize(
    ("kind", "settings", "prefix", "said"),
    [
        ("LlamaTokenizer", {"legacy": True}, True, "one that begins with a space"),
        ("LlamaTokenizer", {"legacy": False}, False, "Chats are not affected"),
        ("GemmaTokenizer", {}, False, ""),
    ],
    ids=["llama-legacy", "llama", "gemma"],
)
def test_sentencepiece_by_tokenizer_json(
    kind: str,
    settings: dict[str, Any],
    prefix: bool,
    said: str,
    with_model: bool,
    tmp_path: Path,
    sentencepiece_file: Path,
) -> None:
    folder = like_transformers(kind, sentencepiece_file, tmp_path, **settings)
    if with_model:
        shutil.copy(sentencepiece_file, folder)
    vocabulary = built(folder, 1110)
    assert vocabulary.metadata["tokenizer.ggml.add_space_prefix"] is prefix
    assert said in " ".join(vocabulary.notes)
    assert vocabulary.texts > 200


def test_blanks_behind_control_tokens_are_stripped_where_phi_3_does(tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    base = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=base[:3],
        initial_alphabet=list("abc▁"),
        show_progress=False,
        limit_alphabet=80,
    )
    tokenizer.train_from_iterator(["a b c abc ab"], trainer)
    data = json.loads(tokenizer.to_str())
    vocab = {text: number for number, text in enumerate([*base, *"▁abcdefghijklmnopqrstuvwxyz"])}
    data["model"] |= {"vocab": vocab, "merges": []}
    data["added_tokens"] = [
        {**data["added_tokens"][number], "rstrip": text == "</s>"} for number, text in enumerate(base[:3])
    ]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    rstripped = [
        AddedToken(f"<|{name}|>", special=True, rstrip=True, normalized=False) for name in ("user", "end")
    ]
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False), *rstripped])
    vocabulary = built(written(tmp_path, tokenizer), len(vocab) + 3)
    assert vocabulary.metadata["general.name"] == "tiny phi-3"
    assert vocabulary.different == 0


def test_a_name_that_llama_cpp_reads_too_much_into_is_changed(tmp_path: Path) -> None:
    folder = open_folder(written(tmp_path, byte_level("gpt-2")))
    keys = {**KEYS, "general.name": "my-Phi3-for-llama"}
    assert build_vocabulary(folder, "llama", 700, keys).metadata["general.name"] == "my-Phi 3-for-llama"


def test_every_end_of_a_reply_stops_llama_cpp(tmp_path: Path) -> None:
    tokenizer = byte_level("gpt-2")
    tokenizer.add_special_tokens(["<|user|>", "<|observation|>", "<|third|>"])
    folder = written(
        tmp_path,
        tokenizer,
        tokenizer_config={"eos_token": "<|im_end|>"},
        generation_config={"eos_token_id": [2, 0, 700, 701]},
    )
    vocabulary = built(folder, 703)
    keys = vocabulary.metadata
    assert [keys[f"tokenizer.ggml.{name}_token_id"] for name in ("eos", "eot", "eom")] == [2, 700, 701]
    assert "will not stop" not in " ".join(vocabulary.notes)
    written(folder, generation_config={"eos_token_id": [2, 700, 701, 702]})
    assert "<|third|> will not stop it" in " ".join(built(folder, 703).notes)


def test_rows_without_a_token_and_tokens_without_a_row(tmp_path: Path) -> None:
    tokenizer = byte_level("gpt-2")
    folder = written(tmp_path, tokenizer)
    vocabulary = built(folder, 707)
    assert vocabulary.metadata["tokenizer.ggml.tokens"][700:] == tuple(
        f"[PAD{number}]" for number in range(700, 707)
    )
    assert "7 rows" in vocabulary.notes[0]
    tokenizer.add_tokens(["<new>"])
    vocabulary = built(written(tmp_path, tokenizer), 700)
    assert "<new>" not in vocabulary.metadata["tokenizer.ggml.tokens"]
    assert "no row for 1 added" in vocabulary.notes[0]
    with pytest.raises(RolekitError, match="701 tokens, and the embedding only 600 rows"):
        built(folder, 600)


def test_added_tokens_are_one_id_each(tmp_path: Path) -> None:
    tokenizer = byte_level("gpt-2")
    tokenizer.add_tokens(["<tool_call>", "Sherlock"])
    keys = built(written(tmp_path, tokenizer), 702).metadata
    kinds = dict(zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"], strict=True))
    assert (kinds["<tool_call>"], kinds["Sherlock"], kinds["<|im_end|>"], kinds["a"]) == (4, 4, 3, 1)


def test_bos_follows_the_post_processor(tmp_path: Path) -> None:
    from tokenizers import processors

    tokenizer = byte_level("gpt-2")
    assert built(written(tmp_path, tokenizer), 700).metadata["tokenizer.ggml.add_bos_token"] is False
    begin = [("<|im_start|>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing("<|im_start|> $A", special_tokens=begin)
    keys = built(written(tmp_path, tokenizer), 700).metadata
    assert keys["tokenizer.ggml.add_bos_token"] is True
    assert keys["tokenizer.ggml.bos_token_id"] == 1


def test_the_template_goes_along(tmp_path: Path) -> None:
    tokenizer = byte_level("gpt-2")
    folder = written(tmp_path, tokenizer, tokenizer_config={"chat_template": TEMPLATE})
    assert built(folder, 700).metadata["tokenizer.chat_template"] == TEMPLATE
    (folder / "chat_template.jinja").write_text("{%- generation -%} a {%- endgeneration %}", encoding="utf-8")
    assert built(folder, 700).metadata["tokenizer.chat_template"] == "{%- if true -%} a {%- endif %}"
    many = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    (folder / "chat_template.jinja").unlink()
    keys = built(written(folder, tokenizer_config={"chat_template": many}), 700).metadata
    assert (keys["tokenizer.chat_template"], keys["tokenizer.chat_template.tool_use"]) == ("d", "t")
    (folder / "tokenizer_config.json").unlink()
    assert "no chat template" in built(folder, 700).notes[-1]


def test_generation_tags_leave_the_text_as_it_was() -> None:
    from jinja2 import Environment

    source = "a {% generation %}\n b {{ x }} {%- endgeneration -%}\n c"
    plain = Environment().from_string(without_generation_tags(source)).render(x=1)
    assert plain == "a \n b 1c"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: "{", "no JSON text"),
        (lambda data: json.dumps([1]), "holds no table"),
        (lambda data: json.dumps({**data, "model": 3}), "it has no model"),
        (lambda data: json.dumps({**data, "added_tokens": [{"id": "x"}]}), "no id or no text"),
        (lambda data: json.dumps({**data, "model": {**data["model"], "merges": ["ab"]}}), "no pair of texts"),
        (lambda data: json.dumps({**data, "decoder": {"type": "Nonsense"}}), "cannot be read by the tokenizers"),
        (lambda data: json.dumps({**data, "model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a",
                                                     "continuing_subword_prefix": "#", "max_input_chars_per_word": 9}}),
         "no WordPiece tokenizer"),
    ],
    ids=["cut off", "a list", "no model", "token", "merge", "unknown part", "WordPiece"],
)  # fmt: skip
def test_a_damaged_tokenizer_is_one_sentence(change: Any, sentence: str, tmp_path: Path) -> None:
    folder = written(tmp_path, byte_level("gpt-2"))
    data = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    (folder / "tokenizer.json").write_text(change(data), encoding="utf-8")
    with pytest.raises(RolekitError, match=sentence):
        built(folder, 700)


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match=r"neither tokenizer.json nor tokenizer.model"):
        built(written(tmp_path), 700)
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x05hello, I am no model")
    with pytest.raises(RolekitError, match="no SentencePiece model"):
        built(tmp_path, 700)
