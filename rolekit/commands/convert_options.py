"""The options of `rolekit convert` and its subcommands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BaseOption = Annotated[
    str,
    typer.Option(
        "--base", metavar="REF", help="What it was made of: a Hugging Face folder.", show_default=False
    ),
]
AdapterOption = Annotated[
    Path | None,
    typer.Option(
        "--adapter", metavar="DIR", help="The PEFT or MLX adapter that was trained.", show_default=False
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE.jsonl",
        help="Conversations to compare on, chats or RoleBench records; by default the bundled roles' own.",
        show_default=False,
    ),
]
RoleOption = Annotated[
    str,
    typer.Option(
        "--role", metavar="NAME", help="The role it plays; by default the adapter's.", show_default=False
    ),
]
Conversations = Annotated[
    int, typer.Option("--conversations", min=1, max=1000, help="How many conversations to compare.")
]
MaxKl = Annotated[
    float | None,
    typer.Option(
        "--max-kl", min=0, help="Your own limit on the mean KL divergence, in nats.", show_default=False
    ),
]
ChatTemplate = Annotated[
    str,
    typer.Option(
        "--chat-template",
        metavar="NAME|FILE",
        help="The template in place of the base's own; by default the one that training took.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]

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
MergedAdapter = Annotated[
    Path | None,
    typer.Option("--adapter", metavar="DIR", help="A PEFT or MLX adapter to merge.", show_default=False),
]
TypeName = Annotated[
    str,
    typer.Option(
        "--type",
        metavar="TYPE|auto",
        help="Q4_K_M, Q8_0, F16, … as llama.cpp names them; `auto` finds the smallest file under --max-kl.",
    ),
]
Imatrix = Annotated[
    str,
    typer.Option(
        "--imatrix",
        metavar="FILE|auto",
        help="An importance matrix, or `auto`: made of --data (the training set) first.",
        show_default=False,
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", metavar="FILE", help="Types for single tensors; they win.", show_default=False),
]
Split = Annotated[
    str,
    typer.Option(
        "--split-max-size", metavar="SIZE", help="Write files of at most this, as 4G.", show_default=False
    ),
]
Check = Annotated[bool, typer.Option("--verify/--no-verify", help="Prove the file before it gets its name.")]
Extras = Annotated[
    bool | None,
    typer.Option(
        "--card/--no-card",
        help="Write an Ollama Modelfile and a model card beside it; by default where there is a role.",
        show_default=False,
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=0, help="0 means all cores this process may use.")]
AllowDifferences = Annotated[
    bool,
    typer.Option(
        "--allow-tokenizer-differences",
        help="Write the file although llama.cpp splits some texts otherwise than the model's tokenizer.",
    ),
]
