"""`rolekit convert verify`: a file against the model and the adapter it was made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolekit.commands.convert_options import (
    AdapterOption,
    AsJson,
    BaseOption,
    ChatTemplate,
    Conversations,
    DataOption,
    MaxKl,
    RoleOption,
)
from rolekit.errors import RolekitError

if TYPE_CHECKING:
    from rolekit.commands.progress import Report
    from rolekit.convert.job import Job
    from rolekit.convert.proof import Proof
    from rolekit.convert.verify import Candidate, Demands


def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.gguf",
            help="The file to prove: a model, or an adapter together with --model.",
            show_default=False,
        ),
    ],
    base: BaseOption,
    adapter: AdapterOption = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="REF",
            help="The GGUF model that an adapter file is put on.",
            show_default=False,
        ),
    ] = "",
    data: DataOption = None,
    role: RoleOption = "",
    conversations: Conversations = 6,
    max_kl: MaxKl = None,
    chat_template: ChatTemplate = "",
    as_json: AsJson = False,
) -> None:
    """Prove that a file behaves like what was trained: tokens, prompts, greedy answers, KL divergence, ends, tensors.

    Exit code 1 when it does not, or when something could not be compared.
    """
    from rolekit.commands.progress import progress
    from rolekit.convert.bases import resolve_base
    from rolekit.convert.job import Job
    from rolekit.convert.provenance import provenance
    from rolekit.convert.references import open_reference, reference_source
    from rolekit.convert.verify import verify as prove

    source = resolve_base(base)
    origin = provenance(source, adapter, role=role)
    wanted = demands(data, origin.role, conversations, max_kl)
    template = template_source(chat_template or origin.named_template)
    candidate, job = _candidate(file, model, source), Job(base=source, out=file, adapter=adapter)
    with progress() as report:
        proof = prove(
            candidate,
            reference_source(source),
            open_reference(job),
            replace(wanted, chat_template=template, adapter=adapter),
            report,
        )
        if not candidate.adapters:
            proof = _with_tensors(proof, job, report)
    show(proof, file, as_json=as_json)
    if not proof.verified:
        raise typer.Exit(1)


def _with_tensors(proof: Proof, job: Job, report: Report) -> Proof:
    """The proof with every tensor's error; where the file has other tensors than its source makes, that is said."""
    from rolekit.convert.tensor_errors import tensor_errors

    try:
        return replace(proof, tensors=tensor_errors(job, job.out, progress=report))
    except RolekitError as error:
        return replace(proof, unverified=(*proof.unverified, f"Tensors were not compared: {error}"))


def demands(data: Path | None, role: str, conversations: int, max_kl: float | None) -> Demands:
    """What to verify with: the user's data, else the library's roles."""
    from rolekit.commands.progress import advise
    from rolekit.convert.conversations import bundled_conversations, read_conversations
    from rolekit.convert.verify import Demands

    if data is None:
        return Demands(bundled_conversations(conversations, role), mean_kl=max_kl)
    talks, skipped = read_conversations(data, conversations, role)
    if skipped:
        advise(f"{skipped} lines of {data.name} hold no conversation and were left out")
    return Demands(talks, mean_kl=max_kl)


def template_source(choice: str) -> str:
    """The Jinja source of a named chat template or a .jinja file; empty for no choice.

    Raises RolekitError when there is none of that name.
    """
    if not choice:
        return ""
    from rolekit.engine.gguf_header import GgufHeader
    from rolekit.engine.templates import load_template

    return load_template(choice, GgufHeader(3, {}, (), 32, 0, 0)).source


def show(proof: Proof, file: Path, *, as_json: bool) -> None:
    """Print the report: a table, or one JSON object."""
    if as_json:
        print(json.dumps({"file": str(file), **proof.as_json()}, ensure_ascii=False))
        return
    from rolekit.commands.convert_page import print_proof
    from rolekit.commands.model_pages import console_of_stdout

    print_proof(console_of_stdout(), proof)


def _candidate(file: Path, model: str, source: Path) -> Candidate:
    from rolekit.convert.verify import Candidate
    from rolekit.engine.gguf_header import read_header
    from rolekit.engine.references import resolve

    if read_header(file).text("general.type") != "adapter":
        return Candidate(file)
    if not model and source.is_dir():
        raise RolekitError(
            f"{file.name} is an adapter, which needs a model to be put on.",
            "Name its GGUF file with --model.",
        )
    return Candidate(resolve(model) if model else source, ((file, 1.0),))
