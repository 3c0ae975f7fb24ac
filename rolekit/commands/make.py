"""`rolekit make`: a text in, a measured character out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands.progress import advise
from rolekit.config import MOST_THREADS
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, expanded, home, write_text
from rolekit.roles.names import slug_of
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.commands.make_log import Log
    from rolekit.commands.make_plan import Making, Wishes

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)
PAGE = "summary.html"
_MOST = 10**6


@app.command()
def make(
    role: Annotated[str, typer.Option("--role", metavar="NAME", help="Who it is, as the text has the name.")],
    text: Annotated[
        list[str],
        typer.Option("--text", metavar="FILE", help="A story, a script, letters, notes; repeatable."),
    ],
    out: Annotated[
        str,
        typer.Option("--out", metavar="DIR", help="Where everything goes; a folder of its own without it."),
    ] = "",
    base: Annotated[
        str,
        typer.Option(
            "--base", metavar="REF", help="The model that learns: starter, a .gguf, a folder, hf:…."
        ),
    ] = "starter",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="REF",
            help="Who writes the rows and completes the profile; else the base itself, and rules.",
        ),
    ] = "",
    alias: Annotated[
        list[str] | None,
        typer.Option(
            "--alias", metavar="NAME", help="What else the texts call it (I: the teller); repeatable."
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(metavar="TAG", help="Of the role, as en, zh or de; read from the text without it.")
    ] = "",
    first: Annotated[
        str,
        typer.Option(
            "--from", metavar="STEP", help="Do this step and the later ones again, whatever is there."
        ),
    ] = "",
    small: Annotated[
        bool,
        typer.Option("--small", help="A trial of the whole path with a few rows: quick, and no good actor."),
    ] = False,
    rows: Annotated[
        int | None, typer.Option(min=1, max=_MOST, metavar="N", help="Candidates about the role [400].")
    ] = None,
    instructions: Annotated[
        int | None,
        typer.Option(min=0, max=_MOST, metavar="N", help="General questions answered in its voice [100]."),
    ] = None,
    dialogues: Annotated[
        int | None, typer.Option(min=0, max=_MOST, metavar="N", help="Whole conversations [10].")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.01, max=1000, metavar="X", help="Passes over the rows [2].")
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(min=0, max=_MOST, metavar="N", help="Held-out questions to ask; 0: all [100]."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A key of the training recipe.")
    ] = None,
    merged: Annotated[
        str,
        typer.Option("--merged", metavar="TYPE", help="Make one file of base and adapter too, as Q4_K_M."),
    ] = "",
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Prove the converted files against what was trained.")
    ] = True,
    max_usd: Annotated[
        float | None, typer.Option("--max-usd", min=0, metavar="X", help="Stop before a server costs more.")
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option("--max-requests", min=0, metavar="N", help="Stop before more are sent.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Requests under way at a server.")
    ] = 8,
    threads: Annotated[
        int, typer.Option(min=0, max=MOST_THREADS, metavar="N", help="CPU threads; 0: the physical cores.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Same seed, same draws.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what stands, what is to come and what it costs, and stop.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines on stderr instead of live pictures.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one JSON object; nothing on stderr but steps and errors.")
    ] = False,
) -> None:
    """Make a character of a text: profile, rows, training, GGUF, and the score before and after.

    Every step is a run in the folder. Ctrl+C, a crash or a power cut loses nothing: the same command goes on. What
    is finished is skipped, unless what it rests on has changed: an edited role file, a decision in the audit (F5).
    """
    from rolekit.commands.make_plan import SMALL, STEPS, Sizes, Wishes

    if first and first not in STEPS:
        raise typer.BadParameter(f"It must be one of {', '.join(STEPS)}.", param_hint="--from")
    normal = SMALL if small else Sizes()
    sizes = Sizes(
        rows=normal.rows if rows is None else rows,
        per_call=normal.per_call if rows is None else 0,
        instructions=normal.instructions if instructions is None else instructions,
        dialogues=normal.dialogues if dialogues is None else dialogues,
        prompting=normal.prompting,
        epochs=normal.epochs if epochs is None else epochs,
        steps=normal.steps if epochs is None else 0,
        row_tokens=normal.row_tokens,
        questions=normal.questions if questions is None else questions,
        answer_tokens=normal.answer_tokens,
    )
    folder = expanded(out) if out else home() / "runs" / f"make-{slug_of(role)}"
    wishes = Wishes(
        role.strip(), tuple(expanded(path).absolute() for path in text), folder.absolute(), base, model,
        tuple(alias or ()), language, sizes, tuple(settings or ()), merged, verify and not small, max_usd, max_requests, concurrency, threads, seed,
        as_json, plain,
    )  # fmt: skip
    _check(wishes)
    row = _dry(wishes) if dry_run else _made(wishes, first)
    if as_json:
        print(json.dumps(row, ensure_ascii=False))
    elif not dry_run:
        from rolekit.commands.make_page import score_lines

        print("\n".join([*score_lines(row["scores"]), f"summary: {row['page']}", *row["next"]]))


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
