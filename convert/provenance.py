"""Where a converted model comes from, as its own metadata tells it: role, recipe, data, base, licence."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from rolekit import __version__
from rolekit.engine.gguf_header import read_header
from rolekit.errors import RolekitError
from rolekit.text import one_line

SIDECAR = "rolekit.json"
"""What training writes beside the adapter."""
_FIELDS = ("role", "recipe_hash", "data_hash", "template", "base")
_MOST_CHARACTERS = 2000
_LICENCE = re.compile(r"^license(?:_name)?:\s*[\"']?([\w.+-]+)", re.MULTILINE)
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is known of a model's making; empty where nobody wrote it down."""

    role: str = ""
    recipe_hash: str = ""
    data_hash: str = ""
    template: str = ""
    base: str = ""
    """The base model's name, as the adapter or the command line gives it."""
    named_template: str = ""
    """The chat template that training took in place of the base's: a name or a .jinja file."""
    licence: str = ""
    """The base model's licence: what is made of it stands under the same."""

    @property
    def is_on_the_hub(self) -> bool:
        """Whether the base has the form of a repository's name there: owner/repo."""
        return bool(_REPO.fullmatch(self.base))

    def metadata(self) -> dict[str, str | int]:
        """GGUF keys and values; a whole number is a uint32. Keys without a value are left out."""
        own = {f"rolekit.{name}": getattr(self, name) for name in _FIELDS}
        values: dict[str, str | int] = {"rolekit.version": __version__}
        values |= {key: value for key, value in own.items() if value}
        if self.licence:
            values["general.license"] = self.licence
        if self.base:
            values["general.base_model.count"] = 1
            values["general.base_model.0.name"] = self.base.rpartition("/")[2] or self.base
            if self.is_on_the_hub:
                values["general.base_model.0.repo_url"] = f"https://huggingface.co/{self.base}"
        return values


def provenance(base: Path, adapter: Path | None, *, base_ref: str = "", role: str = "") -> Provenance:
    """What base and adapter say of themselves; base_ref and role are what the user typed, and role wins.

    Raises RolekitError when the adapter's sidecar is there and cannot be read.
    """
    noted = _sidecar(adapter) if adapter else {}
    name = noted.get("base", "") or base_ref
    if not name or Path(name).is_absolute() or name.startswith((".", "~")):
        name = _name_of(base)  # a path on somebody's machine says nothing elsewhere
    return Provenance(
        role=role or noted.get("role", ""),
        recipe_hash=noted.get("recipe_hash", ""),
        data_hash=noted.get("data_hash", ""),
        template=noted.get("template", ""),
        base=name.removeprefix("hf:"),
        named_template=noted.get("named_template", ""),
        licence=_licence(base),
    )


def _sidecar(adapter: Path) -> dict[str, str]:
    path = (adapter if adapter.is_dir() else adapter.parent) / SIDECAR
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RolekitError(
            f"{path} cannot be read ({one_line(str(error), 120)}).", "Mend or remove it."
        ) from error
    if not isinstance(values, dict):
        raise RolekitError(f"{path} is no JSON object.", "Mend or remove it.")
    kept = {name: values.get(name) for name in (*_FIELDS, "named_template")}
    return {
        name: value[:_MOST_CHARACTERS] for name, value in kept.items() if isinstance(value, str) and value
    }


def _name_of(base: Path) -> str:
    if base.is_file():
        header = read_header(base)
        return one_line(header.text("general.name") or base.stem, 200)
    return one_line(base.resolve().name, 200)


def _licence(base: Path) -> str:
    """The licence's identifier: from the GGUF, or from the front matter of the folder's model card."""
    if base.is_file():
        return one_line(read_header(base).text("general.license"), 80)
    card = base / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    front = text.partition("---")[2].partition("\n---")[0] if text.startswith("---") else ""
    names = {found[0].partition(":")[0]: found[1] for found in _LICENCE.finditer(front)}
    return one_line(names.get("license_name") or names.get("license", ""), 80)
