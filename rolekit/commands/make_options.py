"""The options of `rolekit make`."""

from __future__ import annotations

from typing import Annotated

import typer

_MOST = 10**6

Role = Annotated[str, typer.Option("--role", metavar="NAME", help="Who it is, as the text has the name.")]
Texts = Annotated[
    list[str], typer.Option("--text", metavar="FILE", help="A story, a script, letters, notes; repeatable.")
]
Out = Annotated[
    str, typer.Option("--out", metavar="DIR", help="Where everything goes; a folder of its own without it.")
]
Base = Annotated[
    str,
    typer.Option("--base", metavar="REF", help="The model that learns: starter, a .gguf, a folder, hf:…."),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="REF",
        help="Who writes the rows and completes the profile; else the base itself, and rules.",
    ),
]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="NAME", help="What else the texts call it (I: the teller); repeatable."),
]
Language = Annotated[
    str, typer.Option(metavar="TAG", help="Of the role, as en, zh or de; read from the text without it.")
]
First = Annotated[
    str,
    typer.Option("--from", metavar="STEP", help="Do this step and the later ones again, whatever is there."),
]

Small = Annotated[
    bool,
    typer.Option("--small", help="A trial of the whole path with a few rows: quick, and no good actor."),
]
Rows = Annotated[
    int | None, typer.Option(min=1, max=_MOST, metavar="N", help="Candidates about the role [400].")
]
Instructions = Annotated[
    int | None,
    typer.Option(min=0, max=_MOST, metavar="N", help="General questions answered in its voice [100]."),
]
Dialogues = Annotated[
    int | None, typer.Option(min=0, max=_MOST, metavar="N", help="Whole conversations [10].")
]
Epochs = Annotated[
    float | None, typer.Option(min=0.01, max=1000, metavar="X", help="Passes over the rows [2].")
]
Questions = Annotated[
    int | None,
    typer.Option(min=0, max=_MOST, metavar="N", help="Held-out questions to ask; 0: all [100]."),
]

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A key of the training recipe.")
]
Merged = Annotated[
    str, typer.Option("--merged", metavar="TYPE", help="Make one file of base and adapter too, as Q4_K_M.")
]
Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Prove the converted files against what was trained.")
]
MaxRequests = Annotated[
    int | None, typer.Option("--max-requests", min=0, metavar="N", help="Stop before more are sent.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Same seed, same draws.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what stands, what is to come and what it costs, and stop.")
]
Plain = Annotated[bool, typer.Option("--plain", help="Lines on stderr instead of live pictures.")]
Json = Annotated[
    bool, typer.Option("--json", help="End with one JSON object; nothing on stderr but steps and errors.")
]
