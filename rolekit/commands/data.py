"""`rolekit data`: fetch RoleBench, check it, clean it, describe it, choose a subset."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from rolekit.commands.common_options import JsonLines
from rolekit.commands.progress import advise
from rolekit.errors import RolekitError
from rolekit.paths import expanded
from rolekit.text import count, one_line, sanitize

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fetch, check, clean and sample RoleBench. PATH is a folder or a .jsonl file of it, or `rolebench`"
    " once it is fetched.",
)

Place = Annotated[str, typer.Argument(metavar="PATH", help="A folder or file of RoleBench.")]


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="rolebench", help="The data set.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="DIR", help="Copy it from a folder instead of the hub.", show_default=False
        ),
    ] = "",
) -> None:
    """Fetch RoleBench from the hub into rolekit's data folder, every file checked against the hub's checksum.

    An interrupted download goes on where it stopped. HF_ENDPOINT and HF_TOKEN are honoured.
    """
    from rolekit.commands.downloading import shown_progress
    from rolekit.rolebench.fetching import copy_rolebench, pull_rolebench

    if name.lower() != "rolebench":
        raise RolekitError(
            f"There is no data set {name!r} to fetch.", "Only rolebench: rolekit data pull rolebench"
        )
    if source:
        folder = copy_rolebench(expanded(source), advise)
    else:
        with shown_progress() as report:
            folder = pull_rolebench(report, lambda text: advise(f"Fetching {text}"))
    print(folder)
    advise("Look it over: rolekit data check rolebench")


@app.command()
def check(
    path: Place,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when there is anything to find.")] = False,
    as_json: JsonLines = False,
) -> None:
    """Say what is wrong with the rows: bad ones, duplicates, leaks, test questions that are in train."""
    from rolekit.rolebench.checking import check_data
    from rolekit.rolebench.records import find_data

    found = check_data(find_data(path))
    if as_json:
        for file in found.files:
            _print_json({"kind": "file", **asdict(file)})
        for overlap in found.overlaps:
            _print_json({"kind": "overlap", **asdict(overlap)})
        for fault in found.faults:
            _print_json({"kind": "fault", **asdict(fault)})
        for flag in found.flags:
            _print_json({"kind": "flag", **asdict(flag)})
        _print_json({"kind": "findings", **found.findings})
    else:
        from rolekit.commands.data_pages import print_check

        print_check(found)
    if strict and found.findings:
        listed = ", ".join(f"{what}: {count(number)}" for what, number in found.findings.items())
        raise RolekitError(
            f"The check is strict, and found something ({listed}).", "Clean it: rolekit data clean"
        )


@app.command()
def clean(
    path: Place,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where the cleaned set goes.")],
    as_json: JsonLines = False,
) -> None:
    """Write the cleaned set: stripped, duplicates merged, with a quarantine, the flags and a manifest of hashes.

    The same rows always give the same files. Nothing is dropped: bad rows go to quarantine.jsonl, with their line.
    """
    from rolekit.rolebench.checking import write_clean_set
    from rolekit.rolebench.records import find_data

    target, source = expanded(out), find_data(path)
    if source.is_dir() and target.resolve() == source.resolve():
        raise RolekitError("The cleaned set cannot go where the rows are.", "Choose another --out.")
    counts = write_clean_set(source, target)
    if as_json:
        _print_json({"out": str(target), **counts})
        return
    print(target)
    for what, number in counts.items():
        advise(f"{what.replace('_', ' ')}: {count(number)}")


@app.command()
def stats(path: Place, as_json: JsonLines = False) -> None:
    """Describe the rows, file by file: roles, questions, references, lengths."""
    from rolekit.rolebench.records import find_data, read_records
    from rolekit.rolebench.stats import described

    reading = read_records(find_data(path))
    rows: list[dict[str, Any]] = [
        {"file": file, "rows": reading.rows_by_file[file], **described(records)}
        for file, records in reading.by_file().items()
    ]
    if as_json:
        for row in rows:
            _print_json(row)
    else:
        from rolekit.commands.data_pages import print_stats

        print_stats(rows)
    _tell_bad(len(reading.faults))


@app.command()
def sample(
    path: Place,
    per_role: Annotated[int, typer.Option("--per-role", min=1, metavar="N", help="Questions a role.")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The subset, .jsonl.")],
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--role", metavar="ROLE", help="Only this role; several times for more.", show_default=False
        ),
    ] = None,
    salt: Annotated[str, typer.Option("--salt", help="Another text chooses other questions.")] = "",
    as_json: JsonLines = False,
) -> None:
    """Choose a subset by role and kind, the same one every time, and say how narrow its interval will be.

    Of a folder the test rows are taken. They are cleaned first: stripped, duplicates merged.
    """
    from rolekit.rolebench.cleaning import clean as cleaned
    from rolekit.rolebench.manifest import file_entry, write_manifest
    from rolekit.rolebench.records import as_row, find_data, record_files, usable
    from rolekit.rolebench.records import read_records as read
    from rolekit.rolebench.rows import write_rows
    from rolekit.rolebench.sampling import expected_half_width
    from rolekit.rolebench.sampling import sample as choose

    source, target = find_data(path), expanded(out)
    split = "test" if source.is_dir() else ""
    reading = read(source, split)
    usable(reading, source)
    _tell_bad(len(reading.faults))
    records = cleaned(reading.records).records
    if roles:
        records = _only(records, roles)
    chosen = choose(records, per_role, salt)
    width = expected_half_width(chosen)
    number_of_roles = len({record.role for record in chosen})
    advise(
        f"{count(len(chosen))} questions, {count(number_of_roles)} roles:"
        f" expect a 95 % interval of about ±{width:.4f} in standard F1"
    )
    write_rows(target, map(as_row, chosen))
    write_manifest(
        target.with_name(target.name + ".manifest.json"),
        "data sample",
        [file_entry(target, target.parent)],
        inputs=[file_entry(file, source) for file in record_files(source, split)],
        per_role=per_role,
        salt=salt,
        roles=sorted(roles or ()),
    )
    if as_json:
        _print_json(
            {"out": str(target), "records": len(chosen), "roles": number_of_roles, "half_width": width}
        )
    else:
        print(target)


def _only(records: tuple[Any, ...], roles: list[str]) -> tuple[Any, ...]:
    there = {record.role for record in records}
    unknown = [role for role in roles if role not in there]
    if unknown:
        from rapidfuzz.process import extractOne

        like = extractOne(unknown[0], sorted(there))
        raise RolekitError(
            f"The data has no role {one_line(unknown[0])}.",
            f"Did you mean {sanitize(like[0])}?" if like else "Look with: rolekit data stats",
        )
    return tuple(record for record in records if record.role in roles)


def _tell_bad(faults: int) -> None:
    if faults:
        advise(f"left out: {count(faults)} bad rows; `rolekit data check` shows them")


def _print_json(row: dict[str, Any]) -> None:
    print(json.dumps(row, ensure_ascii=False))
