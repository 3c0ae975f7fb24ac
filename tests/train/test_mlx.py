"""Training with MLX: torch's gradients, exact packs, a bit-identical resume, and none of mlx-lm's own defects."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_rows import toy_rows

from rolekit.errors import RolekitError
from rolekit.train.examples import Example
from rolekit.train.loop import Loop, LoopOptions
from rolekit.train.mlx_forward import grouped
from rolekit.train.packing import Batching, build_pack, order_epoch
from rolekit.train.recipe import Lora, Recipe

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
mx = pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")
from mlx_worker import train
from tiny_bases import FAMILIES, save_base

from rolekit.train.mlx_model import load_mlx, repaired
from rolekit.train.mlx_stepper import MlxStepper, open_mlx

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
Floats = NDArray[np.float32]
KEY = (0, 0, 0)
RECIPE = Recipe(base="tiny", lora=Lora(r=4, alpha=8))
ROWS = [*toy_rows(5, vocabulary=64), *toy_rows(2, vocabulary=64, prefix=0, seed=5)]
LONG = toy_rows(3, vocabulary=64, prefix=12, seed=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("llama"), "llama", flat=False)


def shaken(stepper: MlxStepper) -> MlxStepper:
    """The stepper with an adapter that already does something."""
    state = stepper.state()
    chance = np.random.default_rng(1)
    for name, value in state.items():
        if name.startswith("adapter.") and not name.endswith(".m"):
            state[name] = chance.normal(0, 0.1, value.shape).astype(np.float32)
    stepper.load_state(state)
    return stepper


def gradients(stepper: MlxStepper) -> dict[str, Floats]:
    return {name: np.array(value) for name, value in stepper._gradient.items()}


def torch_gradients(base: Path, adapter: Path, rows: list[Example]) -> tuple[float, dict[str, Floats]]:
    """Loss sum and gradients of transformers and peft, each row alone, nothing packed, nothing skipped."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    model = peft.PeftModel.from_pretrained(model, adapter, is_trainable=True).train()
    total = torch.zeros(())
    for row in rows:
        logits = model(torch.tensor([row.ids])).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids[1:]), reduction="none")
        total = total + losses[torch.tensor(row.supervised[1:])].sum()
    total.backward()
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            path, _, half = name.removeprefix("base_model.model.").partition(".lora_")
            half = {"A": "lora_a", "B": "lora_b", "m": "m"}[half[0]]
            found[f"{path}.{half}"] = parameter.grad.numpy().T
    return float(total.item()), found


def same_as_torch(base: Path, recipe: Recipe, folder: Path, rows: list[Example]) -> None:
    stepper = shaken(open_mlx(recipe, base))
    stepper.save_adapter(folder)
    expected, wanted = torch_gradients(base, folder, rows)
    loss = stepper.forward_backward(build_pack(rows, range(len(rows))), 1, KEY)
    found = gradients(stepper)
    assert found.keys() == wanted.keys()
    assert loss == pytest.approx(expected, rel=1e-5)
    largest = max(np.abs(value).max() for value in wanted.values())
    assert largest > 0.1
    for name, value in wanted.items():
        # peft's B may carry a folded scale; the recipes here share one scale, so names and numbers match.
        assert np.abs(found[name] - value).max() < 1e-4 * largest, name
    assert stepper.evaluate(build_pack(rows, range(len(rows)))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_torchs(tmp_path: Path, family: str) -> None:
    base = save_base(tmp_path / "base", family, flat=False)
    (tmp_path / "adapter").mkdir()
    same_as_torch(base, RECIPE, tmp_path / "adapter", ROWS + LONG if family == "gemma3_text" else ROWS)


LORAS = [
    Lora(r=4, alpha=8, dora=True),
    Lora(r=4, alpha=8, rslora=True),
    Lora(r=3, alpha=3, target_modules=("q_proj", "down_proj"), layers_to_transform=(1,)),
]


@pytest.mark.parametrize("lora", LORAS, ids=str)
def test_every_kind_of_lora_is_pefts(base: Path, tmp_path: Path, lora: Lora) -> None:
    same_as_torch(base, replace_lora(lora), tmp_path, ROWS)


def replace_lora(lora: Lora) -> Recipe:
    return RECIPE.model_copy(update={"lora": lora})


def test_patterns_save_an_adapter_that_computes_the_same(base: Path, tmp_path: Path) -> None:
    lora = Lora(r=4, alpha=8, rank_pattern={"v_proj": 2}, alpha_pattern={"layers.0.mlp.down_proj": 3})
    stepper = shaken(open_mlx(replace_lora(lora), base))
    stepper.save_adapter(tmp_path)
    expected, _ = torch_gradients(base, tmp_path, ROWS)
    assert stepper.evaluate(build_pack(ROWS, range(len(ROWS)))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "phi3"])
