"""What decides a run, and the folder that keeps it: begun once, gone on with by the same command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rolekit import __version__
from rolekit.errors import RolekitError
from rolekit.messages import Sampling
from rolekit.paths import ensure_dir, write_text
from rolekit.rolebench.answers import read_answers
from rolekit.rolebench.prompting import VERSION, Customise, Prompting
from rolekit.rolebench.records import Record, as_row
from rolekit.rolebench.rows import cut_torn_line, write_rows
from rolekit.rolebench.runs import ANSWERS, FORMAT, RECIPE, RECORDS, Run, is_run, open_run
from rolekit.text import one_line

Key = tuple[str, str]
"""Role and question: what tells one thing that is asked from another."""

_MAY_DIFFER = {"label", "data_path", "ref", "subset"}
"""Names of things; what they hold is compared by its hash."""

_OURS = (".lock", "journal.db")
"""What may lie in a run's folder before its recipe."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a run's answers, and the names under which it is reported."""

    ref: str
    """REF as it was typed."""
    identity: dict[str, Any]
    """What the answerer says of itself: model, hashes, adapters, address."""
    data_path: str
    subset: dict[str, Any]
    """per_role, roles, kinds and split, as they were asked for."""
    prompting: Prompting
    customise: Customise
    sampling: Sampling
    max_tokens: int
    seed: int
    label: str = ""
    examples_sha256: str = ""
    """Of the pairs that prompts were made with, where any were."""

    def to_json(self, records: Sequence[Record]) -> dict[str, Any]:
        """The object of recipe.json."""
        return {
            "format": FORMAT,
            "versions": versions(),
            "label": self.label,
            "ref": self.ref,
            **self.identity,
            "data_path": self.data_path,
            "records": len(records),
            "records_sha256": sha256_of_records(records),
            "subset": self.subset,
            "prompting": self.prompting,
            "customise": self.customise,
            "prompt_version": VERSION,
            "examples_sha256": self.examples_sha256,
            "sampling": asdict(self.sampling),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }

    @property
    def condition(self) -> str:
        """How the model was asked, in a few words."""
        return f"{self.prompting} · {self.customise}"


def versions() -> dict[str, str]:
    """Of everything whose change may change an answer."""
    return {"rolekit": __version__, "llama-cpp-python": metadata.version("llama-cpp-python")}


def sha256_of_records(records: Sequence[Record]) -> str:
    """A digest of what is asked and of its references; where the rows lay makes no difference."""
    digest = hashlib.sha256()
    for record in records:
        row = {name: value for name, value in as_row(record).items() if name != "origin"}
        digest.update(
            json.dumps(row, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        )
    return digest.hexdigest()


def begin(folder: Path, recipe: Recipe, records: Sequence[Record]) -> Run:
    """The run in folder: begun with this recipe, or found there with the same one.

    Raises RolekitError when the folder holds something else, a run of another version, or one with another recipe
    (every difference is named).
    """
    run = settle(folder, recipe.to_json(records))
    if not run.records_file.is_file():
        write_rows(folder / RECORDS, (as_row(record) for record in records))
    return run


def settle(folder: Path, recipe: dict[str, Any]) -> Run:
    """The run in folder: its recipe.json is now this one, or was before.

    Raises RolekitError as begin does.
    """
    wanted = json.loads(json.dumps(recipe))
    if is_run(folder):
        run = open_run(folder)
        _check_same(run, wanted)
    else:
        if folder.is_dir() and any(not child.name.startswith(_OURS) for child in folder.iterdir()):
            raise RolekitError(f"{folder} is not empty, and no run.", "Choose another folder with --out.")
        ensure_dir(folder)
        write_text(folder / RECIPE, json.dumps(wanted, ensure_ascii=False, indent=1) + "\n")
        run = Run(folder, wanted)
    return run


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within the block no other process writes this run. Raises RolekitError when one does already."""
    from filelock import FileLock, Timeout

    ensure_dir(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RolekitError(
            f"Another process is writing the run in {folder}.",
            "Wait for it, or choose another folder with --out.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def answered_keys(run: Run) -> set[Key]:
    """What has its answer already. A half-written last line, of a killed process, is cut off first."""
    path = run.folder / ANSWERS
    if not path.is_file():
        return set()
    cut_torn_line(path)
    if not path.stat().st_size:
        return set()
    return {(answer.role, answer.question) for answer in read_answers(path).answers}


def _check_same(run: Run, wanted: dict[str, Any]) -> None:
    faults = [
        f"{name} was {_short(run.recipe.get(name))} and is now {_short(wanted.get(name))}"
        for name in dict.fromkeys([*run.recipe, *wanted])
        if name not in _MAY_DIFFER and run.recipe.get(name) != wanted.get(name)
    ]
    if faults:
        raise RolekitError(
            f"The run in {run.folder} was begun with another recipe: {'; '.join(faults)}.",
            "Use the old settings to go on with it, or choose another folder with --out.",
        )


def _short(value: Any) -> str:
    return (
        one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 90) or "nothing"
    )
