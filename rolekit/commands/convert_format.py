"""`rolekit convert adapter --to peft|mlx`: the same adapter for the other training package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

Target = Literal["gguf", "peft", "mlx"]
_PACKAGES = {"peft": "peft", "mlx": "mlx-lm"}


def to_package(folder: Path, target: Literal["peft", "mlx"], out: Path, base: str, as_json: bool) -> None:
    """Write the adapter in folder to the folder out, as peft or mlx-lm loads it."""
    from rolekit.commands.progress import advise
    from rolekit.train.interop import convert_adapter

    made = convert_adapter(folder, target, out, base=base)
    if as_json:
        result = {
            "folder": str(made.out),
            "format": made.target_format,
            "from": made.source_format,
            "modules": made.modules,
            "rank": made.rank,
            "padded": made.padded,
            "folded": made.folded,
        }
        print(json.dumps(result, ensure_ascii=False))
        return
    print(f"{made.out}: an adapter for {_PACKAGES[target]}, {made.modules} modules of rank {made.rank}")
    if made.padded or made.folded:
        advise(
            f"{_PACKAGES[target]} has one rank and one scale: {made.padded} modules got rows of zeros, and {made.folded} "
            "keep their scale in their weights; what they compute is the same"
        )
