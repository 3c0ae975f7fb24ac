"""Prompts: every template says every word once, in order, and the same tokens in every later turn."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rolekit.engine.gguf_header import GgufHeader, read_header
from rolekit.engine.prompt import Prompt, Prompter
from rolekit.engine.templates import ChatTemplate, load_template
from rolekit.engine.vocabulary import Vocabulary
from rolekit.errors import RolekitError
from rolekit.messages import Block, Message, Speaker

VOCABULARIES = ["llama-bpe", "llama-spm", "qwen2", "phi-3", "gemma-4", "command-r"]
ROLE = (
    Message("system", "You are Sherlock Holmes.\n\nStay in character.", block="role"),
    Message("assistant", "Good day. What brings you here?", block="greeting"),
)
Named = Callable[[str], Vocabulary]


def named(name: str, vocabulary: Vocabulary) -> Prompter:
    return Prompter(load_template(name, GgufHeader(3, {}, (), 32, 0, 0)), vocabulary)


def text_of(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    return b"".join(vocabulary.piece(token) for token in ids).decode("utf-8", "replace")


def user(text: str) -> Message:
    return Message("user", text)


def reply(vocabulary: Vocabulary, text: str) -> Message:
    """What a model might have generated: its ids need not be those that the text would get."""
    ids = [token for part in text.split() for token in vocabulary.tokenize(" " + part, special=False)]
    return Message("assistant", text, token_ids=tuple(ids))


@pytest.fixture
def chatml(starter_vocabulary: Vocabulary) -> Prompter:
    return named("chatml", starter_vocabulary)


def turns(
    prompter: Prompter, vocabulary: Vocabulary, says: Sequence[str]
) -> Iterator[tuple[Prompt, Message, list[Message]]]:
    """Prompt, reply and history of a chat that goes on for three turns."""
    history = list(ROLE)
    for number, text in enumerate(says):
        history.append(user(text))
        answer = reply(vocabulary, f"Indeed, answer {number}.")
        yield prompter.build(history), answer, list(history)
        history.append(answer)


SAYS = ("Who are you?", "Who is Watson?", "Good bye!")


@pytest.mark.parametrize("vocabulary_name", ["llama-bpe", "llama-spm", "qwen2"])
def test_every_template_says_everything_once_in_order(
    vocabulary_name: str,
    all_templates: dict[str, ChatTemplate],
    prompter: Callable[[str, str], Prompter],
    vocabulary_named: Named,
) -> None:
    vocabulary = vocabulary_named(vocabulary_name)
    assert len(all_templates) > 80
    for name in all_templates:
        made = prompter(name, vocabulary_name)
        before: tuple[int, ...] = ()
        role: set[tuple[int, ...]] = set()
        for prompt, answer, history in turns(made, vocabulary, SAYS):
            text, place = text_of(vocabulary, prompt.ids), 0
            for message in history:
                content = text_of(vocabulary, message.token_ids) or message.text
                assert text.count(content) == 1, (name, content)
                assert text.index(content) >= place, (name, content)
                place = text.index(content) + len(content)
            assert place < len(text), f"{name} asks for no reply"
            assert prompt.ids[: len(before)] == before, f"{name} changes what was read"
            if vocabulary.bos is not None:
                assert prompt.ids[:2].count(vocabulary.bos) <= 1, f"{name} begins twice"
                assert not vocabulary.adds_bos or prompt.ids[0] == vocabulary.bos, f"{name} does not begin"
            costs = made.count(history)
            assert sum(costs) == len(prompt.ids), name
            assert all(cost > 0 for cost in costs), name
            assert 0 < prompt.role_tokens < len(prompt.ids), name
            role.add(prompt.ids[: prompt.role_tokens])
            before = (*prompt.ids[: prompt.history_tokens], *answer.token_ids)
            assert made.opens_thinking or prompt.history_tokens == len(prompt.ids), name
        assert len(role) == 1, name


@pytest.mark.parametrize("vocabulary_name", ["llama-bpe", "llama-spm", "qwen2", "phi-3"])
def test_harmless_text_gets_the_ids_of_the_whole_text(
    vocabulary_name: str,
    all_templates: dict[str, ChatTemplate],
    prompter: Callable[[str, str], Prompter],
    vocabulary_named: Named,
) -> None:
    """Ids equal those of the template's plain rendering in one piece, as Hugging Face and llama.cpp make them."""
    vocabulary = vocabulary_named(vocabulary_name)
    talk = [
        ("system", "You are Holmes."),
        ("user", "Hi! 你好"),
        ("assistant", "Yes?\n\nNo."),
        ("user", "*waves* It's me"),
    ]
    messages = [Message(speaker, text) for speaker, text in talk]  # type: ignore[arg-type]
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["strftime_now"] = datetime(2024, 7, 26).strftime
    environment.filters |= {"tojson": lambda value, *_, **__: str(value), "from_json": str}
    equal = 0
    for name, template in all_templates.items():
        if re.search(r"\{%-?\s*generation", template.source):
            continue
        plain = environment.from_string(template.source)
        bos = vocabulary.text(vocabulary.bos)
        try:
            text = plain.render(
                messages=[{"role": speaker, "content": content} for speaker, content in talk],
                add_generation_prompt=True,
                bos_token=bos,
                eos_token=vocabulary.text(vocabulary.eos),
                tools=None,
                documents=None,
                raise_exception=lambda message: 1 / 0,
            )
        except (ZeroDivisionError, TypeError, UndefinedError):
            continue  # no system role, or no way without tools
        if not all(text.count(content) == 1 for _, content in talk) or text.index(talk[0][1]) > text.index(
            talk[1][1]
        ):
            continue
        made = prompter(name, vocabulary_name)
        if made.opens_thinking:
            continue  # the tag is tokenized apart
        starts = text.startswith(bos)
        ids = vocabulary.tokenize(text.removeprefix(bos), special=True, first=True)
        begin = [vocabulary.bos] if starts or vocabulary.adds_bos else []
        assert made.build(messages).ids == (*begin, *ids), name
        equal += 1
    assert equal >= 25


