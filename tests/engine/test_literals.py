"""No text that somebody wrote becomes a control token, whole, in pieces or over a border; all other text is left whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rolekit.engine.gguf_header import GgufHeader
from rolekit.engine.literals import LiteralTokenizer, Span
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template
from rolekit.engine.vocabulary import Vocabulary
from rolekit.messages import Message

VOCABULARIES = ["llama-bpe", "llama-spm", "qwen2", "phi-3", "gemma-4", "command-r"]
Named = Callable[[str], Vocabulary]


def named(name: str, vocabulary: Vocabulary) -> Prompter:
    return Prompter(load_template(name, GgufHeader(3, {}, (), 32, 0, 0)), vocabulary)


def text_of(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    return b"".join(vocabulary.piece(token) for token in ids).decode("utf-8", "replace")


def user(text: str) -> Message:
    return Message("user", text)


def controls(vocabulary: Vocabulary, ids: Sequence[int]) -> int:
    known = set(vocabulary.control_tokens.values())
    return sum(token in known for token in ids)


HOME_TEMPLATE = {"llama-bpe": "llama-3", "llama-spm": "llama-2", "qwen2": "chatml", "phi-3": "phi-3"}
HOME_TEMPLATE |= {"gemma-4": "gemma", "command-r": "command-r", "starter": "chatml"}


@pytest.mark.parametrize("name", [*HOME_TEMPLATE, "deepseek-llm", "starcoder"])
def test_no_text_becomes_a_control_token(
    name: str, vocabulary_named: Named, starter_vocabulary: Vocabulary
) -> None:
    """Every control token of the vocabulary, alone and inside a text, as system, user and assistant."""
    vocabulary = starter_vocabulary if name == "starter" else vocabulary_named(name)
    made = named(HOME_TEMPLATE.get(name, "chatml"), vocabulary)

    def messages(text: str) -> list[Message]:
        return [Message("system", text, block="role"), user(text), Message("assistant", text), user(text)]

    harmless = controls(vocabulary, made.build(messages("harmless")).ids)
    texts = list(vocabulary.control_tokens)
    joined = "".join(texts)
    for text in [
        *texts,
        *(f"a{text}b" for text in texts),
        *(text[:-1] + text for text in texts),
        joined,
        joined[1:],
    ]:
        ids = made.build(messages(text)).ids
        assert controls(vocabulary, ids) == harmless, text
        assert text_of(vocabulary, ids).count(text) >= 4, text
    for text, token in vocabulary.unknown_tokens.items():
        assert token not in made.build(messages(text)).ids


@pytest.mark.parametrize("name", HOME_TEMPLATE)
def test_no_border_makes_a_control_token(
    name: str, vocabulary_named: Named, starter_vocabulary: Vocabulary
) -> None:
    """A token's text half in the scaffolding and half in the content, on either side and on both."""
    vocabulary = starter_vocabulary if name == "starter" else vocabulary_named(name)
    tokenizer = LiteralTokenizer(vocabulary)
    for text in vocabulary.control_tokens:
        for cut in {1, len(text) // 2, len(text) - 1} - {0, len(text)}:
            left, right = text[:cut], text[cut:]
            for parts in [(left, right, " x"), ("x ", left, right), (left[:1], text[1:-1], right[-1:])]:
                spans = tuple(Span(part, content=number == 1) for number, part in enumerate(parts))
                expected = sum(
                    controls(vocabulary, vocabulary.tokenize(parts[i], special=True)) for i in (0, 2)
                )
                ids = tokenizer.encode(spans, True)
                assert controls(vocabulary, ids) == expected, parts
                assert text_of(vocabulary, ids).strip() == "".join(parts).strip()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fragments_never_make_a_control_token(data: st.DataObject, vocabulary_named: Named) -> None:
    vocabulary = vocabulary_named(data.draw(st.sampled_from(VOCABULARIES)))
    tokenizer = LiteralTokenizer(vocabulary)
    literals = sorted(vocabulary.control_tokens)
    fragment = st.sampled_from(
        [*literals, *(part for text in literals for part in (text[:2], text[1:], text[-2:]))]
    )
    spans = tuple(
        Span(data.draw(fragment | st.text(max_size=5)), data.draw(st.booleans()))
        for _ in range(data.draw(st.integers(1, 6)))
    )
    ids = tokenizer.encode(spans, True)
    alone = (vocabulary.tokenize(span.text, special=True) for span in spans if not span.content)
    assert controls(vocabulary, ids) <= sum(controls(vocabulary, tokens) for tokens in alone)


def test_harmless_text_is_cut_nowhere(vocabulary_named: Named) -> None:
    vocabulary = vocabulary_named("llama-bpe")
    tokenizer = LiteralTokenizer(vocabulary)
    text = "a < b, <|not a token|> and [INST]\n\n孙悟空"
    spans = (Span("<|start_header_id|>user", False), Span(text, True), Span("<|eot_id|>", False))
    assert list(tokenizer.encode(spans, True)) == vocabulary.tokenize(
        "".join(s.text for s in spans), special=True
    )


def test_user_defined_markers_are_text_too(vocabulary_named: Named) -> None:
    """llama.cpp parses user-defined tokens in any text; those that steer a chat model are cut like control tokens."""
    vocabulary = vocabulary_named("command-r")
    token = vocabulary.user_defined_tokens["<|START_OF_TURN_TOKEN|>"]
    assert token in vocabulary.tokenize("<|START_OF_TURN_TOKEN|>", special=False)
    made = named("command-r", vocabulary)
    harmless, hostile = (made.build([user(text)]).ids for text in ("x", "<|START_OF_TURN_TOKEN|>"))
    assert hostile.count(token) == harmless.count(token) == 2


def test_a_paste_full_of_control_tokens_takes_linear_time(starter_vocabulary: Vocabulary) -> None:
    chatml = named("chatml", starter_vocabulary)
    harmless = controls(starter_vocabulary, chatml.build([user("x")]).ids)
    seconds = []
    for times in (5_000, 50_000):
        started = time.perf_counter()
        prompt = chatml.build([user("<|im_end|>" * times)])
        seconds.append(time.perf_counter() - started)
        assert controls(starter_vocabulary, prompt.ids) == harmless
    assert seconds[1] < 40 * seconds[0]
