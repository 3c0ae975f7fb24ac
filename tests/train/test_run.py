"""`rolekit train` from rows to adapter, on a real model of a few thousand parameters."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from tiny_folder import save_folder, save_rows
from typer.testing import CliRunner

from rolekit.commands.train import app
from rolekit.errors import RolekitError
from rolekit.train.bases import base_hash, find_base, shape_of
from rolekit.train.metrics import StepMetrics, read_metrics
from rolekit.train.preflight import PROCESSOR_PACK_TOKENS, check_disk, needed_bytes, plan_memory
from rolekit.train.recipe_file import load_recipe, make_recipe
from rolekit.train.run import prepared

SETTINGS = ["--set", "batch.rows_per_step=4", "--set", "run.epochs=3", "--set", "data.eval_fraction=0.2",
            "--set", "run.sample_tokens=4", "--set", "optimiser.lr=0.02", "--set", "run.save_every=1"]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


def called(*arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, the object on stdout, and what stderr says."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout or "{}"), result.stderr


def order(base: Path, rows: Path, out: Path, *more: object) -> list[object]:
    return ["--role", "zora", "--data", rows, "--base", base, "--out", out, *SETTINGS, *more]


@pytest.fixture(scope="module")
def finished(
    base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    """A run that went through: its folder, its report, what it said."""
    out = tmp_path_factory.mktemp("runs") / "zora"
    code, report, said = called(*order(base, rows, out))
    assert code == 0, said
    return out, report, said


def test_a_run_leaves_everything_behind(finished: tuple[Path, dict[str, Any], str], base: Path) -> None:
    out, report, said = finished
    assert report["status"] == "finished"
    assert (report["role"], report["adapter"]) == ("Zora", str(out / "adapter"))
    steps = read_metrics(out)
    assert [row.step for row in steps] == list(range(1, report["steps"] + 1))
    assert steps[-1].loss < 0.7 * steps[0].loss
    assert min(row.eval_loss for row in steps if row.eval_loss) == report["eval_loss"] < steps[0].loss
    assert any(row.sample for row in steps)
    assert all(row.row_tokens > row.tokens for row in steps), "the role block is computed once a pack"
    assert all(row.peak_fraction and row.peak_fraction < 1 for row in steps)
    sidecar = json.loads((out / "adapter/rolekit.json").read_text())
    assert {key: sidecar[key] for key in ("role", "recipe_hash", "data_hash")} == {
        key: report[key] for key in ("role", "recipe_hash", "data_hash")
    }
    assert sidecar["base"] == str(base)
    config = json.loads((out / "adapter/adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert load_recipe(out / "recipe.toml").hash == report["recipe_hash"]
    page = (out / "curve.html").read_text()
    assert "<polyline" in page
    assert "http" not in page
    data = json.loads((out / "data.json").read_text())
    assert data["rows"] + data["held_out_rows"] == 24
    assert data["roles_without_profile"] == ["Zora"]
    assert f"the run's folder is {out}" in said
    assert "rows to train on (Zora" in said
    assert "next: rolekit convert adapter" in said


def test_tensorboard_shows_the_curve(finished: tuple[Path, dict[str, Any], str]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _, _ = finished
    log = EventAccumulator(str(out / "tensorboard")).Reload()
    steps = read_metrics(out)
    found = {name: {event.step: event.value for event in log.Scalars(name)} for name in log.Tags()["scalars"]}
    assert found["loss/train"] == pytest.approx({row.step: row.loss for row in steps})
    assert found["learning_rate"] == pytest.approx({row.step: row.lr for row in steps})
    held = {row.step: row.eval_loss for row in steps if row.eval_loss}
    assert found["loss/held_out"] == pytest.approx(held)
    assert "sample/text_summary" in log.Tags()["tensors"]


def test_a_damaged_checkpoint_costs_its_steps_only(
    finished: tuple[Path, dict[str, Any], str], base: Path, rows: Path, tmp_path: Path
) -> None:
    """The program falls back to the checkpoint before, says so, and ends with the same bytes."""
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    for name in ("report.json", "curve.html"):
        (out / name).unlink()
    shutil.rmtree(out / "adapter")
    last, before = sorted((out / "checkpoints").iterdir(), reverse=True)
    with (last / "state.safetensors").open("r+b") as file:
        file.truncate(5_000)
    code, report, said = called(*order(base, rows, out, "--plain"))
    assert (code, report["status"]) == (0, "finished")
    assert f"{last} is damaged (its checksum is wrong); the one before it is used" in said
    assert f"going on behind step {int(before.name[5:])}" in said
    numbers = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert numbers == sorted(numbers), "the lines of repeated steps were replaced"
    assert read_metrics(out)[-1].loss == read_metrics(finished[0])[-1].loss
    assert (out / "adapter/adapter_model.safetensors").read_bytes() == (
        finished[0] / "adapter/adapter_model.safetensors"
    ).read_bytes()


def test_a_finished_run_is_not_run_again(
    finished: tuple[Path, dict[str, Any], str], base: Path, rows: Path
) -> None:
    out, report, _ = finished
    code, again, said = called(*order(base, rows, out))
    assert (code, again) == (0, report)
    assert "finished already" in said
    papers = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(RolekitError, match="another recipe, data set or base"):
        called(*order(base, rows, out, "--set", "optimiser.lr=0.01"))
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == papers


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    finished: tuple[Path, dict[str, Any], str], base: Path, rows: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle, then Ctrl+C, then to the end: the real program, the same command."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "rolekit", "train", *map(str, order(base, rows, out)), "--plain"]
    environment = {**os.environ, "ROLEKIT_HOME": str(tmp_path / "home")}

    def run_until(step: int, number: int) -> int:
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment
        )
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if max((row.step for row in read_metrics(out)), default=0) >= step:
                process.send_signal(number)
                break
            time.sleep(0.01)
        return process.wait(60)

    assert run_until(3, signal.SIGKILL) == -signal.SIGKILL
    assert run_until(7, signal.SIGINT) in (0, 130)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=120)
    expected, report, _ = finished
    found = json.loads(done.stdout)
    assert found["status"] == "finished"
    assert (out / "adapter/adapter_model.safetensors").read_bytes() == (
        expected / "adapter/adapter_model.safetensors"
    ).read_bytes()
    assert [(row.step, row.loss) for row in read_metrics(out)] == [
        (row.step, row.loss) for row in read_metrics(expected)
    ]
    assert found["eval_loss"] == report["eval_loss"]


def test_a_dry_run_measures_and_writes_nothing(base: Path, rows: Path, tmp_path: Path) -> None:
    code, report, said = called(*order(base, rows, tmp_path / "run", "--dry-run"))
    assert code == 0
    assert report["status"] == "dry run"
    assert report["data"]["supervised_tokens"] > 200
    estimate = report["estimate"]
    assert estimate["steps"] == 15
    assert estimate["row_tokens"] > 1.5 * estimate["tokens"]
    assert min(estimate["seconds"], estimate["memory_bytes"], estimate["disk_bytes"]) > 0
    assert "about" in said
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_train_into_one_folder(base: Path, rows: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run/.lock"), pytest.raises(RolekitError, match="Another process is training"):
        called(*order(base, rows, tmp_path / "run"))


def test_nothing_to_train_on_is_a_sentence() -> None:
    with pytest.raises(RolekitError, match="nothing to train on"):
        called()
    with pytest.raises(RolekitError, match="nothing to train on"):
        called("--role", "Zora")


def test_what_fits_is_decided_before_a_model_is_loaded(base: Path) -> None:
    shape = shape_of(base)
    assert (shape.layers, shape.width, shape.feed_forward, shape.vocabulary) == (2, 32, 64, 259)
    assert shape.parameters == sum(tensor.size for tensor in load_file(base / "model.safetensors").values())
    assert shape.body_parameters == 2 * (32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 32 * 64)
    big = make_recipe({})
    from rolekit.train.bases import Shape

    seven = Shape(32, 4096, 11008, 32000, 6_700_000_000, 6_500_000_000)
    need = needed_bytes(seven, big, 2048, wide=True, checkpointing=False)
    roomy = plan_memory(seven, big, 1000, 2 * need, wide=True)
    assert (roomy.pack_tokens, roomy.checkpointing) == (2048, False)
    tight = plan_memory(seven, big, 300, round(need * 0.75), wide=True)
    assert tight.bytes < need * 0.75
    assert tight.pack_tokens < 2048 or tight.checkpointing
    with pytest.raises(RolekitError, match=r"needs about .* of memory, and 4.0 GiB are free") as caught:
        plan_memory(seven, big, 1000, 4 << 30, wide=True)
    assert "smaller base" in caught.value.what_to_do
    with pytest.raises(RolekitError, match="are free on the disk"):
        check_disk(base, 1 << 60)


def test_a_run_goes_on_as_it_was_laid_out_where_that_still_fits(
    finished: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    recipe, layout, said = load_recipe(out / "recipe.toml"), out / "layout.json", list[str]()
    kept = json.loads(layout.read_text())
    assert kept["memory"]["pack_tokens"] == PROCESSOR_PACK_TOKENS

    def plan(**changes: int) -> int:
        layout.write_text(json.dumps(kept | {"memory": kept["memory"] | changes}))
        with prepared(recipe, out, said.append) as run:
            return run.memory.pack_tokens

    assert (plan(pack_tokens=77), said) == (77, [])
    assert plan(pack_tokens=77, bytes=1 << 60) == PROCESSOR_PACK_TOKENS
    assert said == [
        "Less memory is free than when this run began: it goes on in smaller pieces, the same but for the last digits."
    ]
    layout.write_text("[]")
    with prepared(recipe, out, said.append) as run:
        assert run.memory.pack_tokens == PROCESSOR_PACK_TOKENS


def test_what_the_base_does_not_have_cannot_be_adapted(base: Path, rows: Path, tmp_path: Path) -> None:
    for setting, said in (
        ("lora.layers_to_transform=[1, 7]", r"names layer 7, and this base has 2 layers.*0 to 1"),
        ('lora.target_modules=["q_proj", "qproj"]', r"'qproj' names.*down_proj, gate_proj, k_proj"),
    ):
        with pytest.raises(RolekitError, match=said):
            called(*order(base, rows, tmp_path, "--set", setting))


def test_bases_are_found_and_told_apart(base: Path, tmp_path: Path, starter_path: Path) -> None:
    assert find_base(str(base)) == base
    assert find_base("starter") == starter_path
    assert base_hash(base) == base_hash(save_folder(tmp_path / "same"))
    assert base_hash(base) != base_hash(save_folder(tmp_path / "other", rms_norm_eps=1e-4))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(RolekitError, match="is an adapter, not a base model"):
        find_base(str(tmp_path / "adapter"))
    with pytest.raises(RolekitError, match="There is no model"):
        find_base("no-such-model.gguf")
    folder, rows = save_folder(tmp_path / "bare"), save_rows(tmp_path / "rows.jsonl")
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(RolekitError, match="carries no chat template"):
        called(*order(folder, rows, tmp_path / "run"))


def test_the_views_say_where_a_run_stands(capsys: pytest.CaptureFixture[str]) -> None:
    from rolekit.train.live_view import LiveView, sparkline
    from rolekit.train.stepping import Started
    from rolekit.train.views import LineView, duration

    metrics = [
        StepMetrics(n, 3.0 / n, 1e-4, 900, 300, 1.5, 600.0, 2 << 30, 4, row_tokens=2700) for n in (1, 2, 3, 4)
    ]
    live = LiveView("Zora on starter", "Who are you?")
    lines: list[str] = []
    for view in (live, LineView(lines.append, seconds=0)):
        view.started(Started(0, 4, 2.0, 60, 8))
        for row in metrics:
            view.step(row, row.step / 2)
        view.evaluated(4, 1.25, True)
        view.sampled(4, "Aye.\x1b[2J")
        view.note("careful")
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(live._picture())
    drawn = console.export_text()
    for words in (
        "4 of 4 · epoch 2.00",
        "600 tokens/s, 3.0x by sharing",
        "1.2500 after step 4",
        "Aye.␛[2J",
        "Ctrl+C saves",
    ):
        assert words in drawn
    live.close()
    assert "held-out 1.2500" in capsys.readouterr().err
    assert lines[0] == "4 steps over 60 rows, 8 held out"
    assert "step 4/4 · epoch 2.00 · loss 0.7500 · 600 tok/s · 2.0 GiB" in lines[4]
    assert "\x1b" not in "".join(lines)
    assert sparkline([1, 2, 3, 4], 2) == "▁█"
    assert [duration(n) for n in (42, 185, 7800)] == ["42 s", "3 min 05 s", "2 h 10 min"]
