"""`rolekit synth rolegpt`, `context-instruct` and `dialogues`: a role's training rows, written by a model."""

from __future__ import annotations

from typing import Annotated

import typer

from rolekit.commands import common_options as common
from rolekit.commands import synth_options as options
from rolekit.commands.bench_options import one_of
from rolekit.commands.synth_running import Wishes, carry_out


def rolegpt(
    role: options.Role,
    out: common.RunFolder,
    model: options.Model = None,
    instructions: options.Instructions = "",
    most: options.Most = 0,
    prompting: common.Prompting = "few-shot-dialogue",
    references: options.References = 5,
    baseline: options.Baseline = True,
    seed: options.Seed = 0,
    temperature: options.Temperature = 0.7,
    concurrency: common.Concurrency = 8,
    max_usd: common.MaxUsd = None,
    max_requests: common.MaxRequests = None,
    ctx: options.Ctx = 4096,
    threads: common.Threads = 0,
    parallel: options.Parallel = 8,
    dry_run: common.DryRun = False,
    as_json: options.Json = False,
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
    role: options.Role,
    out: common.RunFolder,
    model: options.Model = None,
    candidates: options.Candidates = 400,
    per_call: options.PerCall = 0,
    not_knowing: options.NotKnowing = 40,
    refusal: options.Refusal = 20,
    check: options.Check = False,
    seed: options.Seed = 0,
    temperature: options.Temperature = 0.7,
    concurrency: common.Concurrency = 8,
    max_usd: common.MaxUsd = None,
    max_requests: common.MaxRequests = None,
    ctx: options.Ctx = 4096,
    threads: common.Threads = 0,
    parallel: options.Parallel = 8,
    dry_run: common.DryRun = False,
    as_json: options.Json = False,
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
    role: options.Role,
    out: common.RunFolder,
    model: options.Model = None,
    number: options.Number = 20,
    turns: options.Turns = "4-12",
    seed: options.Seed = 0,
    temperature: options.Temperature = 0.7,
    concurrency: common.Concurrency = 8,
    max_usd: common.MaxUsd = None,
    max_requests: common.MaxRequests = None,
    ctx: options.Ctx = 4096,
    threads: common.Threads = 0,
    parallel: options.Parallel = 8,
    dry_run: common.DryRun = False,
    as_json: options.Json = False,
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
    as_json: options.Json = False,
) -> None:
    """Write the accepted rows in RoleBench's layout and as chat JSONL, with a data card."""
    from rolekit.commands.synth_running import tell_export
    from rolekit.paths import expanded
    from rolekit.synthesis.exporting import export as write

    tell_export(write(expanded(run), expanded(out) if out else None, test_share=test), as_json)
