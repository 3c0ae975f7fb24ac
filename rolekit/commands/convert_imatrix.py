"""`rolekit convert imatrix`: which weights matter to a role, measured on its conversations."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from rolekit.commands.convert_options import AsJson, RoleOption


def imatrix(
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE",
            help="The model that will be quantized: a folder, a .gguf file, `starter`.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.gguf", help="The file to write.", show_default=False)
    ],
    adapter: Annotated[
        Path | None,
        typer.Option(
            "--adapter", metavar="DIR", help="The adapter that will be merged into it.", show_default=False
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Conversations (.jsonl) or plain text; by default what the adapter was trained on, else the bundled "
            "roles' examples. May be given again.",
            show_default=False,
        ),
    ] = None,
    role: RoleOption = "",
    conversations: Annotated[
        int, typer.Option("--conversations", min=1, max=100_000, help="At most so many of them.")
    ] = 400,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="0 means the physical cores this process may use.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Compute an importance matrix in this process, in llama.cpp's format: rolekit convert --imatrix FILE takes it,
    and so does llama-quantize."""
    from rolekit.commands.progress import advise, progress
    from rolekit.convert.bases import resolve_base
    from rolekit.convert.calibration import calibrate_job, texts_for
    from rolekit.convert.imatrix import write_imatrix
    from rolekit.convert.job import Job
    from rolekit.convert.provenance import provenance
    from rolekit.text import count

    started = time.perf_counter()
    source = resolve_base(base)
    texts = texts_for(data or [], adapter, role or provenance(source, adapter).role, conversations)
    advise(f"calibrating on {texts.source}")
    if texts.skipped:
        advise(f"{texts.skipped} lines hold no conversation and were left out")
    with progress() as report:
        matrix = calibrate_job(Job(source, out, adapter, threads=threads), texts, report)
    write_imatrix(matrix, out)
    tokens = max(int(entry.counts[0]) for entry in matrix.entries.values())
    seconds = time.perf_counter() - started
    if as_json:
        result = {
            "file": str(out),
            "weights": len(matrix.entries),
            "tokens": tokens,
            "conversations": len(texts.conversations),
            "source": texts.source,
            "seconds": round(seconds, 3),
        }
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(
            f"{out}: {len(matrix.entries)} weights on {count(tokens)} tokens of {texts.source}, {seconds:.0f} s"
        )
    advise(f"use it: rolekit convert {base} --imatrix {out} --type Q4_K_M --out MODEL.gguf")
