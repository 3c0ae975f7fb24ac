"""The options of `rolekit chat`, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="NAME", help="Who to talk to: a name, an alias, a role file or a card; "
                 "two to six make a room."),
]  # fmt: skip
Turns = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY", help="In a room: who answers. named (who is called), round-robin, talkative."
    ),
]
Say = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="Say this and print the reply; repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="With --say: one JSON object a reply.")]
Plain = Annotated[bool, typer.Option("--plain", help="Line mode, for pipes and screen readers.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="REF", help="A .gguf file, `starter`, hf:owner/repo/file.gguf, or openai:MODEL@URL."
    ),
]
Adapters = Annotated[
    list[str] | None,
    typer.Option("--adapter", metavar="[ROLE=]PATH[:SCALE]",
                 help="GGUF LoRA adapter, in a room perhaps one role's; repeatable."),
]  # fmt: skip
User = Annotated[str | None, typer.Option(metavar="NAME", help="The name the role knows you by.")]
Persona = Annotated[
    str | None, typer.Option(metavar="NAME", help="Be this persona of personas.toml in a new chat.")
]
Guard = Annotated[
    bool, typer.Option("--guard/--no-guard", help="Try once more when a reply falls out of character.")
]
Memory = Annotated[
    bool, typer.Option("--memory/--no-memory", help="Sum up and recall what no longer fits the context.")
]
Moderation = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Moderate by the rules in FILE; `off`: not at all, which is the default."
    ),
]
Session = Annotated[str | None, typer.Option(metavar="NAME", help="Go on with this named chat, or begin it.")]
New = Annotated[bool, typer.Option("--new", help="Begin a new chat instead of going on.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Same seed, same replies.")]
MaxTokens = Annotated[int, typer.Option(min=0, metavar="N", help="Longest reply in tokens; 0: no limit.")]
Preset = Annotated[
    str | None, typer.Option(metavar="NAME", help="Sampling preset: default, precise, creative, …")
]
Ctx = Annotated[int, typer.Option(min=0, metavar="N", help="Context in tokens; 0: as in config.toml.")]
Import = Annotated[
    Path | None,
    typer.Option("--import", metavar="FILE",
                 help="Go on with a chat from SillyTavern (.jsonl) or an export (.json)."),
]  # fmt: skip
List = Annotated[bool, typer.Option("--list", help="List the chats and exit.")]
Find = Annotated[str | None, typer.Option(metavar="WORDS", help="Show who said these words, and exit.")]
