"""The options that commands of different kinds read alike: each is described here, once."""

from __future__ import annotations

from typing import Annotated

import typer

from rolekit.config import MOST_THREADS

RunFolder = Annotated[
    str, typer.Option("--out", metavar="RUN", help="The run's folder; the same command goes on with it.")
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads", min=0, max=MOST_THREADS, metavar="N", help="CPU threads; 0: the physical cores."
    ),
]
ChatTemplate = Annotated[
    str | None, typer.Option("--chat-template", metavar="NAME|FILE", help="Template name or a .jinja file.")
]
Prompting = Annotated[
    str, typer.Option("--prompting", metavar="HOW", help="zero-shot, few-shot-prompt or few-shot-dialogue.")
]

Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, max=256, metavar="N", help="Requests under way at a server.")
]
MaxUsd = Annotated[
    float | None, typer.Option("--max-usd", min=0, metavar="X", help="Stop before a server costs more.")
]
MaxRequests = Annotated[
    int | None, typer.Option("--max-requests", min=0, metavar="N", help="Stop before more requests are sent.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
