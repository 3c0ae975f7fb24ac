"""The options that several of `rolekit bench`'s commands share, or that would bury a command among its options."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rolekit.config import MOST_THREADS

Out = Annotated[str, typer.Option(metavar="RUN", help="The run's folder; the same command goes on with it.")]
Data = Annotated[str, typer.Option(metavar="PATH", help="RoleBench: its folder, or a .jsonl of its rows.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="REF", help="A .gguf, `starter`, hf:… or openai:MODEL[@BASE_URL]."),
]
AdapterOption = Annotated[
    list[str] | None, typer.Option("--adapter", metavar="PATH[:SCALE]", help="GGUF LoRA adapter; repeatable.")
]
Ctx = Annotated[int, typer.Option(min=0, metavar="N", help="Context in tokens.")]
Threads = Annotated[
    int, typer.Option(min=0, max=MOST_THREADS, metavar="N", help="CPU threads; 0: the physical cores.")
]
ChatTemplate = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="Template name or a .jinja file.")
]
Parallel = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Answers decoded together.")]

ConcurrencyOption = Annotated[
    int, typer.Option(min=1, max=256, metavar="N", help="Requests under way at a server.")
]
MaxUsdOption = Annotated[
    float | None, typer.Option("--max-usd", min=0, metavar="X", help="Stop before a server costs more.")
]
MaxRequestsOption = Annotated[
    int | None, typer.Option("--max-requests", min=0, metavar="N", help="Stop before more requests are sent.")
]

Role = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this role; repeatable.")]
Kind = Annotated[
    list[str] | None, typer.Option(metavar="KIND", help="general or role_specific; both without it.")
]
PerRole = Annotated[int, typer.Option(min=0, metavar="N", help="Questions a role, chosen by hash; 0: all.")]
Split = Annotated[str, typer.Option(metavar="NAME", help="test or train, where data is a folder.")]
Prompting = Annotated[
    str, typer.Option(metavar="HOW", help="zero-shot, few-shot-prompt or few-shot-dialogue.")
]
Customise = Annotated[
    str, typer.Option(metavar="HOW", help="system, retrieval or none: what tells the model who it is.")
]
Examples = Annotated[
    str | None, typer.Option(metavar="PATH", help="Rows to take example pairs from; else data's train split.")
]
Label = Annotated[str, typer.Option(metavar="TEXT", help="What reports call this run.")]

MaxTokens = Annotated[int, typer.Option(min=1, metavar="N", help="Longest answer in tokens.")]
Temperature = Annotated[float, typer.Option(min=0, max=5, metavar="X", help="0 is greedy.")]
TopP = Annotated[float, typer.Option(min=0, max=1, metavar="X", help="Nucleus; 1 switches it off.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 100, metavar="N", help="Same seed, same answers.")]


def one_of(option: str, value: str, known: tuple[Any, ...]) -> Any:
    """value, which must be one of known. Raises BadParameter that lists them."""
    if value not in known:
        raise typer.BadParameter(f"{option} is one of {', '.join(known)}.")
    return value