def test_a_pack_is_its_rows(tmp_path: Path, family: str) -> None:
    stepper = shaken(open_mlx(RECIPE, save_base(tmp_path / "base", family, flat=False)))
    rows = ROWS + LONG
    alone = sum(stepper.forward_backward(build_pack(rows, [index]), 50, KEY) for index in range(len(rows)))
    wanted = gradients(stepper)
    stepper.discard()
    packed = stepper.forward_backward(build_pack(rows, range(len(rows))), 50, KEY)
    assert packed == pytest.approx(alone, rel=1e-5)
    for name, value in gradients(stepper).items():
        assert np.abs(value - wanted[name]).max() < 1e-5 * max(np.abs(value).max(), 1), name


def test_groups_hold_every_row_once_and_pad_little() -> None:
    chance = random.Random(0)
    for _ in range(50):
        lengths = [chance.randrange(1, 400) for _ in range(chance.randrange(1, 40))]
        groups = grouped(lengths)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        cost = sum(max(lengths[i] for i in group) * len(group) + 48 for group in groups)
        assert cost <= min(len(lengths) * max(lengths) + 48, sum(lengths) + 48 * len(lengths))


def optimised(stepper: MlxStepper, steps: int) -> dict[str, Floats]:
    for step in range(steps):
        stepper.forward_backward(build_pack(ROWS, range(len(ROWS))), 10, (0, step, 0))
        stepper.step(0.01 / (step + 1), 0.5)
    return {name: value for name, value in stepper.state().items() if name.startswith("adapter.")}


def test_the_optimizer_is_torchs_adamw(base: Path) -> None:
    recipe = RECIPE.model_copy(
        update={"optimiser": RECIPE.optimiser.model_copy(update={"weight_decay": 0.1})}
    )
    stepper = shaken(open_mlx(recipe, base))
    before = {k: torch.tensor(v) for k, v in stepper.state().items() if k.startswith("adapter.")}
    parameters = {name: torch.nn.Parameter(value) for name, value in before.items()}
    theirs = torch.optim.AdamW(parameters.values(), lr=1.0, weight_decay=0.1)
    for step in range(4):
        stepper.forward_backward(build_pack(ROWS, range(len(ROWS))), 10, KEY)
        for name, value in gradients(stepper).items():
            parameters[f"adapter.{name}"].grad = torch.tensor(value)
        theirs.param_groups[0]["lr"] = 0.01 / (step + 1)
        wanted = torch.nn.utils.clip_grad_norm_(parameters.values(), 0.5)
        theirs.step()
        assert stepper.step(0.01 / (step + 1), 0.5) == pytest.approx(float(wanted), rel=1e-5)
    for name, value in stepper.state().items():
        if name.startswith("adapter."):
            assert np.abs(value - parameters[name].detach().numpy()).max() < 2e-6, name


def test_a_gradient_that_is_no_number_changes_nothing(base: Path) -> None:
    stepper = open_mlx(RECIPE, base)
    before = stepper.state()
    stepper.forward_backward(build_pack(ROWS, [0]), 10, KEY)
    stepper._gradient = {name: value * float("nan") for name, value in stepper._gradient.items()}
    assert not np.isfinite(stepper.step(0.1, 1.0))
    assert all(np.array_equal(value, before[name]) for name, value in stepper.state().items())


