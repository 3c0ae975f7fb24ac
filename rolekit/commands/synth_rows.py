"""`rolekit synth rolegpt`, `context-instruct` and `dialogues`: a role's training rows, written by a model."""

from __future__ import annotations

from typing import Annotated

import typer

from rolekit.commands.bench_options import ConcurrencyOption, MaxRequestsOption, MaxUsdOption, one_of
from rolekit.commands.synth_running import Wishes, carry_out
from rolekit.config import MOST_THREADS

RoleOption = Annotated[
    str, typer.Option("--role", metavar="NAME|FILE", help="A role of the library, or a role file.")
]
OutOption = Annotated[
    str,
    typer.Option("--out", metavar="RUN", help="The run's folder; the same command goes on with it."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="REF", help="Who writes: openai:MODEL[@BASE_URL], a .gguf, `starter`, hf:…"
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Same seed, same requests.")]
TemperatureOption = Annotated[float, typer.Option(min=0, max=2, metavar="X", help="The paper's is 0.7.")]
CtxOption = Annotated[
    int, typer.Option("--ctx", min=0, metavar="N", help="Context of a model in this process, in tokens.")
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        "--threads", min=0, max=MOST_THREADS, metavar="N", help="CPU threads; 0: the physical cores."
    ),
]
ParallelOption = Annotated[
    int,
    typer.Option("--parallel", min=1, max=64, metavar="N", help="Answers decoded together in this process."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")]
JsonOption = Annotated[bool, typer.Option("--json", help="End with one JSON object.")]


def rolegpt(
    role: RoleOption,
    out: OutOption,
    model: ModelOption = None,
    instructions: Annotated[
        str,
        typer.Option(metavar="PATH", help="General instructions in any format; without it the bundled set."),
    ] = "",
    most: Annotated[
        int, typer.Option(min=0, metavar="N", help="Ask N instructions, chosen by hash; 0: all.")
    ] = 0,
    prompting: Annotated[
        str, typer.Option(metavar="HOW", help="zero-shot, few-shot-prompt or few-shot-dialogue.")
    ] = "few-shot-dialogue",
    references: Annotated[
        int, typer.Option(min=1, max=20, metavar="N", help="Answers to learn from, an instruction.")
    ] = 5,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="One answer more, to compare models with.")
    ] = True,
    seed: SeedOption = 0,
    temperature: TemperatureOption = 0.7,
    concurrency: ConcurrencyOption = 8,
    max_usd: MaxUsdOption = None,
    max_requests: MaxRequestsOption = None,
    ctx: CtxOption = 4096,
    threads: ThreadsOption = 0,
    parallel: ParallelOption = 8,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer general instructions in the role's voice, several times each (RoleGPT).

    Ctrl+C, a crash or a power cut loses nothing, and nothing is paid twice: the same command goes on.
    """
    from rolekit.paths import expanded
    from rolekit.rolebench.prompting import PROMPTINGS
    from rolekit.synthesis.recipe import RoleGpt

    how = one_of("--prompting", prompting, PROMPTINGS)
    path = str(expanded(instructions)) if instructions else ""
    task = RoleGpt(how, path, most, references, baseline)
    wishes = Wishes(
        role, out, model, seed, temperature, concurrency, max_usd, max_requests, ctx, threads, parallel
    )
    carry_out(task, wishes, dry_run=dry_run, as_json=as_json)


def context_instruct(
    role: RoleOption,
    out: OutOption,
    model: ModelOption = None,
    candidates: Annotated[
        int, typer.Option(min=0, metavar="N", help="Ask for at least N question-answer pairs.")
    ] = 400,
    per_call: Annotated[
        int, typer.Option(min=0, max=20, metavar="N", help="Pairs in one request; 0: as fits the model.")
    ] = 0,
    not_knowing: Annotated[
        int, typer.Option(min=0, metavar="N", help="Rows about what the role cannot know.")
    ] = 40,
    refusal: Annotated[
        int, typer.Option(min=0, max=24, metavar="N", help="Rows in which the role turns something down.")
    ] = 20,
    check: Annotated[
        bool, typer.Option("--check", help="Let the model look over what the rules accept.")
    ] = False,
    seed: SeedOption = 0,
    temperature: TemperatureOption = 0.7,
    concurrency: ConcurrencyOption = 8,
    max_usd: MaxUsdOption = None,
    max_requests: MaxRequestsOption = None,
    ctx: CtxOption = 4096,
    threads: ThreadsOption = 0,
    parallel: ParallelOption = 8,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write questions about the role itself, from its profile and from RUN/segments.jsonl, and answer them.

    Only what the model is sure of, is new, and passes the cleaning rules is accepted; what a segment does not bear
    out is held for a person. Every row stays in RUN/rows.jsonl with its reason.
    """
    from rolekit.synthesis.recipe import ContextInstruct

    task = ContextInstruct(candidates, per_call, not_knowing, refusal, check)
    wishes = Wishes(
        role, out, model, seed, temperature, concurrency, max_usd, max_requests, ctx, threads, parallel
    )
    carry_out(task, wishes, dry_run=dry_run, as_json=as_json)


def dialogues(
    role: RoleOption,
    out: OutOption,
    model: ModelOption = None,
    number: Annotated[int, typer.Option("--dialogues", min=1, metavar="N", help="How many.")] = 20,
    turns: Annotated[
        str, typer.Option(metavar="LEAST-MOST", help="Exchanges of a dialogue, between 1 and 30.")
    ] = "4-12",
    seed: SeedOption = 0,
    temperature: TemperatureOption = 0.7,
    concurrency: ConcurrencyOption = 8,
    max_usd: MaxUsdOption = None,
    max_requests: MaxRequestsOption = None,
    ctx: CtxOption = 4096,
    threads: ThreadsOption = 0,
    parallel: ParallelOption = 8,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a simulated user talk with the role over several turns."""
    from rolekit.synthesis.recipe import Dialogues

    least, dash, most = turns.partition("-")
    most = most if dash else least
    if not (least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most) <= 30):
        raise typer.BadParameter("--turns is a range such as 4-12, between 1 and 30.")
    task = Dialogues(number, int(least), int(most))
    wishes = Wishes(
        role, out, model, seed, temperature, concurrency, max_usd, max_requests, ctx, threads, parallel
    )
    carry_out(task, wishes, dry_run=dry_run, as_json=as_json)


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder.")],
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where to; else RUN/export.")] = None,
    test: Annotated[
        float, typer.Option(min=0, max=0.9, metavar="SHARE", help="Share of questions held out for tests.")
    ] = 0.1,
    as_json: JsonOption = False,
) -> None:
    """Write the accepted rows in RoleBench's layout and as chat JSONL, with a data card."""
    from rolekit.commands.synth_running import tell_export
    from rolekit.paths import expanded
    from rolekit.synthesis.exporting import export as write

    tell_export(write(expanded(run), expanded(out) if out else None, test_share=test), as_json)
