"""How much memory this process has used at most."""

from __future__ import annotations

import sys


def peak_bytes() -> int:
    """The most memory used so far: of the GPU where one is in use, else of this process."""
    return _device_bytes() or _process_bytes()


def _process_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _device_bytes() -> int:
    """Of a GPU that an already loaded library computes on; 0 without one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    mx = sys.modules.get("mlx.core")
    if mx is not None and mx.default_device().type == mx.DeviceType.gpu:
        return int(mx.get_peak_memory())
    return 0
