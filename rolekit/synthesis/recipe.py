"""What decides a synthesis run, and recipe.json in its folder: one entry for each step that was run there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rolekit import __version__
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, write_text
from rolekit.rolebench.prompting import Prompting
from rolekit.roles.role import Role
from rolekit.text import one_line

RECIPE = "recipe.json"
FORMAT = 1
TaskName = Literal["rolegpt", "context-instruct", "dialogues"]
TASKS: tuple[TaskName, ...] = ("rolegpt", "context-instruct", "dialogues")


@dataclass(frozen=True, slots=True)
class RoleGpt:
    """General instructions, answered in the role's voice."""

    prompting: Prompting = "few-shot-dialogue"
    instructions: str = ""
    """A file or folder in any format of rolekit.rolebench.sources; empty for the bundled set."""
    most_instructions: int = 0
    """Chosen by hash; 0 takes all."""
    references: int = 5
    baseline: bool = True
    """Whether one answer more is made, which other models are compared with."""
    answer_tokens: int = 200
    """The paper's limit."""
    shorten: bool = False
    """Keep an answer that was cut off up to its last whole sentence: small models seldom end by themselves."""


@dataclass(frozen=True, slots=True)
class ContextInstruct:
    """Questions about the role itself, made from its profile and its segments, with answers in its voice."""

    candidates: int = 400
    """At least so many triplets are asked for, rejected ones included."""
    per_call: int = 0
    """Triplets in one answer; 0 leaves it to the generator: 8 behind a server, 3 in this process."""
    not_knowing: int = 40
    """Rows whose questions lie outside the role's world."""
    refusal: int = 20
    """Rows whose requests the role should turn down."""
    check: bool = False
    """Whether a model looks over what the rules have accepted."""


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Conversations over several turns with a simulated user."""

    dialogues: int = 20
    least_turns: int = 4
    most_turns: int = 12
    """Exchanges; each dialogue's number lies between the two, chosen by hash."""
    user_tokens: int = 90
    reply_tokens: int = 160


Task = RoleGpt | ContextInstruct | Dialogues
_NAMES: dict[type, TaskName] = {
    RoleGpt: "rolegpt",
    ContextInstruct: "context-instruct",
    Dialogues: "dialogues",
}
_MAY_GROW = {
    "most_instructions",
    "candidates",
    "not_knowing",
    "refusal",
    "dialogues",
    "instructions",
    "rolekit",
}
"""Another number here makes a run longer; what is there stays good. Instructions are compared by their rows' ids."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One step of a synthesis run."""

    folder: Path
    """RUN; may hold the other steps too, and what `synth profile` put there (segments.jsonl)."""
    role: Role
    task: Task
    seed: int = 0
    temperature: float = 0.7
    top_p: float = 0.95
    """Both as in the paper."""

    @property
    def name(self) -> TaskName:
        """The step's name."""
        return _NAMES[type(self.task)]

    @property
    def done_file(self) -> Path:
        """The completion marker of this step."""
        return self.folder / f"done-{self.name}.json"


def role_sha256(role: Role) -> str:
    """A digest of everything a role says."""
    text = json.dumps(role.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def begin(recipe: Recipe, model: str, prompts: dict[str, str]) -> None:
    """Put the step into the folder's recipe.json, or find it there the same.

    prompts: version and sha256 of the wording. Raises RolekitError when the folder's run is of another role, the step
    was begun otherwise (every difference is named), or the file cannot be read.
    """
    ensure_dir(recipe.folder)
    kept = read_recipes(recipe.folder)
    wanted: dict[str, Any] = {
        "rolekit": __version__,
        "role": recipe.role.name,
        "language": recipe.role.language,
        "role_sha256": role_sha256(recipe.role),
        "model": model,
        **prompts,
        "seed": recipe.seed,
        "temperature": recipe.temperature,
        "top_p": recipe.top_p,
        **asdict(recipe.task),
        "character": recipe.role.model_dump(mode="json", exclude_defaults=True),
    }
    others = {entry.get("role") for entry in kept.values()} - {recipe.role.name}
    if others:
        raise RolekitError(
            f"The run in {recipe.folder} is of {one_line(str(others.pop()))}.",
            "Choose another folder with --out.",
        )
    if recipe.name in kept:
        _check_same(recipe, kept[recipe.name], wanted)
    steps = {**kept, recipe.name: wanted}
    text = json.dumps({"format": FORMAT, "steps": steps}, ensure_ascii=False, indent=1)
    write_text(recipe.folder / RECIPE, text + "\n")


def role_of(folder: Path) -> Role:
    """The role of a run, as its latest step knew it. Raises RolekitError where nothing was run there."""
    steps = read_recipes(folder)
    if not steps:
        raise RolekitError(
            f"{folder} is no run of a synthesis.", "Begin one with: rolekit synth context-instruct --out RUN"
        )
    return Role.model_validate(list(steps.values())[-1]["character"])


def read_recipes(folder: Path) -> dict[str, dict[str, Any]]:
    """What recipe.json says of each step by its name; empty where there is none yet. Raises RolekitError."""
    path = folder / RECIPE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        steps = values["steps"]
        sound = values["format"] == FORMAT and all(isinstance(entry, dict) for entry in steps.values())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise RolekitError(f"{path} is no recipe of a synthesis run.", "Choose another folder with --out.")
    found: dict[str, dict[str, Any]] = steps
    return found


def _check_same(recipe: Recipe, kept: dict[str, Any], wanted: dict[str, Any]) -> None:
    faults = [
        f"{name} was {_short(kept.get(name))} and is now {_short(wanted.get(name))}"
        for name in dict.fromkeys([*kept, *wanted])
        if name not in (*_MAY_GROW, "character") and kept.get(name) != wanted.get(name)
    ]
    if faults:
        raise RolekitError(
            f"The step {recipe.name} in {recipe.folder} was begun otherwise: {'; '.join(faults)}.",
            "Use the old settings to go on with it, or choose another folder with --out.",
        )


def _short(value: Any) -> str:
    return (
        one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 60) or "nothing"
    )
