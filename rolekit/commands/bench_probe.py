"""`rolekit bench boundary`, `refusals` and `continuity`: what the paper leaves out."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands.bench_asking import Asking, Chosen, Settings, carry_out, check_whole
from rolekit.commands.bench_run import AdapterOption, ConcurrencyOption, MaxUsdOption, ModelOption
from rolekit.commands.progress import advise, progress
from rolekit.config import MOST_THREADS
from rolekit.errors import RolekitError
from rolekit.messages import Sampling
from rolekit.paths import expanded, write_text
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.rolebench.continuity import ContinuityFigures, Dialogue
    from rolekit.rolebench.records import Record

Out = Annotated[str, typer.Option(metavar="RUN", help="The run's folder; the same command goes on with it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RoleOption = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this role; repeatable.")]
MaxTokens = Annotated[int, typer.Option(min=1, metavar="N", help="Longest answer in tokens.")]
Threads = Annotated[
    int, typer.Option(min=0, max=MOST_THREADS, metavar="N", help="CPU threads; 0: all cores.")
]
Ctx = Annotated[int, typer.Option(min=0, metavar="N", help="Context in tokens.")]
_GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)


def boundary(
    data: Annotated[
        str, typer.Option(metavar="PATH", help="RoleBench rows; the script-based ones are used.")
    ],
    out: Out,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    per_role: Annotated[int, typer.Option(min=1, metavar="N", help="Questions of each kind a role.")] = 2,
    role: RoleOption = None,
    max_tokens: MaxTokens = 96,
    ctx: Ctx = 4096,
    threads: Threads = 0,
    concurrency: ConcurrencyOption = 8,
    max_usd: MaxUsdOption = None,
    as_json: Json = False,
) -> None:
    """Ask roles what they cannot know (another role's questions, a later age's) and count who invents.

    Answers are judged by rules; the role's own questions are asked too, for who never answers is no good either.
    """
    from rolekit.rolebench.boundary import boundary_figures, boundary_records
    from rolekit.rolebench.casting import wanted_roles
    from rolekit.rolebench.cleaning import clean
    from rolekit.rolebench.records import find_data, read_records, usable

    path = find_data(data)
    rows = clean(usable(read_records(path, "" if path.is_file() else "test"), path)).records
    made = boundary_records(rows, per_role)
    if role:
        names = wanted_roles(role, (record.role for record in made))
        made = tuple(record for record in made if record.role in names)
    if not made:
        raise RolekitError(
            f"{path} has no script-based questions.",
            "Use role-specific rows of RoleBench, which say their type.",
        )
    chosen = Chosen(model, tuple(adapter or ()), ctx, threads, concurrency=concurrency, max_usd=max_usd)
    asking = _ask(expanded(out), path, made, chosen, "boundary", max_tokens)
    found = boundary_figures(asking.planned.records, _answers(asking))
    _save(asking.run.folder / "boundary.json", asdict(found))
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
    else:
        print("says that it does not know, of the answers that are not empty, 95 % interval")
        for one in found.kinds:
            ends = one.abstained_interval
            print(
                f"  {one.kind:12} {one.abstained:6.1%}  {ends.low:.1%} to {ends.high:.1%}   {count(one.answers)} answers,"
                f" {one.empty} empty"
            )
        if found.discernment is not None:
            print(f"  discernment  {found.discernment:+.3f}  (beyond its world less its own; 1 is perfect)")
    check_whole(asking)


def refusals(
    out: Out,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    role: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Ask in this role, too; repeatable.")
    ] = None,
    max_tokens: MaxTokens = 64,
    ctx: Ctx = 2048,
    threads: Threads = 0,
    concurrency: ConcurrencyOption = 8,
    max_usd: MaxUsdOption = None,
    as_json: Json = False,
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
        return
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


def continuity(
    out: Out,
    role: Annotated[list[str], typer.Option(metavar="NAME", help="A role of the library; repeatable.")],
    model: ModelOption = None,
    adapter: AdapterOption = None,
    turns: Annotated[int, typer.Option(min=2, max=20, metavar="N", help="Turns of each dialogue.")] = 20,
    max_tokens: MaxTokens = 80,
    temperature: Annotated[float, typer.Option(min=0, max=5, metavar="X", help="0 is greedy.")] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 100, metavar="N", help="Same seed, same replies.")
    ] = 0,
    ctx: Ctx = 8192,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Let roles talk with scripted users for twenty turns: does the voice fade, does it repeat or contradict itself?"""
    from rolekit.commands.opening import ModelChoice, open_backend_aside
    from rolekit.config import load_config
    from rolekit.rolebench.continuity import Dialogue, continuity_figures, scripts
    from rolekit.rolebench.recipe import alone_in
    from rolekit.rolebench.talking import resumed
    from rolekit.roles.library import RoleLibrary

    folder, library = expanded(out), RoleLibrary()
    roles = [library.find(name).loaded() for name in role]
    wanted = [
        Dialogue(one, script, said[:turns], ())
        for one in roles
        for script, said in scripts(one.language, one.name).items()
    ]
    recipe = {
        "format": 1, "model": model or "", "adapters": list(adapter or ()), "roles": [one.name for one in roles],
        "turns": turns, "max_tokens": max_tokens, "temperature": temperature, "seed": seed, "ctx": ctx,
    }  # fmt: skip
    with alone_in(folder):
        _same_recipe(folder, recipe)
        dialogues = resumed(folder, wanted)
        choice = ModelChoice(model, tuple(adapter or ()), ctx, threads)
        sampling = Sampling(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0)
        if any(len(one.replies) < len(one.turns) for one in dialogues):
            backend = open_backend_aside(choice, load_config())
            asyncio.run(_talk(folder, dialogues, backend, sampling, max_tokens, seed))
        dialogues = resumed(folder, wanted)
    found = continuity_figures(dialogues)
    _save(folder / "continuity.json", asdict(found))
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
    else:
        _print_continuity(found)


