"""A recipe's data, ready to train on: read, counted, split, mixed, and turned into examples."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.errors import RolekitError
from rolekit.messages import Message
from rolekit.rolebench.leaks import leaks_in
from rolekit.rolebench.records import read_records
from rolekit.rolebench.rows import Fault
from rolekit.roles.names import fold
from rolekit.text import one_line
from rolekit.train.examples import Example, example_key
from rolekit.train.mixing import Weighted, mixed, sampled, split, weighted, without_duplicates
from rolekit.train.openings import Openings
from rolekit.train.recipe import Recipe
from rolekit.train.rows import Row, RowMaker
from rolekit.train.sources import Dialogue, read_source

_MOST_LISTED = 10


@dataclass(slots=True)
class DataReport:
    """What became of every row of the data, and what is left to train on. All are counts, tokens where they say so."""

    rows_read: int = 0
    faulty_rows: int = 0
    faults: list[str] = field(default_factory=list)
    """The faulty rows' places and reasons, for people; at most ten."""
    other_roles: int = 0
    """Rows of roles that the recipe does not name."""
    duplicates: int = 0
    held_out_questions: int = 0
    held_out_unscored: int = 0
    """Held-out rows beyond data.eval_rows: neither trained on nor scored."""
    left_out_by_mix: int = 0
    repeated: int = 0
    """Rows that weights and mix show more than once an epoch, counted each further time."""
    too_long: int = 0
    """Dialogues that do not fit into max_tokens with even one answer."""
    shortened: int = 0
    """Dialogues that lost later turns to fit."""
    leaks: int = 0
    """Rows that ask what the benchmark asks the same role."""
    same_question_other_role: int = 0
    """Rows whose question the benchmark asks of another role."""
    answers_out_of_role: dict[str, int] = field(default_factory=dict)
    """Answers with a phrase that betrays a language model, a played role or a refusal; trained on all the same."""
    replaced_system_texts: int = 0
    roles_without_profile: list[str] = field(default_factory=list)
    rows: int = 0
    held_out_rows: int = 0
    rows_by_role: dict[str, int] = field(default_factory=dict)
    rows_by_kind: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    """Of all rows to train on, each as if it ran alone."""
    supervised_tokens: int = 0
    longest_row_tokens: int = 0
    prefix_tokens: int = 0
    """Of tokens, those of shared role blocks."""

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples to train on (in data order; a row that is seen twice stands twice) and held-out ones."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    report: DataReport
    hash: str
    """Of every id and mask in order: two runs with the same one see the same data."""
    openings: Openings
    first: Dialogue
    """A dialogue of the data, for whoever wants to ask its role something."""


def build_dataset(recipe: Recipe, maker: RowMaker) -> Dataset:
    """The recipe's data as examples.

    Raises RolekitError for files that cannot be read or hold nothing, roles that are not in the data, questions of
    the benchmark among the rows (unless allowed), and when nothing is left to train on.
    """
    report = DataReport()
    rows = _of_roles(_read(recipe, report), recipe, report)
    rows, report.duplicates = without_duplicates(rows)
    train_rows, held_rows = split(rows, recipe.data.eval_fraction, recipe.seed)
    report.held_out_questions = len({row.dialogue.question for row in held_rows})
    chosen = _mixed(train_rows, recipe, report)
    _check_leaks(chosen, recipe, report)
    openings = Openings.of(recipe, chosen)
    held = sampled([row.dialogue for row in held_rows], recipe.data.eval_rows, recipe.seed)
    report.held_out_unscored = len(held_rows) - len(held)
    train = _examples(chosen, recipe, maker, openings, report)
    held_out = _examples(held, recipe, maker, openings, report)
    if not train:
        raise _nothing_left(recipe, report)
    _count(report, train, held_out, openings)
    betrayals = (leak for row in chosen for leak in leaks_in(row.turns[-1].text))
    report.answers_out_of_role = dict(Counter(str(leak) for leak in betrayals))
    return Dataset(tuple(train), tuple(held_out), report, _hash(train, held_out), openings, chosen[0])


def _read(recipe: Recipe, report: DataReport) -> list[Weighted]:
    if not recipe.data.sources:
        raise RolekitError(
            "The recipe names no data.", 'Add [[data.sources]] with path = "FILE", or use --data FILE.'
        )
    role = recipe.roles[0] if len(recipe.roles) == 1 else ""
    rows: list[Weighted] = []
    faults: list[Fault] = []
    for source in recipe.data.sources:
        reading = read_source(source, recipe.data.references, role)
        rows += [Weighted(dialogue, source.weight) for dialogue in reading.dialogues]
        faults += reading.faults
    report.rows_read = len(rows) + len(faults)
    report.faulty_rows = len(faults)
    report.faults = [one_line(str(fault), 200) for fault in faults[:_MOST_LISTED]]
    return rows


def _of_roles(rows: list[Weighted], recipe: Recipe, report: DataReport) -> list[Weighted]:
    """The rows of the recipe's roles. Raises RolekitError for a role that has none."""
    if not recipe.roles:
        return rows
    there = {fold(row.dialogue.role) or row.dialogue.role for row in rows}
    names: set[str] = set()
    for name in recipe.roles:
        known = _names_of(name)
        if not known & there:
            listed = ", ".join(sorted({row.dialogue.role for row in rows})[:_MOST_LISTED])
            raise RolekitError(
                f"The data has no rows of {one_line(name)!r}.", f"Its roles are {one_line(listed, 300)}."
            )
        names |= known
    kept = [row for row in rows if (fold(row.dialogue.role) or row.dialogue.role) in names]
    report.other_roles = len(rows) - len(kept)
    return kept


