"""`rolekit roles`: list, show, make, check, import and export roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolekit.errors import RolekitError
from rolekit.text import one_line, sanitize

if TYPE_CHECKING:
    from rolekit.roles.faults import Fault
    from rolekit.roles.library import Entry

app = typer.Typer(
    help="List, show, make and check roles.",
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RoleArgument = Annotated[str, typer.Argument(help="Name, alias or file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is already there.")]


@app.command("list")
def list_roles(as_json: Json = False) -> None:
    """All roles: the bundled ones and yours."""
    from rolekit.roles.library import RoleLibrary

    entries = RoleLibrary().all()
    if as_json:
        for entry in entries:
            print(json.dumps(_summary(entry), ensure_ascii=False))
        return
    from rolekit.commands.roles_page import print_table

    print_table(entries)
    broken = [entry for entry in entries if entry.role is None]
    if broken:
        typer.echo(f"{len(broken)} of them cannot be used; `rolekit roles check` says why.", err=True)


@app.command()
def facts(
    role: RoleArgument,
    source: Annotated[
        Path, typer.Argument(help="A .jsonl of facts or answers, or the folder of a synth run.")
    ],
    as_json: Json = False,
) -> None:
    """Give a role facts of its life, which come up in a chat when the talk turns to them."""
    from rolekit.commands.roles_facts import take_facts
    from rolekit.roles.library import RoleLibrary

    take_facts(RoleLibrary().find(role), source, as_json=as_json)


@app.command()
def show(role: RoleArgument, as_json: Json = False) -> None:
    """One role, like a page of a book."""
    from rolekit.roles.library import RoleLibrary

    entry = RoleLibrary().find(role)
    loaded = entry.loaded()
    if as_json:
        print(json.dumps({**_summary(entry), **loaded.model_dump(mode="json")}, ensure_ascii=False))
        return
    from rolekit.commands.roles_page import print_page

    print_page(loaded, entry.slug)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The role's full name.")],
    edit: Annotated[bool, typer.Option("--edit", help="Open it in $EDITOR at once.")] = False,
) -> None:
    """Start a role of your own: a commented file to fill in."""
    from importlib.resources import files

    from rolekit.paths import roles_dir, write_text
    from rolekit.roles.names import slug_of

    clean = one_line(name, 200)
    if not clean:
        raise RolekitError("A role needs a name.", 'Give one: rolekit roles new "Ada Byron".')
    path = roles_dir() / f"{slug_of(clean)}.toml"
    refuse_to_replace(path, "Choose another name, or edit that file.")
    template = (files("rolekit.roles") / "template.toml").read_text(encoding="utf-8")
    write_text(path, template.replace('"NAME"', json.dumps(clean, ensure_ascii=False)))
    print(sanitize(str(path)))
    if edit:
        _edit(path)
        _print_faults([path], as_json=False)


@app.command()
def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Role files or folders; without any, all roles.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say everything that is wrong with role files, with file and line."""
    files = list(_files(paths)) if paths else _all_files()
    _print_faults(files, as_json=as_json)


