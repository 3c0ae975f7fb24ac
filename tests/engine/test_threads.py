"""The default number of threads, on machines made of files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rolekit.engine.threads import physical_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /sys")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cores with two threads each (0 and 4, 1 and 5, …), all of them allowed, no quota."""
    for cpu in range(8):
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    return tmp_path


def test_hyperthreads_count_once(machine: Path) -> None:
    assert physical_cores(machine) == 4


def test_only_allowed_cores_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 4, 1})
    assert physical_cores(machine) == 2


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 4)])
def test_cgroup_2_quota_is_rounded_up(machine: Path, quota: str, cores: int) -> None:
    (machine / "fs/cgroup").mkdir(parents=True)
    (machine / "fs/cgroup/cpu.max").write_text(quota + "\n")
    assert physical_cores(machine) == cores


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("-1", 4)])
def test_cgroup_1_quota(machine: Path, quota: str, cores: int) -> None:
    (machine / "fs/cgroup/cpu").mkdir(parents=True)
    (machine / "fs/cgroup/cpu/cpu.cfs_quota_us").write_text(quota + "\n")
    (machine / "fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")
    assert physical_cores(machine) == cores


def test_without_topology_every_cpu_is_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    assert physical_cores(tmp_path) == 3


def test_this_machine_has_at_least_one() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
