"""LoRA adapters over one base: switching is free, and KV of one adapter set never serves another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import numpy
import numpy.typing
import pytest

from rolekit.chat.casting import Player
from rolekit.chat.events import Finished
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.store import Store
from rolekit.engine.adapters import Adapters, identity_of
from rolekit.engine.backend import LocalBackend, open_local
from rolekit.engine.context import Context
from rolekit.engine.model import Model
from rolekit.errors import RolekitError
from rolekit.messages import Message, Reply, Request, Sampling
from rolekit.roles.role import Role

pytestmark = pytest.mark.model
gguf = pytest.importorskip("gguf")
Make = Callable[..., Path]
Logits = numpy.typing.NDArray[numpy.float32]
RANK = 4


@pytest.fixture(scope="module")
def model(starter_path: Path) -> Iterator[Model]:
    model = Model(starter_path)
    yield model
    model.close()


@pytest.fixture
def make(model: Model, tmp_path: Path) -> Make:
    """Writes a LoRA adapter with random weights on the attention output of every block."""

    def written(
        name: str,
        seed: int = 0,
        *,
        alpha: float | None = 8.0,
        architecture: str = "llama",
        kind: str = "lora",
        suffix: str = "attn_output.weight",
        halves: str = "ab",
        width: int = 0,
    ) -> Path:
        random = numpy.random.default_rng(seed)
        path = tmp_path / f"{name}.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", kind)
        if alpha is not None:
            writer.add_float32("adapter.lora.alpha", alpha)
        for tensor in model.header.tensors:
            if tensor.name.endswith(".attn_output.weight"):
                columns, rows = tensor.shape
                target = tensor.name.replace("attn_output.weight", suffix)
                shapes = {"a": (RANK, width or columns), "b": (rows, RANK)}
                for half in halves:
                    values = random.normal(0, 0.05, shapes[half]).astype(numpy.float32)
                    writer.add_tensor(f"{target}.lora_{half}", values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return written


@pytest.fixture
def adapters(model: Model) -> Iterator[Adapters]:
    adapters = Adapters(model)
    yield adapters
    adapters.close()


def logits(model: Model, adapters: Adapters, *chosen: tuple[Path, float]) -> Logits:
    """What a cold context says under these adapters."""
    context = Context(model, context_tokens=256)
    loaded = [(adapters.load(path), scale) for path, scale in chosen]
    context.set_adapters([(adapter.pointer, scale) for adapter, scale in loaded])
    assert context.evaluate(model.vocabulary.tokenize("Call me Ishmael.", special=False), threading.Event())
    pointer = llama_cpp.llama_get_logits_ith(context.pointer, -1)
    values: Logits = numpy.ctypeslib.as_array(pointer, (model.vocabulary.size,)).copy()
    context.close()
    return values


def test_an_adapter_changes_the_logits_and_scale_0_does_not(
    model: Model, adapters: Adapters, make: Make
) -> None:
    plain, path = logits(model, adapters), make("a")
    assert numpy.abs(logits(model, adapters, (path, 1.0)) - plain).max() > 0.1
    assert numpy.abs(logits(model, adapters, (path, 0.0)) - plain).max() == 0


def test_alpha_sets_the_scale_and_none_or_0_means_1(model: Model, adapters: Adapters, make: Make) -> None:
    twice = logits(model, adapters, (make("rank", alpha=RANK), 2.0))
    assert numpy.abs(logits(model, adapters, (make("double", alpha=2 * RANK), 1.0)) - twice).max() < 1e-3
    one = logits(model, adapters, (make("rank"), 0.5))
    assert numpy.abs(logits(model, adapters, (make("none", alpha=None), 1.0)) - one).max() < 1e-3
    assert numpy.abs(logits(model, adapters, (make("zero", alpha=0.0), 1.0)) - one).max() < 1e-3


def test_two_adapters_add_up_in_any_order(model: Model, adapters: Adapters, make: Make) -> None:
    a, b = make("a", 1), make("b", 2)
    both = logits(model, adapters, (a, 1.0), (b, 0.5))
    assert numpy.abs(both - logits(model, adapters, (a, 1.0))).max() > 0.05
    first, second = adapters.load(a), adapters.load(b)
    assert identity_of([(first, 1.0), (second, 0.5)]) == identity_of([(second, 0.5), (first, 1.0)])
    assert identity_of([(first, 1.0), (second, 0.0)]) == identity_of([(first, 1.0)])
    assert identity_of([(first, 1.0)]) != identity_of([(first, 0.9)])


def test_a_file_is_read_once_until_it_changes(adapters: Adapters, make: Make) -> None:
    path = make("a", 1)
    first = adapters.load(path)
    assert adapters.load(path) is first
    make("a", 2, alpha=9.0)
    assert adapters.load(path).identity != first.identity


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "qwen2"}, "was made for qwen2 models; this one is a llama model"),
        ({"kind": "control"}, "is not a LoRA adapter"),
        ({"suffix": "ssm_in.weight"}, "which this model lacks"),
        ({"halves": "a"}, "has only half of blk.0.attn_output.weight"),
        ({"halves": ""}, "holds no LoRA weights"),
        ({"width": 64}, "incorrect shape"),
    ],
)
def test_an_adapter_that_does_not_fit_is_one_sentence(
    adapters: Adapters, make: Make, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(RolekitError, match=sentence) as error:
        adapters.load(make("bad", **options))
    assert "\n" not in str(error.value)


def test_a_damaged_adapter_and_a_model_are_one_sentence(
    adapters: Adapters, make: Make, starter_path: Path
) -> None:
    path = make("cut")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(RolekitError, match=r"cut\.gguf"):
        adapters.load(path)
    with pytest.raises(RolekitError, match="is not a LoRA adapter"):
        adapters.load(starter_path)


# -- in the backend -----------------------------------------------------------------------------------------------


async def reply(backend: LocalBackend, question: str = "Who are you?", conversation: str = "c") -> Reply:
    role = Message("system", "You are Captain Nemo of the Nautilus. " * 10, "role")
    request = Request(
        (role, Message("user", question)), Sampling(temperature=0), max_tokens=12, conversation=conversation
    )
    answer = None
    async for event in backend.stream(request):
        answer = event
    assert isinstance(answer, Reply)
    return answer


def current_logits(backend: LocalBackend) -> Logits:
    """The logits of the last decode, read where no other can come between."""

    def read() -> Logits:
        pointer = llama_cpp.llama_get_logits_ith(backend._context.pointer, -1)
        values: Logits = numpy.ctypeslib.as_array(pointer, (backend._model.vocabulary.size,)).copy()
        return values

    return backend._worker.submit(read).result()


@pytest.mark.parametrize("kv_cache_mib", [0, 64])
async def test_there_and_back_is_like_a_cold_start(starter_path: Path, make: Make, kv_cache_mib: int) -> None:
    a, b = make("a", 1), make("b", 2)
    options = {"context_tokens": 512, "kv_cache_mib": kv_cache_mib}
    backend = open_local(starter_path, adapters=[(a, 1.0)], **options)
    first = await reply(backend)
    first_logits = current_logits(backend)
    backend.set_adapters([(b, 1.0)])
    other = await reply(backend)
    assert other.stats.reused_tokens == 0  # nothing of A's
    assert other.text != first.text
    backend.set_adapters([(a, 1.0)])
    back = await reply(backend)
    assert back.token_ids == first.token_ids
    assert numpy.abs(current_logits(backend) - first_logits).max() <= 1e-4
    assert (back.stats.reused_tokens > 0) == (kv_cache_mib > 0)  # A's own, put aside
    await backend.close()


async def test_a_switch_right_behind_a_cut_off_reply_leaves_its_kv_alone(
    starter_path: Path, make: Make
) -> None:
    a, b = make("a", 1), make("b", 2)
    role = Message("system", "You are Captain Nemo of the Nautilus. " * 10, "role")

    async def talk(*, switch: bool) -> Logits:
        backend = open_local(starter_path, adapters=[(a, 1.0)], context_tokens=512, kv_cache_mib=0)
        asked = Request((role, Message("user", "Who are you?")), Sampling(temperature=0), max_tokens=12)
        async for event in backend.stream(asked):
            if isinstance(event, Reply):
                first = event
                if switch:
                    backend.set_adapters([(b, 1.0)])
        assert first.stop_reason == "length"
        backend.set_adapters([(a, 1.0)])
        said = Message("assistant", first.text, token_ids=first.token_ids)
        following = Request(
            (*asked.messages, said, Message("user", "Where?")), Sampling(temperature=0), max_tokens=1
        )
        async for _ in backend.stream(following):
            pass
        values = current_logits(backend)
        await backend.close()
        return values

    assert numpy.abs(await talk(switch=True) - await talk(switch=False)).max() <= 1e-4


async def test_switching_is_fast_and_a_bad_set_changes_nothing(starter_path: Path, make: Make) -> None:
    a, b, bad = make("a", 1), make("b", 2), make("bad", architecture="qwen2")
    backend = open_local(starter_path, context_tokens=512, kv_cache_mib=0)
    backend.set_adapters([(b, 1.0)])
    backend.set_adapters([(a, 1.0)])
    first = await reply(backend)
    start = time.perf_counter()
    for _ in range(10):
        backend.set_adapters([(b, 1.0)])
        backend.set_adapters([(a, 1.0)])
    assert (time.perf_counter() - start) / 20 < 0.05
    with pytest.raises(RolekitError, match="qwen2"):
        backend.set_adapters([(a, 1.0), (bad, 1.0)])
    again = await reply(backend)
    assert again.text == first.text
    assert again.stats.evaluated_tokens == 1  # switched away and back without evaluating: the KV is still A's
    backend.set_adapters([])
    assert (await reply(backend)).stats.reused_tokens == 0
    await backend.close()


async def test_in_a_room_each_role_speaks_with_its_own_adapter_and_kv(make: Make, starter_path: Path) -> None:
    mine = ((make("ada"), 1.0),)
    roles = {
        name: Role(name=name, description=f"You are {name}, of few words. " * 5) for name in ("Ada", "Bo")
    }
    players = [Player(roles["Ada"], "ada", adapters=mine), Player(roles["Bo"], "bo")]
    backend = open_local(starter_path, context_tokens=512, threads=1, kv_cache_mib=64)
    options = ChatOptions(seed=1, max_tokens=6, guard=False)
    spoke, read = [], []
    with Store() as store:
        session = Session.start_room(store, backend, players, options=options, turns="round-robin")
        for _ in range(4):
            async for event in session.say("Well?"):
                if isinstance(event, Finished):
                    spoke.append((session.slug, backend.adapters))
                    read.append(event.reply.stats.evaluated_tokens)
        alone = Session.start(store, backend, roles["Bo"], "bo", options=options)
        backend.set_adapters(mine)
        assert [event async for event in alone.say("Well?") if isinstance(event, Finished)]
        assert backend.adapters == backend.usual_adapters == ()
    assert spoke == [("ada", mine), ("bo", ()), ("ada", mine), ("bo", ())]
    assert max(read[2:]) < min(read[:2]) / 2
    await backend.close()
