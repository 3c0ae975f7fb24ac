"""What `rolekit make` is asked for, and what its steps hand on to each other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rolekit.errors import RolekitError
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.roles.names import fold, slug_of
from rolekit.roles.role import Role
from rolekit.text import one_line

STEPS = ("profile", "synthesis", "train", "convert", "bench")
"""In the order in which they are done; each rests on those before it."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: what time and money go into."""

    rows: int = 400
    """Context-Instruct's candidates (the paper's least)."""
    per_call: int = 0
    """How many of them one answer gives; 0 leaves it to who writes."""
    instructions: int = 100
    """General instructions that are answered in the role's voice."""
    dialogues: int = 10
    samples: int = 1
    """Answers of RoleGPT to each general instruction."""
    prompting: Literal["zero-shot", "few-shot-prompt", "few-shot-dialogue"] = "few-shot-dialogue"
    """How RoleGPT is asked; the paper found the last one best, and each question reads its own pairs."""
    epochs: float = 2.0
    steps: int = 0
    """Of the optimiser; 0 means after the epochs."""
    questions: int = 100
    """Held-out questions that are asked before and after; 0 means all."""
    row_tokens: int = 200
    """Longest answer in a row about general things (the paper's)."""
    answer_tokens: int = 200
    """Longest answer when it is measured."""


SMALL = Sizes(
    rows=1, per_call=1, instructions=12, dialogues=0, prompting="zero-shot", epochs=1.0, steps=2, questions=2,
    row_tokens=28, answer_tokens=16,
)  # fmt: skip
"""The whole path in minutes: it proves that everything works, and makes nothing good."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Everything that was typed."""

    role: str
    texts: tuple[Path, ...]
    folder: Path
    base: str = "starter"
    model: str = ""
    """REF of whoever writes the rows; empty takes the base itself, in this process."""
    aliases: tuple[str, ...] = ()
    """What else the texts call the character."""
    language: str = ""
    sizes: Sizes = Sizes()
    settings: tuple[str, ...] = ()
    """key=value for the training recipe."""
    merged: str = ""
    """A quantization: makes model.gguf as well, base and adapter in one."""
    verify: bool = True
    max_usd: float | None = None
    max_requests: int | None = None
    concurrency: int = 8
    threads: int = 0
    seed: int = 0
    quiet: bool = False
    plain: bool = False

    @property
    def slug(self) -> str:
        """The name for files."""
        return slug_of(self.role)


@dataclass(slots=True)
class Making:
    """One character on its way: the wishes, and what the finished steps made."""

    wishes: Wishes
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self.wishes.folder

    def path(self, name: str) -> Path:
        """A file that a result names."""
        return self.folder / name

    def role_file(self) -> Path:
        """The role's file as a person may have edited it. Raises RolekitError where there is none."""
        return self._entry().path

    def role(self) -> Role:
        """The role as it is now. Raises RolekitError with all faults of its file."""
        return self._entry().loaded()

    def _entry(self) -> Entry:
        """The one role of exactly this name: nothing is made of a name that is merely near."""
        wanted, slug = fold(self.wishes.role), self.wishes.slug
        for entry in RoleLibrary().all():
            if entry.slug == slug or (entry.role and wanted and fold(entry.role.name) == wanted):
                return entry
        raise RolekitError(
            f'The role "{one_line(self.wishes.role, 60)}" is not among your roles any more.',
            "Bring its file back, or begin again with --from profile.",
        )


def digest_of(value: Any) -> str:
    """A short digest of anything that JSON can say."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def digest_of_file(path: Path) -> str:
    """A short digest of a file's bytes; empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""


def digest_of_folder(folder: Path, pattern: str = "*") -> str:
    """A digest of the files below folder, their names included."""
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return digest_of([[str(path.relative_to(folder)), digest_of_file(path)] for path in files])


def model_stamp(path: Path) -> str:
    """What tells one model from another without reading gigabytes: size and time of its files."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return digest_of(
        [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
    )
