"""Model and context on the real starter: nothing is evaluated twice, a cancel leaves the cache in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy
import numpy.typing
import pytest

from rolekit.engine.context import CHUNK_TOKENS, Context, shared_length
from rolekit.engine.model import Model
from rolekit.errors import RolekitError

pytestmark = pytest.mark.model
Logits = numpy.typing.NDArray[numpy.float32]
NEVER = threading.Event()


@pytest.fixture(scope="module")
def model(starter_path: Path) -> Iterator[Model]:
    model = Model(starter_path)
    yield model
    model.close()


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    context = Context(model, context_tokens=1024)
    yield context
    context.close()


def ids_of(model: Model, text: str) -> list[int]:
    return model.vocabulary.tokenize(text, special=True)


def prompt(model: Model, question: str, repeat: int = 1) -> list[int]:
    role = "You are Sherlock Holmes, the consulting detective of Baker Street. " * repeat
    turns = f"<|im_start|>system\n{role}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    return ids_of(model, turns)


def logits(context: Context, row: int = -1) -> Logits:
    pointer = llama_cpp.llama_get_logits_ith(context.pointer, row)
    values: Logits = numpy.ctypeslib.as_array(pointer, (context.model.vocabulary.size,)).copy()
    return values


def evaluated(context: Context, ids: list[int]) -> tuple[Logits, int]:
    """The logits behind ids, and how many tokens that took."""
    reused = context.begin(ids)
    assert context.evaluate(ids, NEVER)
    assert context.tokens[0] == ids
    return logits(context), len(ids) - reused


def cold(model: Model, ids: list[int]) -> Logits:
    context = Context(model, context_tokens=1024)
    try:
        return evaluated(context, ids)[0]
    finally:
        context.close()


# -- the file -----------------------------------------------------------------------------------------------------


def test_the_starter_says_what_it_is(model: Model) -> None:
    assert model.label == "smollm2-135m Q4_1"
    assert model.trained_context == 8192
    assert model.rolls_back
    assert model.sliding_window == 0


def test_the_fingerprint_tells_files_apart(model: Model, starter_path: Path, tmp_path: Path) -> None:
    data = starter_path.read_bytes()
    same, other = tmp_path / "same.gguf", tmp_path / "other.gguf"
    same.write_bytes(data)
    header = model.header.data_offset
    other.write_bytes(data[:header] + bytes(1000) + data[header + 1000 :])
    first, second = Model(same), Model(other)
    assert first.fingerprint == model.fingerprint
    assert second.fingerprint != model.fingerprint
    first.close()
    second.close()


@pytest.mark.parametrize("kept", [0, 3, 100, 1_000_000, 60_000_000])
def test_a_truncated_file_is_one_sentence(starter_path: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.gguf"
    with starter_path.open("rb") as file:
        path.write_bytes(file.read(kept))
    with pytest.raises(RolekitError) as error:
        Model(path)
    assert "\n" not in str(error.value)
    assert error.value.what_to_do


def test_what_llama_cpp_refuses_is_said_in_its_words(starter_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.gguf"
    path.write_bytes(
        starter_path.read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lhama", 1)
    )
    with pytest.raises(
        RolekitError, match=r"cannot load foreign.gguf \(unknown model architecture: 'lhama'\)"
    ):
        Model(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match=r"missing\.gguf"):
        Model(tmp_path / "missing.gguf")


def test_nothing_is_printed(starter_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = Model(starter_path)
    Context(model, context_tokens=256).close()
    model.close()
    with pytest.raises(RolekitError):
        Model(tmp_path)
    assert capfd.readouterr() == ("", "")


# -- what is evaluated --------------------------------------------------------------------------------------------


def test_shared_length() -> None:
    assert shared_length([], [1]) == 0
    assert shared_length([1, 2, 3], (1, 2, 4)) == 2
    assert shared_length((1, 2), [1, 2, 3]) == 2


def test_only_what_is_new_is_evaluated(model: Model, context: Context) -> None:
    first, second = prompt(model, "Who are you?"), prompt(model, "Where do you live?")
    shared = shared_length(first, second)
    assert evaluated(context, first)[1] == len(first)
    assert evaluated(context, [*first, 1, 2, 3])[1] == 3
    assert evaluated(context, second)[1] == len(second) - shared
    assert evaluated(context, second)[1] == 1


def test_a_fully_cached_prompt_has_the_same_logits(model: Model, context: Context) -> None:
    ids = prompt(model, "Who are you?", repeat=20)
    first, _ = evaluated(context, ids)
    again, count = evaluated(context, ids)
    assert count == 1
    assert numpy.array_equal(first, again)


def test_going_back_is_like_never_having_gone_on(model: Model, context: Context) -> None:
    ids = prompt(model, "Who are you?")
    first, _ = evaluated(context, ids)
    evaluated(context, ids + ids_of(model, "I am the one who knocks"))
    back, _ = evaluated(context, ids)
    assert numpy.array_equal(first, back)
    assert numpy.array_equal(back, cold(model, ids))


def test_progress_counts_up_in_chunks(model: Model, context: Context) -> None:
    ids = prompt(model, "Who are you?", repeat=40)
    heard: list[int] = []
    assert context.evaluate(ids, NEVER, heard.append)
    assert heard == [*range(CHUNK_TOKENS, len(ids) - 1, CHUNK_TOKENS), len(ids) - 1, len(ids)]


def test_a_context_that_overflows_says_so(model: Model) -> None:
    context = Context(model, context_tokens=256)
    with pytest.raises(RolekitError, match="256 tokens is full"):
        context.evaluate([1] * 300, NEVER)
    assert len(context.tokens[0]) <= 256
    ids = prompt(model, "Who are you?")
    assert numpy.array_equal(evaluated(context, ids)[0], cold(model, ids))
    context.close()


# -- cancel -------------------------------------------------------------------------------------------------------


def test_cancel_in_the_middle_of_a_prefill(model: Model, context: Context) -> None:
    ids = prompt(model, "Who are you?", repeat=60)
    cancel = threading.Event()
    seen: list[float] = []

    def second_chunk(held: int) -> None:
        if held == CHUNK_TOKENS:
            seen.append(time.perf_counter())
            threading.Timer(0.05, cancel.set).start()

    assert not context.evaluate(ids, cancel, second_chunk)
    held = context.tokens[0]
    assert held == ids[: len(held)]
    assert len(held) == CHUNK_TOKENS  # the second chunk was broken off, and nothing of it is believed
    assert numpy.array_equal(evaluated(context, ids)[0], cold(model, ids))


def test_cancel_before_the_first_token(model: Model, context: Context) -> None:
    cancel = threading.Event()
    cancel.set()
    assert not context.evaluate(prompt(model, "Who are you?"), cancel)
    assert context.tokens[0] == []


# -- state --------------------------------------------------------------------------------------------------------


def test_a_restored_state_is_the_state(model: Model, context: Context) -> None:
    ids = prompt(model, "Who are you?")
    first, _ = evaluated(context, ids)
    state = context.state()
    evaluated(context, prompt(model, "Something else?"))
    assert context.restore(ids, state)
    again, count = evaluated(context, ids)
    assert count == 1
    assert numpy.array_equal(first, again)


def test_a_state_that_does_not_fit_leaves_nothing_behind(model: Model, context: Context) -> None:
    evaluated(context, prompt(model, "Who are you?", repeat=60))
    ids, state = list(context.tokens[0]), context.state()
    small = Context(model, context_tokens=256)
    assert not small.restore(ids, state)
    assert not context.restore(ids[:-1], state)
    assert (small.tokens[0], context.tokens[0]) == ([], [])
    short = prompt(model, "Who are you?")
    assert numpy.array_equal(evaluated(small, short)[0], cold(model, short))
    small.close()


# -- models that cannot go back -----------------------------------------------------------------------------------


def mamba(path: Path, starter: Model) -> Path:
    """A tiny recurrent model with random weights and the starter's vocabulary."""
    gguf = pytest.importorskip("gguf")
    random = numpy.random.default_rng(0)
    width, inner, state, rank, conv = 32, 64, 16, 2, 4
    metadata: Any = starter.header.metadata
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(2)
    writer.add_ssm_conv_kernel(conv)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(metadata["tokenizer.ggml.model"])
    writer.add_tokenizer_pre(metadata["tokenizer.ggml.pre"])
    writer.add_token_list(list(metadata["tokenizer.ggml.tokens"]))
    writer.add_token_types(list(metadata["tokenizer.ggml.token_type"]))
    writer.add_token_merges(list(metadata["tokenizer.ggml.merges"]))
    writer.add_eos_token_id(metadata["tokenizer.ggml.eos_token_id"])
    shapes = {"token_embd.weight": (starter.vocabulary.size, width), "output_norm.weight": (width,)}
    for block in range(2):
        shapes |= {
            f"blk.{block}.attn_norm.weight": (width,),
            f"blk.{block}.ssm_in.weight": (2 * inner, width),
            f"blk.{block}.ssm_conv1d.weight": (inner, conv),
            f"blk.{block}.ssm_conv1d.bias": (inner,),
            f"blk.{block}.ssm_x.weight": (rank + 2 * state, inner),
            f"blk.{block}.ssm_dt.weight": (inner, rank),
            f"blk.{block}.ssm_dt.bias": (inner,),
            f"blk.{block}.ssm_a": (inner, state),
            f"blk.{block}.ssm_d": (inner,),
            f"blk.{block}.ssm_out.weight": (width, inner),
        }
    for name, shape in shapes.items():
        values = random.normal(0, 0.3, shape).astype(numpy.float32)
        writer.add_tensor(name, -numpy.abs(values) if name.endswith("ssm_a") else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_recurrent_model_starts_anew_instead_of_going_back(model: Model, tmp_path: Path) -> None:
    recurrent = Model(mamba(tmp_path / "mamba.gguf", model))
    assert not recurrent.rolls_back
    context = Context(recurrent, context_tokens=512)
    ids = ids_of(model, "It was a dark and stormy night, and the rain fell in torrents.")
    fresh, _ = evaluated(context, ids)
    assert evaluated(context, [*ids, 5, 6])[1] == 2  # going on is no going back
    back, count = evaluated(context, ids)
    assert count == len(ids)
    assert numpy.array_equal(fresh, back)
    context.close()
    recurrent.close()
