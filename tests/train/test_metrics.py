from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rolekit.errors import RolekitError
from rolekit.train.examples import Example, check_examples, example_key
from rolekit.train.metrics import MetricsWriter, StepMetrics, read_metrics

ROW = StepMetrics(1, 2.5, 1e-4, 100, 20, 0.5, 200.0, 1 << 20)


def test_metrics_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, step=2, eval_loss=2.25, sample="Ahoy – 你好\n"), replace(ROW, step=3)]
    with MetricsWriter(tmp_path) as writer:
        for row in rows:
            writer.write(row)
            assert read_metrics(tmp_path)[-1] == row, "flushed at once"
    assert read_metrics(tmp_path) == rows


def test_what_is_found_out_later_belongs_to_its_step(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.add(7, eval_loss=1.0)
        writer.write(ROW)
        writer.write(replace(ROW, step=2))
        writer.add(2, eval_loss=2.25, eval_seconds=3.0)
        writer.add(2, sample="Ahoy – 你好\n")
    assert read_metrics(tmp_path) == [
        ROW, replace(ROW, step=2, eval_loss=2.25, eval_seconds=3.0, sample="Ahoy – 你好\n")
    ]  # fmt: skip


def test_a_killed_writer_loses_at_most_the_line_it_was_in(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write(replace(ROW, step=step))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "lo')
    assert [row.step for row in read_metrics(tmp_path)] == [1, 2, 3]
    with MetricsWriter(tmp_path, from_step=2) as writer:
        writer.write(replace(ROW, step=3, loss=9.0))
    assert [(row.step, row.loss) for row in read_metrics(tmp_path)] == [(1, 2.5), (2, 2.5), (3, 9.0)]


def test_a_full_disk_ends_in_a_sentence() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    writer = MetricsWriter.__new__(MetricsWriter)
    writer.path = Path("/dev/full")
    writer._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    with pytest.raises(RolekitError, match="No space left"):
        writer.write(ROW)
    writer._file.close()


def test_keys_do_not_depend_on_white_space() -> None:
    assert example_key("Ada", " Who  are you?\n") == example_key("Ada", "Who are you?")
    assert example_key("Ada", "Who are you?") != example_key("Bob", "Who are you?")


def test_examples_are_checked() -> None:
    good = Example((1, 2, 3), (False, False, True), 2, "Ada")
    check_examples([good, replace(good, ids=(1, 2, 4))])
    for bad in (
        replace(good, supervised=(False, False, False)),
        replace(good, supervised=(False, True)),
        replace(good, supervised=(False, True, True)),
    ):
        with pytest.raises(ValueError, match=r"row|prefix"):
            check_examples([bad])
    with pytest.raises(ValueError, match="another prefix"):
        check_examples([good, replace(good, ids=(1, 7, 3))])
