"""`rolekit convert adapter`: a trained adapter as a GGUF file that is put on a model at run time, or for peft or mlx-lm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rolekit.commands.convert_format import Target, to_package
from rolekit.commands.convert_options import AsJson, RoleOption


def adapter(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The adapter's folder, as PEFT or mlx-lm wrote it.", show_default=False
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="REF",
            help="The model it was trained on: a folder, or a GGUF. With --to peft or mlx: its name, if another.",
            show_default=False,
        ),
    ] = "",
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE.gguf|DIR",
            help="The file to write; with --to peft or mlx, the folder.",
            show_default=False,
        ),
    ] = Path(),
    to: Annotated[
        Target, typer.Option("--to", help="gguf for chats, or the format of the other training package.")
    ] = "gguf",
    role: RoleOption = "",
    as_json: AsJson = False,
) -> None:
    """Make a GGUF adapter: rolekit chat --adapter FILE.gguf puts it on the model, and takes it off, in no time.

    With --to peft or --to mlx: the same adapter for the other package, exact, loadable by it as it is.
    GGUF: LoRA only. DoRA, trained embeddings and whole modules have to be merged: rolekit convert BASE --adapter DIR.
    """
    if not out.name:
        raise typer.BadParameter("Name what to write with --out.")
    if to != "gguf":
        to_package(folder, to, out, base, as_json)
        return
    if not base:
        raise typer.BadParameter("Name the model it was trained on with --base.")

    from rolekit.commands.progress import advise
    from rolekit.convert.adapter_conversion import convert_adapter
    from rolekit.convert.bases import resolve_base
    from rolekit.convert.provenance import provenance
    from rolekit.text import size

    source = resolve_base(base)
    metadata = provenance(source, folder, base_ref=base, role=role).metadata()
    made = convert_adapter(folder, source, out, metadata)
    if as_json:
        result = {
            "file": str(made.path),
            "architecture": made.arch,
            "tensors": made.tensors,
            "ranks": list(made.ranks),
            "size_bytes": made.size_bytes,
        }
        print(json.dumps(result, ensure_ascii=False))
    else:
        ranks = ", ".join(map(str, made.ranks))
        print(f"{made.path}: changes {made.tensors} weights (rank {ranks}), {size(made.size_bytes)}")
    advise(f"try it: rolekit chat --model MODEL.gguf --adapter {out}")
