"""`rolekit bench boundary` and `refusals`: what the paper leaves out, one question at a time."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands import bench_options as options
from rolekit.commands import common_options as common
from rolekit.commands.bench_asking import Asking, Chosen, Settings, carry_out, check_whole
from rolekit.commands.progress import advise
from rolekit.errors import RolekitError
from rolekit.messages import Sampling
from rolekit.paths import expanded, write_text
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.rolebench.boundary import BoundaryFigures
    from rolekit.rolebench.records import Record

_GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)


def boundary(
    data: Annotated[
        str, typer.Option(metavar="PATH", help="RoleBench rows; the script-based ones are used.")
    ],
    out: common.RunFolder,
    model: options.ModelOption = None,
    adapter: options.AdapterOption = None,
    per_role: Annotated[int, typer.Option(min=1, metavar="N", help="Questions of each kind a role.")] = 2,
    role: options.Role = None,
    max_tokens: options.MaxTokens = 96,
    ctx: options.Ctx = 4096,
    threads: common.Threads = 0,
    concurrency: common.Concurrency = 8,
    max_usd: common.MaxUsd = None,
    as_json: options.Json = False,
) -> None:
    """Ask roles what they cannot know (another role's questions, a later age's) and count who invents.

    Answers are judged by rules; the role's own questions are asked too, for who never answers is no good either.
    """
    from rolekit.rolebench.boundary import boundary_figures
    from rolekit.rolebench.records import find_data

    path = find_data(data)
    made = _boundary_questions(path, per_role, role)
    chosen = Chosen(model, tuple(adapter or ()), ctx, threads, concurrency=concurrency, max_usd=max_usd)
    asking = _ask(expanded(out), path, made, chosen, "boundary", max_tokens)
    found = boundary_figures(asking.planned.records, _answers(asking))
    _save(asking.run.folder / "boundary.json", asdict(found))
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
    else:
        _print_boundary(found)
    check_whole(asking)


def _boundary_questions(path: Path, per_role: int, roles: list[str] | None) -> tuple[Record, ...]:
    from rolekit.rolebench.boundary import boundary_records
    from rolekit.rolebench.casting import wanted_roles
    from rolekit.rolebench.cleaning import clean
    from rolekit.rolebench.records import read_records, usable

    rows = clean(usable(read_records(path, "" if path.is_file() else "test"), path)).records
    made = boundary_records(rows, per_role)
    if roles:
        names = wanted_roles(roles, (record.role for record in made))
        made = tuple(record for record in made if record.role in names)
    if not made:
        raise RolekitError(
            f"{path} has no script-based questions.",
            "Use role-specific rows of RoleBench, which say their type.",
        )
    return made


def _print_boundary(found: BoundaryFigures) -> None:
    print("says that it does not know, of the answers that are not empty, 95 % interval")
    for one in found.kinds:
        ends = one.abstained_interval
        print(
            f"  {one.kind:12} {one.abstained:6.1%}  {ends.low:.1%} to {ends.high:.1%}   {count(one.answers)} answers,"
            f" {one.empty} empty"
        )
    if found.discernment is not None:
        print(f"  discernment  {found.discernment:+.3f}  (beyond its world less its own; 1 is perfect)")


def refusals(
    out: common.RunFolder,
    model: options.ModelOption = None,
    adapter: options.AdapterOption = None,
    role: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Ask in this role, too; repeatable.")
    ] = None,
    max_tokens: options.MaxTokens = 64,
    ctx: options.Ctx = 2048,
    threads: common.Threads = 0,
    concurrency: common.Concurrency = 8,
    max_usd: common.MaxUsd = None,
    as_json: options.Json = False,
) -> None:
    """Ask for what should be turned down, before and after each adapter: role data erodes safety.

    The model alone is asked first, then with every --adapter by itself, each into a folder of its own in RUN. Rules
    judge the answers.
    """
    from rolekit.rolebench.refusals import refusal_figures, refusal_records

    folder, roles = expanded(out), tuple(role or ())
    sides = [("before", ()), *((f"after-{n}", (text,)) for n, text in enumerate(adapter or (), start=1))]
    table: dict[str, Any] = {}
    for name, adapters in sides:
        chosen = Chosen(model, tuple(adapters), ctx, threads, concurrency=concurrency, max_usd=max_usd)
        made = refusal_records(roles or ("",))
        condition = "system" if roles else "none"
        asking = _ask(folder / name, folder, made, chosen, "refusals", max_tokens, customise=condition)
        check_whole(asking)
        found = refusal_figures(asking.planned.records, _answers(asking))
        title = one_line(adapters[0], 60) if adapters else "the model alone"
        table[name] = {"what": title, **(asdict(found) if found else {})}
    _save(folder / "refusals.json", table)
    if as_json:
        print(json.dumps(table, ensure_ascii=False))
    else:
        _print_refusals(table)


def _print_refusals(table: dict[str, Any]) -> None:
    print("turned down, of the answers that are not empty, 95 % interval")
    for side in table.values():
        if "refused" not in side:
            print(f"  {side['what']}: every answer is empty")
            continue
        ends = side["refused_interval"]
        print(
            f"  harmful {side['refused']:6.1%}  {ends['low']:.1%} to {ends['high']:.1%}   fine {side['refused_fine']:6.1%}"
            f"   empty {side['empty']}   {side['what']}"
        )
    befores = table["before"].get("refused")
    for name, side in table.items():
        if name != "before" and befores is not None and "refused" in side:
            print(f"  change {side['refused'] - befores:+.1%} with {side['what']}")


def _ask(
    folder: Path,
    data: Path,
    records: tuple[Record, ...],
    chosen: Chosen,
    probe: str,
    max_tokens: int,
    customise: str = "system",
) -> Asking:
    from rolekit.rolebench.casting import Casting, read_descriptions
    from rolekit.rolebench.planning import Plan
    from rolekit.rolebench.retrieval import Pairs
    from rolekit.rolebench.running import by_role, unique
    from rolekit.roles.library import RoleLibrary

    kept, _ = unique(records)
    planned = Plan(tuple(by_role(kept)), Casting(RoleLibrary(), read_descriptions(data)), Pairs((), ()), "")
    advise(f"{count(len(kept))} questions.")
    settings = Settings(str(data), {"probe": probe}, "zero-shot", customise, _GREEDY, max_tokens, 0, probe)
    return carry_out(folder, planned, chosen, settings)


def _answers(asking: Asking) -> Any:
    from rolekit.rolebench.answers import read_answers

    return read_answers(asking.run.answers_file).answers


def _save(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
