"""The options of `rolekit synth`'s commands."""

from __future__ import annotations

from typing import Annotated

import typer

Role = Annotated[
    str, typer.Option("--role", metavar="NAME|FILE", help="A role of the library, or a role file.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="REF", help="Who writes: openai:MODEL[@BASE_URL], a .gguf, `starter`, hf:…"
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Same seed, same requests.")]
Temperature = Annotated[float, typer.Option(min=0, max=2, metavar="X", help="The paper's is 0.7.")]
Ctx = Annotated[
    int, typer.Option("--ctx", min=0, metavar="N", help="Context of a model in this process, in tokens.")
]
Parallel = Annotated[
    int,
    typer.Option("--parallel", min=1, max=64, metavar="N", help="Answers decoded together in this process."),
]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object.")]

Instructions = Annotated[
    str,
    typer.Option(metavar="PATH", help="General instructions in any format; without it the bundled set."),
]
Most = Annotated[int, typer.Option(min=0, metavar="N", help="Ask N instructions, chosen by hash; 0: all.")]
References = Annotated[
    int, typer.Option(min=1, max=20, metavar="N", help="Answers to learn from, an instruction.")
]
Baseline = Annotated[
    bool, typer.Option("--baseline/--no-baseline", help="One answer more, to compare models with.")
]

Candidates = Annotated[
    int, typer.Option(min=0, metavar="N", help="Ask for at least N question-answer pairs.")
]
PerCall = Annotated[
    int, typer.Option(min=0, max=20, metavar="N", help="Pairs in one request; 0: as fits the model.")
]
NotKnowing = Annotated[int, typer.Option(min=0, metavar="N", help="Rows about what the role cannot know.")]
Refusal = Annotated[
    int, typer.Option(min=0, max=24, metavar="N", help="Rows in which the role turns something down.")
]
Check = Annotated[bool, typer.Option("--check", help="Let the model look over what the rules accept.")]

Number = Annotated[int, typer.Option("--dialogues", min=1, metavar="N", help="How many.")]
Turns = Annotated[str, typer.Option(metavar="LEAST-MOST", help="Exchanges of a dialogue, between 1 and 30.")]
