"""LoRA adapters between peft and mlx-lm: exact, both ways, loadable by the stock packages.

Facts of both formats: peft 0.21 (`adapter_config.json`, `adapter_model.safetensors`) and mlx-lm 0.32
(`adapter_config.json`, `adapters.safetensors`). Nothing is loaded but numpy and safetensors.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rolekit.adapter_folder import CONFIG_FILE, WEIGHTS_FILES, Format, format_of
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, write_text
from rolekit.text import one_line
from rolekit.train.interop_mlx import read_mlx, to_mlx
from rolekit.train.interop_peft import read_peft, to_peft
from rolekit.train.lora_adapter import LoraAdapter, LoraModule
from rolekit.train.tensors import Tensor, write_tensors

SIDECARS = ("rolekit.json",)
"""Our own files in an adapter folder, which go along."""
_MODEL_CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Converted:
    """What convert_adapter made."""

    out: Path
    source_format: Format
    target_format: Format
    modules: int
    rank: int
    """The rank written: the largest of all modules."""
    padded: int
    """How many modules had a smaller rank and got rows of zeros, which change nothing."""
    folded: int
    """How many modules had a scale of their own, which went into b (one float32 rounding)."""


def read_adapter(folder: Path) -> LoraAdapter:
    """The adapter in folder, whichever package wrote it.

    Raises RolekitError, naming everything that stands in the way, when it is no LoRA or DoRA adapter over linear
    layers.
    """
    return read_peft(folder) if format_of(folder) == "peft" else read_mlx(folder)


def convert_adapter(source: Path, target_format: Format, out: Path, *, base: str = "") -> Converted:
    """Write the adapter in source as target_format to the folder out, in one step.

    An adapter whose modules share rank and scale keeps every number; others keep what they compute: smaller ranks
    get zeros, odd scales go into b. An adapter folder at out is replaced. base is what the new folder names as its
    base model (empty: what the old one names).
    Raises RolekitError when the adapter cannot be expressed, or out holds something else.
    """
    source_format = format_of(source)
    if source_format == target_format:
        raise RolekitError(
            f"{source} is in {target_format}'s format already.",
            f"Choose --to {'mlx' if target_format == 'peft' else 'peft'}, or use it as it is.",
        )
    adapter = read_adapter(source)
    adapter = replace(adapter, base=base or adapter.base)
    uniform = unified(adapter)
    config, tensors = (to_peft if target_format == "peft" else to_mlx)(uniform)
    own = {name: (source / name).read_bytes() for name in SIDECARS if (source / name).is_file()}
    _write_folder(out, target_format, config, tensors, own)
    pairs = list(zip(adapter.modules, uniform.modules, strict=True))
    return Converted(
        out,
        source_format,
        target_format,
        len(pairs),
        uniform.modules[0].rank,
        sum(before.rank != after.rank for before, after in pairs),
        sum(before.scale != after.scale for before, after in pairs),
    )


def unified(adapter: LoraAdapter) -> LoraAdapter:
    """The same adapter with one rank and one scale for all modules: what every format can say.

    The scale that most modules have stays; where another differs, its ratio goes into b.
    """
    scales = [module.scale for module in adapter.modules]
    scale = max(dict.fromkeys(scales), key=scales.count) or 1.0
    rank = max(module.rank for module in adapter.modules)
    modules = tuple(
        LoraModule(
            module.path,
            module.a.padded(rank, axis=0),
            module.b.padded(rank, axis=1).scaled(module.scale / scale),
            scale,
            module.magnitude,
        )
        for module in adapter.modules
    )
    return replace(adapter, modules=modules)


def _write_folder(
    out: Path,
    target_format: Format,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    own: Mapping[str, bytes],
) -> None:
    """Build the folder beside out, then let it take out's place."""
    _check_place(out)
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    old = out.with_name(f"{out.name}.{os.getpid()}.old")
    ensure_dir(part)
    try:
        write_tensors(part / WEIGHTS_FILES[target_format], tensors, {"format": "pt"})
        write_text(
            part / CONFIG_FILE, json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        )
        for name, content in own.items():
            (part / name).write_bytes(content)
        if out.exists():
            out.rename(old)
        part.rename(out)
    except OSError as error:
        raise RolekitError(
            f"{out} could not be written ({error.strerror or error}).", "Make room or choose another place."
        ) from error
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_place(out: Path) -> None:
    if not out.exists():
        return
    known = {CONFIG_FILE, *WEIGHTS_FILES.values(), *SIDECARS, _MODEL_CARD}
    strange = [] if not out.is_dir() else sorted(set(os.listdir(out)) - known)
    if not out.is_dir() or strange:
        raise RolekitError(
            f"{out} exists and is no adapter folder"
            + (f" (it holds {one_line(strange[0])})." if strange else "."),
            "Choose another --out.",
        )
