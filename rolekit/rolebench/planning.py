"""From a data set and a few wishes to what a run asks: cleaned, chosen, cast."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.rolebench.casting import Casting, read_descriptions, wanted_roles
from rolekit.rolebench.cleaning import clean
from rolekit.rolebench.prompting import Customise, Prompting, needs_pairs
from rolekit.rolebench.records import Kind, Record, read_records, usable
from rolekit.rolebench.retrieval import Pairs
from rolekit.rolebench.running import by_role, unique
from rolekit.rolebench.sampling import sample
from rolekit.roles.library import RoleLibrary
from rolekit.text import one_line

Advise = Callable[[str], None]
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to ask of a data set."""

    data: Path
    per_role: int = 0
    """0 asks everything."""
    roles: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    split: str = ""
    """test or train; empty is test, and everything where there are no such files."""
    examples: Path | None = None
    """Where pairs for few-shot prompts and retrieval come from; None is the data's own train split."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run asks, ordered by role, and with whose help."""

    records: tuple[Record, ...]
    casting: Casting
    pairs: Pairs
    examples_sha256: str


def plan(wishes: Wishes, prompting: Prompting, customise: Customise, advise: Advise) -> Plan:
    """Read, clean and choose; advise hears what a person should know about the choice.

    Raises RolekitError when the data cannot be used, a role is not in it, or a condition needs pairs and no role has any.
    """
    if customise == "none" and prompting != "zero-shot":
        raise RolekitError(
            f"--customise none asks the bare question, so there is no {prompting}.",
            "Leave one of the two out.",
        )
    records = _chosen(wishes, advise)
    casting = Casting(RoleLibrary(), read_descriptions(wishes.data))
    if customise == "system":
        _tell_sources(records, casting, advise)
    pairs, digest = Pairs((), ()), ""
    if needs_pairs(prompting, customise):
        examples = _examples(wishes)
        pairs = Pairs(examples, records)
        _check_pairs(records, casting, pairs, advise)
        digest = hashlib.sha256(
            "\0".join(f"{r.role}\0{r.question}\0{r.references[0]}" for r in examples).encode(
                "utf-8", "replace"
            )
        ).hexdigest()
    return Plan(records, casting, pairs, digest)


def _chosen(wishes: Wishes, advise: Advise) -> tuple[Record, ...]:
    split = "" if wishes.data.is_file() else (wishes.split or "test")
    reading = read_records(wishes.data, split)
    if reading.faults:
        shown = "".join(f"\n  {fault}" for fault in reading.faults[:_SHOWN])
        advise(f"{len(reading.faults)} rows of the data cannot be used and are not asked:{shown}")
    records = clean(usable(reading, wishes.data)).records
    if wishes.roles:
        names = wanted_roles(wishes.roles, (record.role for record in records))
        records = tuple(record for record in records if record.role in names)
    if wishes.kinds:
        records = tuple(record for record in records if record.kind in wishes.kinds)
    records, twice = unique(records)
    if twice:
        advise(
            f"{twice} questions stand in the data as general and as role-specific ones; each is asked once."
        )
    if wishes.per_role:
        records = sample(records, wishes.per_role)
    if not records:
        raise RolekitError("Nothing is left to ask.", "Choose other roles or kinds.")
    return tuple(by_role(records))


def _tell_sources(records: Sequence[Record], casting: Casting, advise: Advise) -> None:
    names = dict.fromkeys((record.role, record.language) for record in records)
    sources = Counter(casting.cast(*name).source for name in names)
    if not sources["name"]:
        return
    known = sources.total() - sources["name"]
    bare = [name for name, language in names if casting.cast(name, language).source == "name"]
    shown = ", ".join(one_line(name, 30) for name in bare[:_SHOWN]) + (", …" if len(bare) > _SHOWN else "")
    advise(
        f"{sources['name']} of {sources.total()} roles have no description here and are asked by their name alone"
        f" ({shown}); {known} {'has' if known == 1 else 'have'} one. RoleBench's descriptions come with its profiles; a role file of the same"
        " name works too (rolekit roles new)."
    )


def _examples(wishes: Wishes) -> tuple[Record, ...]:
    if wishes.examples is not None:
        return clean(usable(read_records(wishes.examples), wishes.examples)).records
    if wishes.data.is_dir() and any(wishes.data.rglob("train.jsonl")):
        return clean(read_records(wishes.data, "train").records).records
    return ()


def _check_pairs(records: Sequence[Record], casting: Casting, pairs: Pairs, advise: Advise) -> None:
    casts = {record.role: casting.cast(record.role, record.language).role for record in records}
    without = pairs.roles_without(casts.items())
    if len(without) == len(casts):
        raise RolekitError(
            "No role of this run has anything to show the model: there are no example pairs.",
            "Give --examples PATH with rows of the same roles (RoleBench's train split), or use role files with examples.",
        )
    if without:
        shown = ", ".join(one_line(name, 30) for name in without[:_SHOWN])
        advise(f"{len(without)} of {len(casts)} roles have no example pairs and are asked without ({shown}).")
    if pairs.left_out:
        advise(f"{pairs.left_out} example rows are questions of this run and were left out of the examples.")
