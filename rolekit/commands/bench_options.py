"""The options that several of `rolekit bench`'s commands share, or that would bury a command among its options."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Data = Annotated[str, typer.Option(metavar="PATH", help="RoleBench: its folder, or a .jsonl of its rows.")]
_ANSWERS = "A run folder, or a .jsonl of answers."
Answers = Annotated[str, typer.Argument(metavar="RUN|ANSWERS", help=_ANSWERS)]
Before = Annotated[str, typer.Argument(metavar="BEFORE", help=_ANSWERS)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
JsonByScorer = Annotated[bool, typer.Option("--json", help="Print one JSON object a scorer.")]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="REF", help="A .gguf, `starter`, hf:… or openai:MODEL[@BASE_URL]."),
]
AdapterOption = Annotated[
    list[str] | None, typer.Option("--adapter", metavar="PATH[:SCALE]", help="GGUF LoRA adapter; repeatable.")
]
Ctx = Annotated[int, typer.Option(min=0, metavar="N", help="Context in tokens.")]
Parallel = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Answers decoded together.")]

Role = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this role; repeatable.")]
Kind = Annotated[
    list[str] | None, typer.Option(metavar="KIND", help="general or role_specific; both without it.")
]
PerRole = Annotated[int, typer.Option(min=0, metavar="N", help="Questions a role, chosen by hash; 0: all.")]
Split = Annotated[str, typer.Option(metavar="NAME", help="test or train, where data is a folder.")]
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
