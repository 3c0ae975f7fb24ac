"""In which numbers to compute, and in which to keep frozen weights: by what the device can really do."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from rolekit.errors import RolekitError

_NATIVE_FLAGS = frozenset(("avx512_bf16", "amx_bf16", "bf16", "svebf16"))
"""Names in /proc/cpuinfo, x86 and Arm, of instructions that multiply bfloat16."""


@dataclass(frozen=True, slots=True)
class Precision:
    """compute: activations and matrix products. storage: frozen weights. Adapters are always fp32."""

    compute: torch.dtype
    storage: torch.dtype | None
    """None: the 16-bit type that the weights' source fits best (see load_base)."""


def precision(wanted: str, device: torch.device, cpuinfo: Path = Path("/proc/cpuinfo")) -> Precision:
    """What to use on a device; wanted is auto, float32, bfloat16 or float16.

    auto computes in bfloat16 only where the device multiplies it natively: emulated it is 8 to 200 times slower
    than fp32. Weights are kept in 16 bits either way, unless float32 is asked for.
    """
    if wanted == "float32":
        return Precision(torch.float32, torch.float32)
    if wanted == "float16":
        if device.type == "cpu":
            raise RolekitError("Processors do not compute in float16.", 'Set dtype = "auto" in the recipe.')
        return Precision(torch.float16, torch.float16)
    if wanted == "bfloat16" or _bf16_is_native(device, cpuinfo):
        return Precision(torch.bfloat16, torch.bfloat16)
    return Precision(torch.float32, None)


def _bf16_is_native(device: torch.device, cpuinfo: Path) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(_NATIVE_FLAGS & _cpu_flags(cpuinfo))


def _cpu_flags(cpuinfo: Path) -> set[str]:
    if sys.platform != "linux" or platform.machine() == "":
        return set()
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {
        flag
        for line in lines
        if line.lower().startswith(("flags", "features"))
        for flag in line.partition(":")[2].split()
    }