@app.command("import")
def import_role(
    file: Annotated[
        Path, typer.Argument(help="A role file (.toml) or a character card (.png, .json, .charx, …).")
    ],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Put a role file or a character card among your own; a card's trust sheet is shown, and the card kept."""
    from rolekit.paths import roles_dir
    from rolekit.roles.cards.card import CARD_SUFFIXES
    from rolekit.roles.names import slug_of
    from rolekit.roles.toml import load_role

    if file.suffix.lower() in CARD_SUFFIXES:
        from rolekit.commands.roles_cards import import_card

        return import_card(file, force=force, as_json=as_json)
    load_role(file)
    path = roles_dir() / f"{slug_of(file.stem)}.toml"
    if not force:
        refuse_to_replace(path, "Rename the new file, or replace yours with --force.")
    _copy(file, path)


@app.command("export")
def export_role(
    role: RoleArgument,
    file: Annotated[
        Path, typer.Argument(help="Where to write it: .toml, a card (.png, .json, .charx), or a folder.")
    ],
    force: Force = False,
    spec: Annotated[
        str | None, typer.Option(metavar="v2|v3", help="Which card format; as it came, else v3.")
    ] = None,
) -> None:
    """Write a role's file somewhere else, to give it away; as a card for other programs, with all it came with."""
    from rolekit.roles.cards.card import CARD_SUFFIXES
    from rolekit.roles.library import RoleLibrary

    if spec not in (None, "v2", "v3"):
        raise typer.BadParameter("--spec is v2 or v3.")
    entry = RoleLibrary().find(role)
    entry.loaded()
    target = file / f"{entry.slug}.toml" if file.is_dir() else file
    if not force:
        refuse_to_replace(target, "Choose another place, or replace it with --force.")
    if target.suffix.lower() in CARD_SUFFIXES:
        from rolekit.commands.roles_cards import export_card

        return export_card(entry, target, "v2" if spec == "v2" else "v3" if spec else None)
    if entry.path.suffix.lower() in CARD_SUFFIXES:
        raise RolekitError(
            f"{one_line(entry.path.name)} is a card, not a role of yours.",
            f"Import it first: rolekit roles import {one_line(str(entry.path), 300)}",
        )
    _copy(entry.path, target)


@app.command()
def trust(
    file: Annotated[Path, typer.Argument(help="A character card.")],
    as_json: Json = False,
) -> None:
    """What a stranger's card would put into prompts: its instructions, patterns, links and hidden text."""
    from rolekit.commands.roles_cards import print_trust

    print_trust(file, as_json=as_json)


def _summary(entry: Entry) -> dict[str, object]:
    role = entry.role
    return {
        "slug": entry.slug,
        "name": role.name if role else None,
        "language": role.language if role else None,
        "tags": list(role.tags) if role else [],
        "source": "bundled" if entry.bundled else "yours",
        "path": str(entry.path),
        "error": entry.error,
    }


def _files(paths: list[Path]) -> Iterator[Path]:
    """The role files that somebody named: files, everything in a folder, or roles by name."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.toml"))
        elif path.exists() or path.suffix or len(path.parts) > 1:
            yield path
        else:
            from rolekit.roles.library import RoleLibrary

            yield RoleLibrary().find(str(path)).path


def _all_files() -> list[Path]:
    from rolekit.roles.library import RoleLibrary

    return [entry.path for entry in RoleLibrary().all()]


def _print_faults(files: list[Path], *, as_json: bool) -> None:
    """Print every fault; exits 1 when there is any."""
    from rolekit.roles.cards.card import CARD_SUFFIXES
    from rolekit.roles.toml import check_role

    faults: list[Fault] = []
    for path in files:
        if path.suffix.lower() in CARD_SUFFIXES:
            from rolekit.roles.cards.reading import read_card
            from rolekit.roles.cards.to_role import role_of

            role_of(read_card(path))
        else:
            faults += check_role(path)
    for fault in faults:
        print(json.dumps(_fault_row(fault), ensure_ascii=False) if as_json else sanitize(str(fault)))
    if faults:
        raise typer.Exit(1)
    if not as_json:
        print(f"{len(files)} role{'' if len(files) == 1 else 's'} checked, no faults.")


def _fault_row(fault: Fault) -> dict[str, object]:
    return {
        "path": str(fault.path),
        "line": fault.line,
        "message": fault.message,
        "suggestion": fault.suggestion,
    }


def refuse_to_replace(path: Path, advice: str) -> None:
    """Raise RolekitError when path is taken."""
    if path.exists():
        raise RolekitError(f"{one_line(str(path), 300)} is already there.", advice)


def _copy(source: Path, target: Path) -> None:
    from rolekit.paths import write_text

    write_text(target, source.read_text(encoding="utf-8-sig"))
    print(sanitize(str(target)))


def _edit(path: Path) -> None:
    """Let the user change a file in their own editor and wait until it closes."""
    import os
    import shlex
    import subprocess

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise RolekitError("No editor is set.", f"Set EDITOR, or open {one_line(str(path), 300)} yourself.")
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise RolekitError(
            f"The editor did not work ({one_line(str(error), 120)}).",
            f"Set EDITOR to another one, or open {one_line(str(path), 300)} yourself.",
        ) from error