@pytest.mark.parametrize(
    ("template", "vocabulary_name"),
    [
        ("rolekit chatml", "qwen2"),
        ("Qwen-Qwen3-0.6B", "qwen2"),
        ("meta-llama-Llama-3.1-8B-Instruct", "llama-bpe"),
        ("rolekit llama-2", "llama-spm"),
        ("rolekit mistral", "llama-spm"),
        ("rolekit vicuna", "llama-spm"),
        ("rolekit alpaca", "llama-spm"),
        ("rolekit rocit", "llama-spm"),
        ("rolekit phi-3", "phi-3"),
        ("google-gemma-4-31B-it", "gemma-4"),
        ("rolekit gemma", "gemma-4"),
        ("rolekit command-r", "command-r"),
    ],
)
@pytest.mark.parametrize("says", ["Who?", '"Hm"', "孙", "*waves*", "123"])
def test_the_cut_behind_the_role_changes_no_id(
    template: str, vocabulary_name: str, says: str, prompter: Callable[[str, str], Prompter]
) -> None:
    made = prompter(template, vocabulary_name)
    for role in (ROLE, ROLE[:1]):
        cut, whole = (
            made.build([*role, user(says)]),
            made.build([*(replace(m, block="turn") for m in role), user(says)]),
        )
        assert cut.ids == whole.ids
        assert cut.role_tokens > 0 == whole.role_tokens


