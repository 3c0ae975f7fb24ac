"""The loop on a real small model: exact resume, early stopping, damage, a full disk, Ctrl+C."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bigram import BigramStepper
from toy_rows import toy_rows

from rolekit.errors import RolekitError
from rolekit.train.checkpoints import Checkpoints
from rolekit.train.loop import Loop, LoopOptions, Outcome
from rolekit.train.packing import Batching, Pack, order_epoch, packs_of, plan_step
from rolekit.train.stepping import Evaluated, LoopEvent, Saved, StepDone, Warned

BATCHING = Batching(rows_per_step=4, pack_tokens=60)
OPTIONS = LoopOptions(BATCHING, epochs=3, learning_rate=0.1, eval_every=5, save_every=2)
WORKER = """
import sys, time
from pathlib import Path
from rolekit.train.loop import Loop
from test_loop import OPTIONS, BigramStepper, toy_rows

class Slow(BigramStepper):
    def forward_backward(self, *given):
        print("pack", flush=True)
        time.sleep(0.01)
        return super().forward_backward(*given)

Loop(Slow(), toy_rows(20), toy_rows(6, seed=9), OPTIONS, Path(sys.argv[1]), "same").run()
"""


def train(
    folder: Path,
    options: LoopOptions = OPTIONS,
    *,
    stepper: BigramStepper | None = None,
    watch: Callable[[LoopEvent], None] = lambda event: None,
    identity: str = "same",
) -> Outcome:
    loop = Loop(
        stepper or BigramStepper(), toy_rows(20), toy_rows(6, seed=9), options, folder, identity, watch,
        cancel=getattr(stepper, "cancel", threading.Event()),
    )  # fmt: skip
    return loop.run()


class Stopping(BigramStepper):
    """Is told to stop while its eighth pack is computed."""

    def __init__(self, packs: int = 8) -> None:
        super().__init__()
        self.cancel = threading.Event()
        self.left = packs

    def forward_backward(self, pack: Pack, denominator: int, key: tuple[int, int, int]) -> float:
        self.left -= 1
        if not self.left:
            self.cancel.set()
        return super().forward_backward(pack, denominator, key)


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter.bin").read_bytes()


def test_it_learns_and_says_so(tmp_path: Path) -> None:
    events: list[LoopEvent] = []
    outcome = train(tmp_path, watch=events.append)
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert outcome.status == "finished"
    assert outcome.step == len(losses) == 15
    assert losses[-1] < losses[0] == pytest.approx(math.log(50))
    assert len([event for event in events if isinstance(event, Evaluated)]) == 3


def test_how_a_step_is_cut_does_not_change_it(tmp_path: Path) -> None:
    whole, cut = BigramStepper(), BigramStepper()
    rows = toy_rows(8)
    for stepper, budget in ((whole, 10_000), (cut, 1)):
        batching = Batching(8, pack_tokens=budget)
        plan = plan_step(rows, order_epoch(rows, batching, 0, 0)[0], batching)
        assert len(plan.packs) == (1 if stepper is whole else 8)
        for pack in packs_of(rows, plan):
            _, chances = stepper._losses(pack)
            chances[np.arange(pack.supervised), pack.labels] -= 1
            np.add.at(stepper.gradient, pack.ids[pack.sources], chances / plan.supervised)
    assert np.abs(whole.gradient - cut.gradient).max() < 1e-15


def test_kill_at_any_step_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    chance, folder, kills = random.Random(3), tmp_path / "killed", 0
    here = Path(__file__).parent
    while not (folder / "adapter").exists():
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(here)},
        )  # fmt: skip
        assert worker.stdout is not None
        for _ in range(chance.randrange(5, 12)):
            if not worker.stdout.readline():
                break
        else:
            worker.send_signal(signal.SIGKILL)
            kills += 1
        worker.stdout.close()
        code = worker.wait()
        assert code in (0, -signal.SIGKILL)
    assert kills >= 2
    assert adapter(folder) == adapter(tmp_path / "whole")


def test_cancel_saves_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    assert train(tmp_path / "cut", stepper=Stopping()).status == "interrupted"
    assert not (tmp_path / "cut" / "adapter").exists()
    assert train(tmp_path / "cut").status == "finished"
    assert adapter(tmp_path / "cut") == adapter(tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    first = train(tmp_path / "run", stepper=Stopping())
    assert (first.step, first.status) == (8, "interrupted")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", "same")
    assert checkpoints.steps() == [6, 8]
    state = checkpoints.path(8) / "state.safetensors"
    body = bytearray(state.read_bytes())
    body[-100] ^= 1
    state.write_bytes(body)
    warnings: list[str] = []
    found = checkpoints.load(warnings.append)
    assert found is not None
    assert found[0].step == 6
    assert "checksum" in warnings[0]
    (checkpoints.path(6) / "checkpoint.json").write_text("{", encoding="utf-8")
    events: list[LoopEvent] = []
    train(tmp_path / "run", watch=events.append)
    assert len([event for event in events if isinstance(event, Warned)]) == 2
    assert adapter(tmp_path / "run") == adapter(tmp_path / "whole")


def test_another_run_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(RolekitError, match="another recipe"):
        train(tmp_path, identity="other")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    stepper = BigramStepper()

    def watch(event: LoopEvent) -> None:
        stepper.poison = (isinstance(event, Saved) and event.step >= 4) or stepper.poison

    with pytest.raises(RolekitError) as caught:
        train(tmp_path, stepper=stepper, watch=watch)
    assert "step-00000004" in str(caught.value)
    assert "not a finite number" in str(caught.value)


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    options = LoopOptions(BATCHING, epochs=40, learning_rate=0.5, patience=2, eval_every=2, warmup=0)
    outcome = train(tmp_path, options)
    assert outcome.status == "stopped early"
    assert outcome.best_step < outcome.step < 200
    best = (tmp_path / "best" / "adapter.bin").read_bytes()
    assert adapter(tmp_path) == best
    again = train(tmp_path, options)
    assert (again.status, again.step) == ("stopped early", outcome.step)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "whole")

    class Filling(BigramStepper):
        def save_adapter(self, folder: Path) -> None:
            with Path("/dev/full").open("wb") as file:
                file.write(self.weight.tobytes())

    with pytest.raises(RolekitError, match="No space left on device"):
        train(tmp_path / "run", stepper=Filling())
    assert not list((tmp_path / "run").glob("*.part"))
    train(tmp_path / "run")
    assert adapter(tmp_path / "run") == adapter(tmp_path / "whole")


def test_a_disk_that_fills_up_at_a_checkpoint(tmp_path: Path) -> None:
    """The system itself refuses to make files longer, as it does on a full disk or above a quota."""
    resource = pytest.importorskip("resource")
    train(tmp_path / "whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def watch(event: LoopEvent) -> None:
        if isinstance(event, Saved) and event.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))

    try:
        with pytest.raises(RolekitError, match="step 5 could not be written") as caught:
            train(tmp_path / "run", watch=watch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the run goes on from step 4" in caught.value.what_to_do
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["step-00000002", "step-00000004"]
    assert train(tmp_path / "run").status == "finished"
    assert adapter(tmp_path / "run") == adapter(tmp_path / "whole")


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match="no row"):
        Loop(BigramStepper(), [], [], OPTIONS, tmp_path, "x").run()
