"""How many threads are worth starting: the physical cores this process may use."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path


def physical_cores(sysfs: Path = Path("/sys")) -> int:
    """Physical cores this process may use, at least 1: affinity mask, SMT siblings and cgroup quota considered.

    Decoding is bound by memory, so a second thread on one core only waits for the first.
    On macOS the performance cores count: one slow core holds up all the others at every layer.
    """
    if sys.platform == "darwin":
        return _mac_performance_cores() or os.cpu_count() or 1
    allowed = _allowed_cpus()
    cores = {_core_of(cpu, sysfs) for cpu in allowed}
    return max(1, min(len(cores), _quota_cpus(sysfs) or len(cores)))


def _allowed_cpus() -> set[int]:
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _core_of(cpu: int, sysfs: Path) -> str:
    """The same text for all hyper-threads of one core; without topology every CPU is its own core."""
    siblings = sysfs / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    return _read(siblings) or str(cpu)


def _quota_cpus(sysfs: Path) -> int | None:
    """Whole CPUs the cgroup (v2, then v1) grants, rounded up; None means no limit."""
    root = sysfs / "fs/cgroup"
    quota, _, period = _read(root / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(root / "cpu/cpu.cfs_quota_us"), _read(root / "cpu/cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None
    return max(1, math.ceil(int(quota) / int(period)))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _mac_performance_cores() -> int:
    asked = subprocess.run(
        ["sysctl", "-n", "hw.perflevel0.physicalcpu"], capture_output=True, text=True, check=False
    )
    return int(asked.stdout) if asked.returncode == 0 and asked.stdout.strip().isdigit() else 0