def test_the_starters_own_template(starter_path: Path, starter_vocabulary: Vocabulary) -> None:
    made = Prompter(load_template(None, read_header(starter_path)), starter_vocabulary)
    prompt = made.build([*ROLE, user("Hi")])
    assert text_of(starter_vocabulary, prompt.ids) == (
        f"<|im_start|>system\n{ROLE[0].text}<|im_end|>\n<|im_start|>assistant\n{ROLE[1].text}<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert text_of(starter_vocabulary, prompt.ids[prompt.role_tokens :]).startswith("Hi<|im_end|>")
    assert not made.opens_thinking


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_was_read_is_never_read_again(
    data: st.DataObject,
    all_templates: dict[str, ChatTemplate],
    prompter: Callable[[str, str], Prompter],
    vocabulary_named: Named,
) -> None:
    name = data.draw(st.sampled_from(sorted(all_templates)))
    vocabulary_name = data.draw(st.sampled_from(VOCABULARIES))
    vocabulary, made = vocabulary_named(vocabulary_name), prompter(name, vocabulary_name)
    blocks: list[tuple[Speaker, Block]] = [("system", "role"), ("user", "example"), ("assistant", "example")]
    blocks = data.draw(st.sampled_from([[], blocks[:1], blocks, [*blocks, ("assistant", "greeting")]]))
    text = st.text(max_size=30) | st.sampled_from([*vocabulary.control_tokens])
    history = [Message(speaker, data.draw(text), block=block) for speaker, block in blocks]
    before: tuple[int, ...] = ()
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.integers(0, 5)) == 0:
            history.append(Message("system", data.draw(text), block="note"))
        history.append(user(data.draw(text)))
        prompt = made.build(history)
        assert prompt.ids[: len(before)] == before
        assert sum(made.count(history)) == len(prompt.ids)
        ids = data.draw(st.lists(st.integers(0, vocabulary.size - 1), min_size=1, max_size=9))
        history.append(Message("assistant", "", token_ids=tuple(ids)))
        before = (*prompt.ids[: prompt.history_tokens], *ids)
        assert made.build(history, continue_last=True).ids == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_role_tokens_do_not_depend_on_the_user(
    data: st.DataObject, all_templates: dict[str, ChatTemplate], prompter: Callable[[str, str], Prompter]
) -> None:
    name = data.draw(st.sampled_from(sorted(all_templates)))
    made = prompter(name, data.draw(st.sampled_from(VOCABULARIES)))
    role = list(data.draw(st.sampled_from([ROLE, ROLE[:1], ROLE[1:]])))
    texts = st.text(max_size=20) | st.sampled_from(["\n", "</s>", "<|im_end|>", " x", "éé"])
    first, second = (
        made.build([*role, user(data.draw(texts)), *more])
        for more in ([], [Message("assistant", "x"), user("y")])
    )
    assert first.role_tokens == second.role_tokens > 0
    assert first.ids[: first.role_tokens] == second.ids[: first.role_tokens]
    alone = made.build(role)
    assert alone.ids[: first.role_tokens] == first.ids[: first.role_tokens]
    assert alone.role_tokens == first.role_tokens
    assert made.build([user("x")]).role_tokens == 0


def test_exactly_one_bos_where_the_vocabulary_wants_one(vocabulary_named: Named) -> None:
    for vocabulary_name, name, begins in [
        ("llama-bpe", "llama-3", True),  # the template writes it
        ("llama-bpe", "chatml", True),  # the template does not
        ("llama-spm", "mistral", True),
        ("gemma-4", "gemma", True),
        ("qwen2", "chatml", False),
    ]:
        vocabulary = vocabulary_named(vocabulary_name)
        ids = named(name, vocabulary).build([user("Hi"), Message("assistant", "Ho"), user("Hi")]).ids
        assert ids.count(vocabulary.bos) == begins, (vocabulary_name, name)  # type: ignore[arg-type]
        assert (ids[0] == vocabulary.bos) == begins


def test_no_space_slips_in_between_chunks(vocabulary_named: Named) -> None:
    vocabulary = vocabulary_named("llama-spm")
    made = named("alpaca", vocabulary)
    answer = Message("assistant", "Yes", token_ids=tuple(vocabulary.tokenize("Yes", special=False)))
    text = text_of(vocabulary, made.build([*ROLE, user("Hi"), answer, user("So?")]).ids)
    assert text.endswith(
        "\n\n### Instruction:\nHi\n\n### Response:\nYes</s> \n\n### Instruction:\nSo?\n\n### Response:\n"
    )
    assert "  " not in text