async def _talk(
    folder: Path, dialogues: list[Dialogue], backend: Any, sampling: Sampling, max_tokens: int, seed: int
) -> None:
    from rolekit.rolebench.talking import talk

    begun = sum(len(one.replies) for one in dialogues)
    try:
        with progress() as show:
            steps = talk(folder, dialogues, backend, sampling, max_tokens=max_tokens, seed=seed)
            async with aclosing(steps):
                async for said in steps:
                    what = f"{said.dialogue.role.name}, {said.dialogue.script}, turn {len(said.dialogue.replies)}"
                    show(what, said.done - begun, said.total - begun)
    finally:
        await backend.close()


def _print_continuity(found: ContinuityFigures) -> None:
    print(f"{found.dialogues} dialogues, {count(found.replies)} replies, {found.empty} of them empty")
    print("turn  style  catchphrase  repeated")
    for row in found.turns:
        bar = "█" * round(20 * row.style)
        print(f"{row.turn:4}  {row.style:.3f}  {row.catchphrases:11.0%}  {row.repeated:8.0%}  {bar}")
    print(f"style of the last five turns less the first five: {found.style_drift:+.3f}")
    print(f"facts asked twice {found.facts_asked_twice}, contradicted {found.contradictions}")
    print(f"replies given word for word before {found.same_replies}, fell out of the role {found.fell_out}")


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


def _same_recipe(folder: Path, recipe: dict[str, Any]) -> None:
    path = folder / "recipe.json"
    if not path.is_file():
        _save(path, recipe)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RolekitError(
            f"{path} cannot be read ({error}).", "Choose another folder with --out."
        ) from error
    faults = [
        f"{name} was {one_line(json.dumps(before.get(name)), 60)} and is now {one_line(json.dumps(value), 60)}"
        for name, value in recipe.items()
        if before.get(name) != value
    ]
    if faults:
        raise RolekitError(
            f"The run in {folder} was begun with another recipe: {'; '.join(faults)}.",
            "Use the old settings to go on with it, or choose another folder with --out.",
        )
