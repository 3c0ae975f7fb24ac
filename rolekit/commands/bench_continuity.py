"""`rolekit bench continuity`: roles and scripted users, for twenty turns."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands import bench_options as options
from rolekit.commands import common_options as common
from rolekit.commands.bench_asking import Chosen, open_answerer
from rolekit.commands.progress import progress
from rolekit.messages import Sampling
from rolekit.paths import expanded, write_text
from rolekit.text import count

if TYPE_CHECKING:
    from rolekit.rolebench.answering import Answerer
    from rolekit.rolebench.continuity import ContinuityFigures, Dialogue
    from rolekit.roles.role import Role


def continuity(
    out: common.RunFolder,
    role: Annotated[list[str], typer.Option(metavar="NAME", help="A role of the library; repeatable.")],
    model: options.ModelOption = None, adapter: options.AdapterOption = None,
    turns: Annotated[int, typer.Option(min=2, max=20, metavar="N", help="Turns of each dialogue.")] = 20,
    max_tokens: options.MaxTokens = 80, temperature: options.Temperature = 0.0, seed: options.Seed = 0,
    ctx: options.Ctx = 8192, threads: common.Threads = 0, max_usd: common.MaxUsd = None,
    max_requests: common.MaxRequests = None, as_json: options.Json = False,
) -> None:  # fmt: skip
    """Let roles talk with scripted users for twenty turns: does the voice fade, does it repeat or contradict itself?

    Every exchange is kept as it comes; the same command goes on, and what a server was paid for is not paid again.
    """
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
    sampling = Sampling(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0)
    settings = {"turns": turns, "max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    chosen = Chosen(
        model, tuple(adapter or ()), ctx, threads, concurrency=1, max_usd=max_usd, max_requests=max_requests
    )
    with alone_in(folder):
        answerer = _in_turn(open_answerer(folder, chosen))
        recipe = _recipe(model or "", answerer.identity, roles, settings)
        asyncio.run(_talk(folder, wanted, answerer, recipe, sampling))
        dialogues = resumed(folder, wanted)
    found = continuity_figures(dialogues)
    write_text(folder / "continuity.json", json.dumps(asdict(found), ensure_ascii=False, indent=1) + "\n")
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
    else:
        _print(found)


def _in_turn(answerer: Answerer) -> Answerer:
    from rolekit.rolebench.answering import LocalAnswerer

    return answerer.in_turn() if isinstance(answerer, LocalAnswerer) else answerer


async def _talk(
    folder: Path, wanted: list[Dialogue], answerer: Answerer, recipe: dict[str, Any], sampling: Sampling
) -> None:
    """Bring every dialogue to its end. Raises RolekitError where that fails; what was said is kept."""
    from rolekit.rolebench.recipe import settle
    from rolekit.rolebench.talking import resumed, talk

    try:
        settle(folder, recipe)
        dialogues = resumed(folder, wanted)
        begun = sum(len(one.replies) for one in dialogues)
        how = {name: recipe[name] for name in ("max_tokens", "seed")}
        with progress() as show:
            async with aclosing(talk(folder, dialogues, answerer, sampling, **how)) as steps:
                async for said in steps:
                    dialogue = said.dialogue
                    what = f"{dialogue.role.name}, {dialogue.script}, turn {len(dialogue.replies)}"
                    show(what, said.done - begun, said.total - begun)
    finally:
        await answerer.close()


def _recipe(
    ref: str, identity: dict[str, Any], roles: list[Role], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything that decides the replies: versions, the model by its hash, the roles by theirs, the settings."""
    from rolekit.rolebench.recipe import versions
    from rolekit.rolebench.runs import FORMAT
    from rolekit.roles.block import opening_messages

    hashes = {}
    for role in roles:
        opening = [[message.speaker, message.text] for message in opening_messages(role, "")]
        hashes[role.name] = hashlib.sha256(json.dumps(opening).encode()).hexdigest()
    made = {"format": FORMAT, "probe": "continuity", "versions": versions(), "ref": ref, **identity}
    return {**made, "roles": hashes, **settings}


def _print(found: ContinuityFigures) -> None:
    print(f"{found.dialogues} dialogues, {count(found.replies)} replies, {found.empty} of them empty")
    print("turn  style  catchphrase  repeated")
    for row in found.turns:
        bar = "█" * round(20 * row.style)
        print(f"{row.turn:4}  {row.style:.3f}  {row.catchphrases:11.0%}  {row.repeated:8.0%}  {bar}")
    print(f"style of the last five turns less the first five: {found.style_drift:+.3f}")
    print(f"facts asked twice {found.facts_asked_twice}, contradicted {found.contradictions}")
    print(f"replies given word for word before {found.same_replies}, fell out of the role {found.fell_out}")
