"""What the left side of the Bench screen holds: the wishes for a run, and the lines they are changed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rolekit.paths import home

if TYPE_CHECKING:
    from rolekit.rolebench.prompting import Customise, Prompting


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the left side says."""

    data: str = ""
    model: str = ""
    """REF; empty is the model that chats."""
    adapter: str = ""
    """PATH or PATH:SCALE; empty is none, or the one that chats."""
    per_role: int = 4
    roles: str = ""
    """Names with commas between; empty is all."""
    kind: str = "both"
    prompting: Prompting = "zero-shot"
    customise: Customise = "system"
    max_tokens: int = 96
    name: str = "bench-1"

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return home() / "runs" / self.name

    @property
    def command(self) -> str:
        """The same run from the shell."""
        words = ["rolekit bench run", f"--data {self.data or 'PATH'}", f"--model {self.model or 'starter'}"]
        words += [f"--adapter {self.adapter}"] if self.adapter else []
        words += [f"--per-role {self.per_role}", *(f'--role "{name}"' for name in self.role_names)]
        words += [f"--kind {self.kind}"] if self.kind != "both" else []
        words += [
            f"--prompting {self.prompting} --customise {self.customise}",
            f"--max-tokens {self.max_tokens}",
        ]
        return " ".join([*words, f"--out {self.folder}"])

    def shown(self, key: str) -> str:
        """The value of a line, short: of a path its last part, and where nothing was chosen what that means."""
        value = str(getattr(self, key))
        if not value:
            return "(the chat's)" if key == "adapter" and not self.model else _EMPTY[key]
        return Path(value).name if key in ("data", "adapter") else value

    @property
    def role_names(self) -> tuple[str, ...]:
        """The roles that are asked; empty is all."""
        return tuple(name.strip() for name in self.roles.split(",") if name.strip())


CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ("both", "general", "role_specific"),
    "prompting": ("zero-shot", "few-shot-prompt", "few-shot-dialogue"),
    "customise": ("system", "retrieval", "none"),
}
ROWS = (
    ("data", "data"), ("model", "model"), ("adapter", "adapter"), ("per_role", "a role"), ("roles", "roles"),
    ("kind", "kind"), ("prompting", "prompting"), ("customise", "customise"), ("max_tokens", "max tokens"),
    ("name", "run"),
)  # fmt: skip
QUESTIONS = {
    "data": "Where are RoleBench's rows? A file or a folder",
    "model": "Which model? REF, empty for the one that chats",
    "adapter": "Which GGUF LoRA adapter? PATH or PATH:SCALE, empty for none",
    "per_role": "How many questions a role? 0 asks all",
    "roles": "Which roles? Names with commas between, empty for all",
    "max_tokens": "The longest answer, in tokens",
    "name": "What is the run called? The same name goes on with it",
}
MAY_BE_EMPTY = ("model", "adapter", "roles")
"""Lines whose answer may be nothing."""
_EMPTY = {"data": "(choose)", "model": "(chat's model)", "adapter": "(none)", "roles": "(all)"}