def test_turn_ends_stop_the_reply(starter_vocabulary: Vocabulary, vocabulary_named: Named) -> None:
    for name, stops in [
        ("chatml", {"<|im_end|>", "<|im_start|>"}),
        ("gemma", {"<end_of_turn>"}),
        ("alpaca", {"### Instruction:"}),
        ("rocit", {"### Input:"}),
        ("vicuna", {"\nUSER:"}),
        ("llama-3", {"<|eot_id|>"}),
        ("glm-4", {"<|user|>"}),
    ]:
        assert stops <= set(named(name, starter_vocabulary).stop_texts), name
    assert "</s>" in named("llama-2", vocabulary_named("llama-spm")).stop_texts


def test_what_may_begin_a_reply_does_not_stop_it(prompter: Callable[[str, str], Prompter]) -> None:
    stops = prompter("Cohere2MoE", "qwen2").stop_texts
    assert "<|END_TEXT|>" in stops
    assert "<|START_TEXT|>" not in stops


def test_thinking(prompter: Callable[[str, str], Prompter], vocabulary_named: Named) -> None:
    vocabulary = vocabulary_named("qwen2")
    made = prompter("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "qwen2")
    assert made.opens_thinking
    prompt = made.build([user("Hi")])
    assert text_of(vocabulary, prompt.ids).endswith("<｜Assistant｜><think>\n")
    assert text_of(vocabulary, prompt.ids[: prompt.history_tokens]).endswith("<｜Assistant｜>")
    silent = made.build([user("Hi")], think=False)
    assert text_of(vocabulary, silent.ids).endswith("<｜Assistant｜><think>\n\n</think>\n\n")
    assert silent.ids[: prompt.history_tokens] == prompt.ids[: prompt.history_tokens]
    assert not prompter("rolekit chatml", "qwen2").opens_thinking


def test_a_template_without_any_way_names_the_choices(starter_vocabulary: Vocabulary) -> None:
    for source, reason in [
        ("{{ raise_exception('only on Sundays') }}", "only on Sundays"),
        ("{{ messages[-1].content }}", "every message once"),
        ("{% for m in messages %}{{ m.content|upper|length }}{% endfor %}", "every message once"),
    ]:
        with pytest.raises(RolekitError, match=reason) as raised:
            Prompter(ChatTemplate(source, "odd"), starter_vocabulary)
        assert "--chat-template" in raised.value.what_to_do


def test_a_long_chat_is_built_and_counted_quickly(chatml: Prompter) -> None:
    talk = [
        user(f"Question {i}?") if i % 2 == 0 else Message("assistant", f"Answer {i}.") for i in range(2001)
    ]
    started = time.perf_counter()
    prompt = chatml.build(talk)
    once = time.perf_counter() - started
    started = time.perf_counter()
    assert sum(chatml.count(talk)) == len(prompt.ids)
    assert time.perf_counter() - started < 10 * once


def test_a_very_long_chat_fits_the_templates_budget(starter_vocabulary: Vocabulary) -> None:
    talk = [user("Why?") if i % 2 == 0 else Message("assistant", "So.") for i in range(5001)]
    prompter = named("llama-3", starter_vocabulary)
    assert sum(prompter.count(talk)) == len(prompter.build(talk).ids)


def test_the_next_turn_of_a_long_chat_tokenizes_only_what_is_new(
    starter_vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = [
        user(f"Question {i}?") if i % 2 == 0 else reply(starter_vocabulary, f"Answer {i}.")
        for i in range(2001)
    ]
    prompter = named("chatml", starter_vocabulary)
    prompter.count(talk)
    calls = []
    tokenize = starter_vocabulary.tokenize
    monkeypatch.setattr(
        starter_vocabulary,
        "tokenize",
        lambda *given, **named: (calls.append(1), tokenize(*given, **named))[1],
    )
    longer = [*talk, Message("assistant", "Yes.", token_ids=(9, 10)), user("And then?")]
    assert sum(prompter.count(longer)) == len(prompter.build(longer).ids)
    assert 0 < len(calls) < 20