def _names_of(name: str) -> set[str]:
    """The name itself, and where it is a profile's all the names that the role goes by."""
    from rolekit.roles.library import RoleLibrary

    wanted = fold(name) or name
    for entry in RoleLibrary().all():
        role = entry.role
        if role and wanted in {fold(entry.slug), *(fold(known) for known in (role.name, *role.aliases))}:
            return {wanted, *(fold(known) or known for known in (role.name, *role.aliases))}
    return {wanted}


def _mixed(rows: list[Weighted], recipe: Recipe, report: DataReport) -> list[Dialogue]:
    seen = weighted(rows, recipe.seed)
    chosen = mixed(seen, recipe.data.mix, recipe.data.rows, recipe.seed)
    distinct = {id(dialogue) for dialogue in chosen}
    report.left_out_by_mix = len(rows) - len(distinct)
    report.repeated = len(chosen) - len(distinct)
    return chosen


def _check_leaks(rows: Sequence[Dialogue], recipe: Recipe, report: DataReport) -> None:
    """Count questions that the benchmark asks too. Raises RolekitError when there are some and none are allowed."""
    if not recipe.data.bench:
        return
    asked = [record for path in recipe.data.bench for record in read_records(Path(path), "test").records]
    keys = {example_key(record.role, record.question) for record in asked}
    questions = {" ".join(record.question.split()).casefold() for record in asked}
    leaked = [row for row in rows if row.key in keys]
    report.leaks = len(leaked)
    same = sum(" ".join(row.question.split()).casefold() in questions for row in rows)
    report.same_question_other_role = same - len(leaked)
    if leaked and not recipe.data.allow_leaks:
        listed = "".join(f"\n  {row.origin}: {one_line(row.question, 80)}" for row in leaked[:_MOST_LISTED])
        raise RolekitError(
            f"{len(leaked)} rows to train on ask what the benchmark asks, so its scores would mean nothing.",
            f"Leave them out, or allow it with --set data.allow_leaks=true.{listed}",
        )


def _examples(
    dialogues: Sequence[Dialogue], recipe: Recipe, maker: RowMaker, openings: Openings, report: DataReport
) -> list[Example]:
    """The dialogues as examples, a dialogue that stands twice made once."""
    made: dict[int, list[Example]] = {}
    for dialogue in dialogues:
        if id(dialogue) not in made:
            rows = _fitting(dialogue, recipe.max_tokens, maker, openings, report)
            made[id(dialogue)] = [
                Example(row.ids, row.supervised, row.role_tokens, dialogue.role, dialogue.kind, dialogue.key,
                        dialogue.origin)
                for row in rows
            ]  # fmt: skip
    return [example for dialogue in dialogues for example in made[id(dialogue)]]


def _fitting(
    dialogue: Dialogue, most: int, maker: RowMaker, openings: Openings, report: DataReport
) -> list[Row]:
    """The dialogue's rows; one that is too long loses its last turns, and without any it is left out."""
    opening, turns = openings.before(dialogue), list(dialogue.turns)
    while _answers(turns):
        rows = maker.rows(opening, turns)
        fitting = [row for row in rows if len(row.ids) <= most]
        if fitting and (len(fitting) == len(rows) or not maker.joins_turns):
            report.shortened += len(fitting) < len(rows) or len(turns) < len(dialogue.turns)
            return fitting
        while turns and turns.pop().speaker != "assistant":
            pass
        while turns and turns[-1].speaker != "assistant":
            turns.pop()
    report.too_long += 1
    return []


def _answers(turns: Sequence[Message]) -> bool:
    asked = False
    for turn in turns:
        if asked and turn.speaker == "assistant" and turn.text.strip():
            return True
        asked = asked or turn.speaker == "user"
    return False


def _nothing_left(recipe: Recipe, report: DataReport) -> RolekitError:
    if report.too_long:
        return RolekitError(
            f"None of the {report.too_long} rows fits into {recipe.max_tokens} tokens.",
            f"Allow longer ones with --set max_tokens={2 * recipe.max_tokens}.",
        )
    return RolekitError("The recipe leaves no row to train on.", "Lower data.eval_fraction, or add data.")


def _count(report: DataReport, train: list[Example], held_out: list[Example], openings: Openings) -> None:
    report.rows, report.held_out_rows = len(train), len(held_out)
    report.rows_by_role = dict(Counter(example.role for example in train).most_common())
    report.rows_by_kind = dict(Counter(str(example.kind) for example in train))
    report.tokens = sum(len(example.ids) for example in train)
    report.supervised_tokens = sum(example.supervised_tokens for example in train)
    report.longest_row_tokens = max(len(example.ids) for example in train)
    report.prefix_tokens = sum(example.prefix_tokens for example in train)
    report.replaced_system_texts = openings.replaced
    report.roles_without_profile = sorted(openings.bare)


def _hash(*parts: list[Example]) -> str:
    digest = hashlib.sha256()
    for examples in parts:
        digest.update(len(examples).to_bytes(8, "little"))
        for example in examples:
            digest.update(np.asarray((len(example.ids), *example.ids), "<i8").tobytes())
            digest.update(np.asarray(example.supervised, "|b1").tobytes())
    return digest.hexdigest()[:16]
