"""`rolekit synth profile`: a character's profile out of texts, for a person to edit."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolekit.commands import common_options as common
from rolekit.commands import synth_options as options
from rolekit.commands.progress import advise, progress
from rolekit.paths import expanded
from rolekit.text import count, one_line, sanitize

if TYPE_CHECKING:
    from rolekit.synthesis.findings import Profile
    from rolekit.synthesis.generator import Generator
    from rolekit.synthesis.profile import Reading, Saved

_USUAL_TOKENS = 150
"""What an answer with facts usually has."""


def profile(
    text: Annotated[list[str], typer.Argument(metavar="TEXT…", help="Files: .txt .md .srt .epub .jsonl")],
    role: Annotated[str, typer.Option("--role", metavar="NAME", help="The character, as the texts call it.")],
    out: common.RunFolder,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="What else the texts call it (I: whoever tells the story); repeatable."
        ),
    ] = None,
    language: Annotated[
        str, typer.Option(metavar="TAG", help="The texts' language, such as fr; else guessed by its letters.")
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="REF",
            help="Who adds facts and a description, marked as generated; without it, rules.",
        ),
    ] = None,
    concurrency: common.Concurrency = 8,
    max_usd: common.MaxUsd = None,
    max_requests: common.MaxRequests = None,
    ctx: options.Ctx = 4096,
    threads: common.Threads = 0,
    parallel: options.Parallel = 8,
    dry_run: common.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Find a character in texts: what it says to whom, its turns of phrase, facts and example pairs, all with places.

    The result is RUN/role.toml, also among your roles if there is none of that name. Edit it; it is never overwritten.
    """
    from rolekit.rolebench.recipe import alone_in
    from rolekit.synthesis.profile import profile_of, read, save_profile

    if model is None and (dry_run or max_usd is not None or max_requests is not None):
        raise typer.BadParameter("Without --model nothing is asked and nothing costs anything.")
    folder = expanded(out)
    reading = read([Path(expanded(one)) for one in text], role, tuple(alias or ()), language)
    found = profile_of(reading)
    if model is not None:
        settings = _Settings(model, concurrency, parallel, ctx, threads, max_usd, max_requests)
        with alone_in(folder):
            if dry_run:
                asyncio.run(_estimate(found, reading, folder, settings, as_json))
                return
            save_profile(found, reading, folder, _command())
            found = asyncio.run(_enrich(found, reading, folder, settings))
    saved = save_profile(found, reading, folder, _command())
    if as_json:
        _print_json(found, saved, folder)
    else:
        _print_page(found, saved, folder)


@dataclass(frozen=True, slots=True)
class _Settings:
    model: str
    concurrency: int
    parallel: int
    context_tokens: int
    threads: int
    max_usd: float | None
    max_requests: int | None

    def open(self, folder: Path) -> Generator:
        from rolekit.synthesis.generator import open_generator

        return open_generator(
            folder,
            self.model,
            concurrency=self.concurrency,
            parallel=self.parallel,
            context_tokens=self.context_tokens,
            threads=self.threads,
            max_usd=self.max_usd,
            max_requests=self.max_requests,
        )


async def _estimate(
    found: Profile, reading: Reading, folder: Path, settings: _Settings, as_json: bool
) -> None:
    """What the model would be asked; the description's prompt is about as long as without its facts."""
    from rolekit.rolebench.asking import estimate
    from rolekit.synthesis.enriching import description_call, facts_calls

    generator = settings.open(folder)
    try:
        calls = [call for _, call in facts_calls(reading, generator)] + [description_call(found, generator)]
        about = estimate(calls, generator.budget.price, generator.journal, _USUAL_TOKENS)
        priced = generator.priced
    finally:
        await generator.close()
    if as_json:
        row = {"step": "profile", "role": found.name, "model": settings.model, **asdict(about)}
        print(json.dumps(row if priced else {**row, "low_usd": None, "high_usd": None}, ensure_ascii=False))
        return
    cost = f"${about.low_usd:.2f} to ${about.high_usd:.2f}" if priced else "the price is not known"
    print(f"{count(about.requests)} requests, about {count(about.prompt_tokens)} tokens to read: {cost}.")


async def _enrich(found: Profile, reading: Reading, folder: Path, settings: _Settings) -> Profile:
    from rolekit.synthesis.enriching import enrich

    generator = settings.open(folder)
    try:
        with progress() as report:
            enriched = await enrich(found, reading, generator, report)
    except KeyboardInterrupt:
        advise("What was answered is in the journal; the same command goes on.")
        raise
    finally:
        for notice in generator.notices:
            advise(notice)
        await generator.close()
    if enriched.dropped:
        listed = ", ".join(f"{reason} {count(times)}" for reason, times in enriched.dropped.items())
        advise(f"Facts of the model that were not taken: {listed}.")
    if enriched.unanswered:
        advise(f"{count(enriched.unanswered)} requests got no answer that can be used.")
    return enriched.profile


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
