"""`rolekit make`: a text in, a measured character out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from rolekit.commands import common_options as common
from rolekit.commands import make_options as given
from rolekit.commands.progress import advise
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, expanded, home, write_text
from rolekit.roles.names import slug_of
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.commands.make_log import Log
    from rolekit.commands.make_plan import Making, Sizes, Wishes

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)
PAGE = "summary.html"


@app.command()
def make(
    role: given.Role,
    text: given.Texts,
    out: given.Out = "",
    base: given.Base = "starter",
    model: given.Model = "",
    alias: given.Aliases = None,
    language: given.Language = "",
    first: given.First = "",
    small: given.Small = False,
    rows: given.Rows = None,
    instructions: given.Instructions = None,
    dialogues: given.Dialogues = None,
    epochs: given.Epochs = None,
    questions: given.Questions = None,
    settings: given.Settings = None,
    merged: given.Merged = "",
    verify: given.Verify = True,
    max_usd: common.MaxUsd = None,
    max_requests: given.MaxRequests = None,
    concurrency: common.Concurrency = 8,
    threads: common.Threads = 0,
    seed: given.Seed = 0,
    dry_run: given.DryRun = False,
    plain: given.Plain = False,
    as_json: given.Json = False,
) -> None:
    """Make a character of a text: profile, rows, training, GGUF, and the score before and after.

    Every step is a run in the folder. Ctrl+C, a crash or a power cut loses nothing: the same command goes on. What
    is finished is skipped, unless what it rests on has changed: an edited role file, a decision in the audit (F5).
    """
    from rolekit.commands.make_plan import STEPS, Wishes

    if first and first not in STEPS:
        raise typer.BadParameter(f"It must be one of {', '.join(STEPS)}.", param_hint="--from")
    sizes = _sizes(
        small, rows=rows, instructions=instructions, dialogues=dialogues, epochs=epochs, questions=questions
    )
    folder = expanded(out) if out else home() / "runs" / f"make-{slug_of(role)}"
    wishes = Wishes(
        role.strip(), tuple(expanded(path).absolute() for path in text), folder.absolute(), base, model,
        tuple(alias or ()), language, sizes, tuple(settings or ()), merged, verify and not small,
        max_usd, max_requests, concurrency, threads, seed, as_json, plain,
    )  # fmt: skip
    _check(wishes)
    row = _dry(wishes) if dry_run else _made(wishes, first)
    if as_json:
        print(json.dumps(row, ensure_ascii=False))
    elif not dry_run:
        from rolekit.commands.make_page import score_lines

        print("\n".join([*score_lines(row["scores"]), f"summary: {row['page']}", *row["next"]]))


def _sizes(small: bool, **asked: float | None) -> Sizes:
    """The usual sizes, or those of a trial, with what was asked for in their place."""
    from rolekit.commands.make_plan import SMALL, Sizes

    wanted: dict[str, Any] = {name: size for name, size in asked.items() if size is not None}
    if "rows" in wanted:
        wanted["per_call"] = 0
    if "epochs" in wanted:
        wanted["steps"] = 0
    return replace(SMALL if small else Sizes(), **wanted)


def _check(wishes: Wishes) -> None:
    """Everything that can be known to be wrong before hours are spent. Raises RolekitError."""
    from rolekit.convert.bases import resolve_base

    if not wishes.role:
        raise RolekitError("The role has no name.", 'Give the name that the text uses: --role "Ada".')
    for path in wishes.texts:
        if not path.is_file():
            raise RolekitError(f"There is no file {one_line(str(path), 300)}.", "Check --text.")
    resolve_base(wishes.base)


def _steps() -> list[Any]:
    """The five steps, each with the module that knows how."""
    from rolekit.commands import make_bench, make_convert, make_profile, make_synthesis, make_train
    from rolekit.commands.make_steps import Step

    return [
        Step("profile", make_profile.inputs, make_profile.carry_out, ("role.toml", "profile.json")),
        Step("synthesis", make_synthesis.inputs, make_synthesis.carry_out, make_synthesis.KEEPS),
        Step("train", make_train.inputs, make_train.carry_out),
        Step("convert", make_convert.inputs, make_convert.carry_out),
        Step("bench", make_bench.inputs, make_bench.carry_out),
    ]


def _made(wishes: Wishes, first: str) -> dict[str, Any]:
    from rolekit.commands.make_log import Log
    from rolekit.commands.make_plan import Making
    from rolekit.commands.make_steps import alone_in, walk

    ensure_dir(wishes.folder)
    advise(f"everything goes into {wishes.folder}")
    making = Making(wishes)
    with alone_in(wishes.folder):
        log = Log(wishes.folder)
        try:
            walk(making, _steps(), log, first, advise)
        except KeyboardInterrupt:
            advise("stopped; nothing is lost: the same command (without --from) goes on.")
            raise
        return _finished(making, log)


def _finished(making: Making, log: Log) -> dict[str, Any]:
    """Write the page; the object that `--json` prints."""
    from rolekit.commands.make_page import page
    from rolekit.commands.make_plan import STEPS

    says = _next(making)
    target = making.folder / PAGE
    write_text(target, page(making, log, says).encode("utf-8", "replace").decode())
    results = making.results
    convert = {name: str(making.path(path)) if path else None for name, path in _files(results["convert"])}
    return {
        "status": "finished",
        "role": making.role().name,
        "run": str(making.folder),
        "role_file": str(making.role_file()),
        **convert,
        "page": str(target),
        "scores": results["bench"]["scores"],
        "rows": results["train"]["rows"],
        "usd": round(sum(result.get("usd", 0.0) for result in results.values()), 6),
        "requests": sum(result.get("requests", 0) for result in results.values()),
        "seconds": {name: round(log.of(name).seconds, 1) for name in STEPS},
        "next": says,
    }


def _files(convert: dict[str, Any]) -> list[tuple[str, str]]:
    return [("adapter", convert["adapter"]), ("model", convert["model"])]


def _next(making: Making) -> list[str]:
    """How to talk to the character, and how to go on improving it."""
    from rolekit.commands.make_convert import chat_model

    made, name = making.results["convert"], making.role().name
    base = chat_model(making)
    model = "" if base == "starter" else f' --model "{base}"'
    if made["adapter"]:
        talk = f'next: rolekit chat --role "{name}"{model} --adapter "{making.path(made["adapter"])}"'
    else:
        talk = f'next: rolekit chat --role "{name}" --model "{making.path(made["model"])}"'
    return [talk]


def _dry(wishes: Wishes) -> dict[str, Any]:
    """What stands, and what is to come; nothing is written and nothing is sent."""
    from rolekit.commands.make_log import Log
    from rolekit.commands.make_plan import Making
    from rolekit.commands.make_steps import standing
    from rolekit.commands.make_synthesis import estimate

    making = Making(wishes)
    states = standing(making, _steps(), Log(wishes.folder))
    costs = estimate(making)
    if not wishes.quiet:
        for name, state in states.items():
            print(f"{name:10} {state}")
        price = (
            f"${costs['low_usd']:.2f} to ${costs['high_usd']:.2f}"
            if costs["priced"]
            else "at a price nobody wrote down"
        )
        print(
            f"the rows take about {count(costs['requests'])} requests ({count(costs['kept'])} are answered already),"
            f" {count(costs['prompt_tokens'])} tokens read, {count(costs['answer_tokens'])} to"
            f" {count(costs['most_tokens'])} written, {price}"
        )
        print("training says what it takes once the rows are there, before its first step")
    return {"status": "dry run", "run": str(wishes.folder), "steps": states, "estimate": costs}