def test_kill_at_any_step_and_the_bytes_are_the_same(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "whole")
    here = Path(__file__).parent
    worker = subprocess.Popen(
        [sys.executable, str(here / "mlx_worker.py"), str(base), str(tmp_path / "killed")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    lines = [worker.stdout.readline().strip() for _ in range(11)]
    worker.send_signal(signal.SIGKILL)
    worker.stdout.close()
    assert worker.wait() == -signal.SIGKILL
    assert lines[-1]
    assert not (tmp_path / "killed" / "adapter").exists()
    assert list((tmp_path / "killed" / "checkpoints").iterdir())
    train(base, tmp_path / "killed")
    whole, killed = (
        (tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes()
        for name in ("whole", "killed")
    )
    assert whole == killed


def test_no_row_is_left_out_of_an_epoch_not_even_the_longest() -> None:
    rows = toy_rows(11)
    batching = Batching(rows_per_step=4)
    steps = order_epoch(rows, batching, seed=0, epoch=0)
    assert sorted(index for step in steps for index in step) == list(range(11))


def test_nothing_is_taught_behind_the_end_token(base: Path) -> None:
    """mlx-lm's own loss counts one padding target behind the end of each row but the longest."""
    rows = toy_rows(3)
    pack = build_pack(rows, range(3))
    assert pack.supervised == sum(row.supervised_tokens for row in rows)
    assert sorted(set(pack.labels.tolist())) == sorted(
        {token for row in rows for token, taught in zip(row.ids, row.supervised, strict=True) if taught}
    )
    stepper = shaken(open_mlx(RECIPE, base))
    both = stepper.evaluate(build_pack(rows, [0, 1, 2]))
    assert both == pytest.approx(
        sum(stepper.evaluate(build_pack(rows, [index])) for index in range(3)), rel=1e-6
    )


def test_eight_small_passes_are_one_large_one(base: Path) -> None:
    """mlx-lm averages the means of its passes, which weighs a token by how few stand beside it."""
    whole, cut = (shaken(open_mlx(RECIPE, base)) for _ in range(2))
    taught = sum(row.supervised_tokens for row in ROWS)
    whole.forward_backward(build_pack(ROWS, range(len(ROWS))), taught, KEY)
    for index in range(len(ROWS)):
        cut.forward_backward(build_pack(ROWS, [index]), taught, KEY)
    for name, value in gradients(whole).items():
        assert np.abs(value - gradients(cut)[name]).max() < 1e-6


def test_every_assistant_turn_is_taught(base: Path) -> None:
    """mlx-lm masks everything in front of the last turn."""
    row = Example(
        ids=(1, 9, 8, 7, 2, 5, 6, 4, 2), supervised=(False,) * 2 + (True,) * 3 + (False,) * 2 + (True,) * 2
    )
    stepper = shaken(open_mlx(RECIPE, base))
    pack = build_pack([row], [0])
    assert pack.labels.tolist() == [8, 7, 2, 4, 2]
    first = replace(row, supervised=(False,) * 2 + (True,) * 3 + (False,) * 4)
    last = replace(row, supervised=(False,) * 7 + (True,) * 2)
    parts = [stepper.evaluate(build_pack([part], [0])) for part in (first, last)]
    assert stepper.evaluate(pack) == pytest.approx(sum(parts), rel=1e-5)
    assert min(parts) > 0.1


def test_it_learns_and_the_optimizer_is_resumed_too(base: Path, tmp_path: Path) -> None:
    """mlx-lm resumes the weights only."""
    steps = 6
    whole = optimised(shaken(open_mlx(RECIPE, base)), steps)
    first = shaken(open_mlx(RECIPE, base))
    optimised(first, 3)
    second = open_mlx(RECIPE, base)
    second.load_state(first.state())
    assert int(second.state()["optimizer.step"]) == 3
    for step in range(3, steps):
        second.forward_backward(build_pack(ROWS, range(len(ROWS))), 10, (0, step, 0))
        second.step(0.01 / (step + 1), 0.5)
    assert all(np.array_equal(second.state()[name], value) for name, value in whole.items())
    options = LoopOptions(Batching(rows_per_step=4), epochs=8, learning_rate=0.02)
    losses: list[float] = []
    Loop(
        open_mlx(RECIPE, base), toy_rows(8), toy_rows(8), options, tmp_path, "x",
        watch=lambda event: losses.append(event.loss) if hasattr(event, "loss") else None,
    ).run()  # fmt: skip
    assert losses[-1] < 0.7 * losses[0]


def test_dropout_depends_on_the_key_alone(base: Path) -> None:
    stepper = shaken(open_mlx(replace_lora(Lora(r=4, alpha=8, dropout=0.5)), base))
    pack = build_pack(ROWS, range(len(ROWS)))
    first, other, again = (stepper.forward_backward(pack, 1, (0, step, 0)) for step in (1, 2, 1))
    assert first == again != other
    assert stepper.evaluate(pack) == stepper.evaluate(pack) != first


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_recomputed_layers_give_the_same_gradients(tmp_path: Path, family: str) -> None:
    base = save_base(tmp_path / "base", family, flat=False)
    recipe = replace_lora(Lora(r=4, alpha=8, dora=family == "llama"))
    plain = shaken(open_mlx(recipe, base))
    recomputed = shaken(open_mlx(recipe.model_copy(update={"checkpointing": "on"}), base))
    pack = build_pack(ROWS, range(len(ROWS)))
    assert recomputed.forward_backward(pack, 1, KEY) == pytest.approx(plain.forward_backward(pack, 1, KEY))
    for name, value in gradients(plain).items():
        assert np.abs(value - gradients(recomputed)[name]).max() < 1e-5 * max(np.abs(value).max(), 1), name
    assert recomputed.evaluate(pack) == pytest.approx(plain.evaluate(pack))


def test_noise_on_the_embedding_depends_on_the_key_alone(base: Path) -> None:
    recipe = RECIPE.model_copy(update={"batch": RECIPE.batch.model_copy(update={"neftune": 5.0})})
    stepper, plain = shaken(open_mlx(recipe, base)), shaken(open_mlx(RECIPE, base))
    pack = build_pack(ROWS, range(len(ROWS)))
    first, other, again = (stepper.forward_backward(pack, 1, (0, step, 0)) for step in (1, 2, 1))
    assert first == again != other
    assert stepper.evaluate(pack) == plain.evaluate(pack) != first


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_it_answers_with_what_is_most_likely(tmp_path: Path, family: str) -> None:
    stepper = shaken(open_mlx(RECIPE, save_base(tmp_path / "base", family, flat=False)))
    ids, found = (5, 9, 11), list[int]()
    for _ in range(12):
        logits = stepper._model.model(mx.array([[*ids, *found]]))[0, -1]
        found.append(int(mx.argmax(logits).item()))
    assert stepper.generate(ids, frozenset(), 12) == tuple(found)
    stop = found[4]
    assert stepper.generate(ids, frozenset({stop}), 12) == tuple(found[: found.index(stop)])


def test_settings_that_transformers_nests_reach_mlx(tmp_path: Path) -> None:
    """Stock mlx-lm would train a model with the wrong rope base, silently."""
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 123.0}
    base = save_base(tmp_path / "base", "llama", flat=False, rope_parameters=rope)
    config = json.loads((base / "config.json").read_text())
    assert repaired(config, base)["rope_theta"] == 123.0
    (tmp_path / "adapter").mkdir()
    same_as_torch(base, RECIPE, tmp_path / "adapter", ROWS)
    del config["tie_word_embeddings"]
    assert repaired(config, base)["tie_word_embeddings"] is False


def test_a_window_that_mlx_lm_passes_over_ends_in_a_sentence(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "gemma2", sliding_window=14)
    stepper = open_mlx(RECIPE, base)
    stepper.evaluate(build_pack(toy_rows(1, prefix=1), [0]))
    with pytest.raises(RolekitError, match="window of 14"):
        stepper.evaluate(build_pack(LONG, range(3)))
    assert open_mlx(RECIPE, save_base(tmp_path / "three", "gemma3_text"))._model.window == 0


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"target_modules": ("lm_head",)}, "output head"),
    ({"target_modules": ("qq_proj",)}, "down_proj"),
    ({"rank_pattern": {"(": 3}}, "no usable expression"),
    ({"quantize": "nf4"}, "torch backend"),
]


@pytest.mark.parametrize(("settings", "words"), FAULTS, ids=str)
def test_what_mlx_cannot_do_ends_in_a_sentence(base: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RolekitError, match=words):
        open_mlx(replace_lora(Lora(**settings)), base)


def test_a_base_that_is_none_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match=r"config\.json"):
        load_mlx(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-thing"}')
    with pytest.raises(RolekitError, match="cannot load"):
        load_mlx(tmp_path)
    (tmp_path / "model.py").write_text("raise SystemExit('ran')")
    (tmp_path / "config.json").write_text('{"model_type": "llama", "model_file": "model.py"}')
    (tmp_path / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    with pytest.raises(RolekitError, match="cannot load"):
        load_mlx(tmp_path)


def test_a_model_with_a_recurrent_state_is_refused(tmp_path: Path) -> None:
    config = transformers.MambaConfig(hidden_size=16, num_hidden_layers=2, vocab_size=64, state_size=4)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(RolekitError, match="mamba"):
        load_mlx(tmp_path)
