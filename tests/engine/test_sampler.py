"""The sampler chain: primed with the conversation, repeatable, and held to a grammar."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rolekit.engine.context import Context
from rolekit.engine.model import Model
from rolekit.engine.presets import list_presets, load_preset
from rolekit.engine.sampler import Samplers
from rolekit.errors import RolekitError
from rolekit.messages import Sampling

pytestmark = pytest.mark.model
GREEDY = Sampling(temperature=0)
PROMPT = "<|im_start|>user\nSay something nice about tea.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def model(starter_path: Path) -> Iterator[Model]:
    model = Model(starter_path)
    yield model
    model.close()


@pytest.fixture(scope="module")
def context(model: Model) -> Iterator[Context]:
    context = Context(model, context_tokens=512)
    yield context
    context.close()


@pytest.fixture
def samplers(model: Model) -> Iterator[Samplers]:
    samplers = Samplers(model)
    yield samplers
    samplers.close()


def generate(
    context: Context,
    samplers: Samplers,
    sampling: Sampling,
    *,
    seed: int = 1,
    text: str = PROMPT,
    history: Sequence[int] | None = None,
    count: int = 24,
) -> list[int]:
    """The ids generated behind text; history is what the penalties know (default: the prompt)."""
    ids = context.model.vocabulary.tokenize(text, special=True)
    context.begin(ids)
    assert context.evaluate(ids, threading.Event())
    sampler = samplers.make(sampling, seed, ids if history is None else history)
    generated: list[int] = []
    try:
        while len(generated) < count:
            token = sampler.sample(context.pointer)
            if token is None or token in samplers.ends:
                break
            generated.append(token)
            context.append(token)
    finally:
        sampler.close()
    return generated


def text_of(model: Model, ids: Sequence[int]) -> str:
    return b"".join(map(model.vocabulary.piece, ids)).decode("utf-8", "replace")


@pytest.mark.parametrize("preset", ["default", "precise", "lively", "creative", "wild", "mirostat", "greedy"])
def test_the_same_seed_says_the_same(context: Context, samplers: Samplers, preset: str) -> None:
    sampling = load_preset(preset)
    first = generate(context, samplers, sampling, seed=7)
    assert generate(context, samplers, sampling, seed=7) == first
    others = [generate(context, samplers, sampling, seed=seed) for seed in (8, 9)]
    assert (others[0] == first and others[1] == first) == (preset == "greedy")


def test_every_preset_is_tried_above() -> None:
    assert set(list_presets()) == {"default", "precise", "lively", "creative", "wild", "mirostat", "greedy"}


@pytest.mark.parametrize("seed", [0, -1, 2**32 - 1, 2**40])
def test_any_seed_is_repeatable(context: Context, samplers: Samplers, seed: int) -> None:
    first = generate(context, samplers, Sampling(), seed=seed, count=12)
    assert generate(context, samplers, Sampling(), seed=seed, count=12) == first


@pytest.mark.parametrize(
    "changed",
    [
        {"typical_p": 0.2},
        {"xtc_probability": 1.0, "xtc_threshold": 0.02},
        {"top_k": 1},
        {"top_p": 0.05},
        {"min_p": 0.95},
        {"temperature": 2.5},
        {"mirostat": 1, "mirostat_tau": 1.0},
        {"mirostat": 2, "mirostat_tau": 1.0},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
        {"repeat_penalty": 1.8},
    ],
)
def test_every_step_has_an_effect(context: Context, samplers: Samplers, changed: dict[str, float]) -> None:
    neutral = Sampling(temperature=1.2, top_k=0, top_p=1.0, min_p=0.0)
    sampling = replace(neutral, **changed)  # type: ignore[arg-type]
    plain = [generate(context, samplers, neutral, seed=seed, count=16) for seed in (1, 2)]
    assert [generate(context, samplers, sampling, seed=seed, count=16) for seed in (1, 2)] != plain


def test_penalties_know_the_conversation(model: Model, context: Context, samplers: Samplers) -> None:
    """The peers' bug: penalties that see only the current reply."""
    likely = generate(context, samplers, GREEDY, count=1)
    sampling = replace(GREEDY, presence_penalty=2.0, repeat_penalty=1.9)
    assert generate(context, samplers, sampling, history=[], count=1) == likely
    assert generate(context, samplers, sampling, history=likely, count=1) != likely
    assert (
        generate(context, samplers, replace(sampling, penalty_tokens=1), history=[*likely, 99], count=1)
        == likely
    )


def test_dry_breaks_a_loop_that_the_conversation_began(
    model: Model, context: Context, samplers: Samplers
) -> None:
    line = "The game is afoot my dear Watson and"
    text = line * 6
    loop = model.vocabulary.tokenize(line, special=False)
    plain = generate(context, samplers, GREEDY, text=text, count=len(loop))
    assert text_of(model, plain) == line
    dry = replace(GREEDY, dry_multiplier=2.0, dry_allowed_length=2)
    assert generate(context, samplers, dry, text=text, history=[], count=len(loop)) == plain
    assert generate(context, samplers, dry, text=text, count=len(loop)) != plain


def test_no_penalty_keeps_a_reply_from_ending(model: Model, context: Context, samplers: Samplers) -> None:
    ends = sorted(samplers.ends)
    sampling = replace(
        GREEDY, repeat_penalty=2.0, presence_penalty=2.0, dry_multiplier=5.0, dry_allowed_length=1
    )
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n" * 3
    text += "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!"
    assert generate(context, samplers, GREEDY, text=text, count=1) == []
    history = [*model.vocabulary.tokenize(text, special=True), *ends * 5]
    history += model.vocabulary.tokenize("Hello!", special=False)
    assert generate(context, samplers, sampling, text=text, history=history, count=1) == []


def test_the_shortlist_changes_nothing(
    context: Context, samplers: Samplers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = load_preset("default")
    short = [generate(context, samplers, sampling, seed=seed) for seed in range(4)]
    monkeypatch.setattr("rolekit.engine.sampler._can_shortlist", lambda _sampling: False)
    assert [generate(context, samplers, sampling, seed=seed) for seed in range(4)] == short


def test_a_grammar_is_kept(model: Model, context: Context, samplers: Samplers) -> None:
    grammar = r'root ::= "{\"mood\": \"" [a-z]+ "\", \"cups\": " [0-9] [0-9]? "}"'
    for seed in range(3):
        ids = generate(context, samplers, Sampling(grammar=grammar, temperature=1.5), seed=seed, count=60)
        assert json.loads(text_of(model, ids)).keys() == {"mood", "cups"}


def test_a_grammar_that_allows_one_answer(model: Model, context: Context, samplers: Samplers) -> None:
    ids = generate(context, samplers, Sampling(grammar='root ::= "völlig 福尔摩斯"'))
    assert text_of(model, ids) == "völlig 福尔摩斯"


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("root ::= (", "expecting"),
        ('other ::= "a"', "root"),
        ("root ::= missing", "Undefined rule identifier 'missing'"),
        ('root ::= root "a"', "left recursion"),
        ("\x01", "expecting"),
    ],
)
def test_a_broken_grammar_is_one_sentence(
    samplers: Samplers, grammar: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RolekitError, match="The grammar cannot be used: ") as error:
        samplers.make(Sampling(grammar=grammar), 1, [])
    assert reason in error.value.what_happened
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
