"""`rolekit synth profile`: a character's profile out of texts, for a person to edit."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolekit.commands.progress import advise
from rolekit.paths import expanded
from rolekit.text import count, one_line, sanitize

if TYPE_CHECKING:
    from rolekit.synthesis.findings import Profile
    from rolekit.synthesis.profile import Saved


def profile(
    text: Annotated[list[str], typer.Argument(metavar="TEXT…", help="Files: .txt .md .srt .epub .jsonl")],
    role: Annotated[str, typer.Option("--role", metavar="NAME", help="The character, as the texts call it.")],
    out: Annotated[str, typer.Option("--out", metavar="RUN", help="The run's folder.")],
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="What else the texts call it (I: whoever tells the story); repeatable."
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(metavar="TAG", help="The texts' language, such as fr; else guessed by its letters.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find a character in texts: what it says to whom, its turns of phrase, facts and example pairs, all with places.

    The result is RUN/role.toml, also among your roles if there is none of that name. Edit it; it is never overwritten.
    """
    from rolekit.synthesis.profile import profile_of, read, save_profile

    folder = expanded(out)
    reading = read([Path(expanded(one)) for one in text], role, tuple(alias or ()), language)
    found = profile_of(reading)
    saved = save_profile(found, reading, folder, _command())
    if as_json:
        _print_json(found, saved, folder)
    else:
        _print_page(found, saved, folder)


def _command() -> str:
    return shlex.join(["rolekit", *sys.argv[1:]])


def _print_json(found: Profile, saved: Saved, folder: Path) -> None:
    from rolekit.synthesis.profile import summary_of

    place = {"run": str(folder), "role_file": str(saved.role_file), "edited": saved.edited}
    library = str(saved.library_file) if saved.library_file else None
    print(json.dumps({**summary_of(found), **place, "library_file": library}, ensure_ascii=False))


def _print_page(found: Profile, saved: Saved, folder: Path) -> None:
    kinds = ", ".join(f"{source} ({kind})" for source, kind in list(found.kinds.items())[:8])
    print(f"read           {kinds}{' …' if len(found.kinds) > 8 else ''}")
    speeches, unknown = found.speeches, found.speeches.by_rule.get("unknown", 0)
    share = f" ({unknown / speeches.total:.0%})" if speeches.total else ""
    print(f"speeches       {count(speeches.total)}; nobody was found for {count(unknown)}{share}")
    people = ", ".join(
        f"{one_line(name, 40)} {count(times)}" for name, times in list(found.speakers.items())[:8]
    )
    print(f"speakers       {people or 'none'}")
    print(f"segments       {count(found.segments)}")
    print(f"catchphrases   {len(found.catchphrases)}")
    for phrase in found.catchphrases[:5]:
        print(f"  {one_line(phrase.phrase, 60)}  ({phrase.times} times, first {phrase.places[0]})")
    print(f"facts          {len(found.facts)}")
    print(f"example pairs  {len(found.examples)}")
    print(sanitize(str(saved.role_file)))
    if speeches.unknown:
        advise(
            f"Nobody was found for {', '.join(speeches.unknown[:5])}{' …' if len(speeches.unknown) > 5 else ''}."
        )
    if saved.edited:
        advise(
            f"role.toml was edited and is as it was; the fresh one is {one_line(str(folder / 'role.new.toml'), 300)}."
        )
    elif saved.library_file is None:
        advise("A role of that name is among the roles already; it is as it was.")
    advise("Read it and mend it; every item says where it stands. Then: rolekit roles check")
