"""A run is a folder; whoever scores, judges or reports it needs nothing else, and no model.

    RUN/recipe.json     everything that decides the run, written first: format, rolekit version, data and its hash,
                        subset, model reference and hash, adapter, prompting, customise, sampling, seed
    RUN/records.jsonl   the records that are asked, references included (rolekit.rolebench.records.as_row)
    RUN/answers.jsonl   one answer a line as it comes, appended and flushed (rolekit.rolebench.answers.as_row)
    RUN/DONE            written last, when every record has its answer
    RUN/scores.json     `rolekit bench score RUN`: every scorer's figures, with the hash of the answers they are for
    RUN/report.md .html .csv .json     `rolekit bench report RUN`

An answer belongs to a record by role and question. A half-written last line (a killed process) is cut off before a
run goes on; a reader takes it for a fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError

FORMAT = 1
"""Raised whenever an older rolekit could not read a newer folder."""

RECIPE = "recipe.json"
RECORDS = "records.jsonl"
ANSWERS = "answers.jsonl"
DONE = "DONE"
SCORES = "scores.json"
REPORT = "report"


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and its recipe as it was written."""

    folder: Path
    recipe: dict[str, Any]

    @property
    def records_file(self) -> Path:
        """What is asked."""
        return self.folder / RECORDS

    @property
    def answers_file(self) -> Path:
        """What was answered so far."""
        return self.folder / ANSWERS

    @property
    def finished(self) -> bool:
        """Whether every record has its answer."""
        return (self.folder / DONE).is_file()

    @property
    def label(self) -> str:
        """What the recipe calls the run (its `label`, else its model), else the folder's name."""
        return str(self.recipe.get("label") or self.recipe.get("model") or self.folder.name)


def is_run(path: Path) -> bool:
    """Whether path is a run's folder."""
    return (path / RECIPE).is_file()


def open_run(folder: Path) -> Run:
    """The run in folder.

    Raises RolekitError when it is none, its recipe is broken, or another version of rolekit wrote it.
    """
    if not folder.is_dir():
        raise RolekitError(f"There is no run folder {folder}.", "Start one with: rolekit bench run --out RUN")
    try:
        recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RolekitError(
            f"{folder} is not a run folder: it has no {RECIPE}.",
            "Start one with: rolekit bench run --out RUN",
        ) from error
    except (OSError, ValueError) as error:
        raise RolekitError(
            f"{folder / RECIPE} cannot be read ({error}).",
            "Restore it from a backup, or run again elsewhere.",
        ) from error
    found = recipe.get("format") if isinstance(recipe, dict) else None
    if found != FORMAT:
        raise RolekitError(
            f"{folder} was written in run format {found}, and this rolekit reads format {FORMAT}.",
            "Use the rolekit that wrote it, or run again into another folder.",
        )
    return Run(folder, recipe)
