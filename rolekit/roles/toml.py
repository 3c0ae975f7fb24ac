"""Role files: TOML that a person writes, read strictly and with every fault named at once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pydantic import ValidationError

from rolekit.roles.faults import Fault, content_faults, faults_error, place_name, shape_faults
from rolekit.roles.lines import key_lines, line_of, open_quote
from rolekit.roles.role import Role
from rolekit.text import one_line

MAX_BYTES = 1024 * 1024
MAX_ITEMS = 1000
_DOTTED = re.compile(r"(?<![\w-])(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}")
_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")


def load_role(path: Path) -> Role:
    """The role in a file.

    Raises RolekitError naming all faults (`file:line: what, and how to mend it`), also when there is no such file.
    """
    role, faults = _read(path)
    if role is None or faults:
        raise faults_error(path, faults)
    return role


def check_role(path: Path) -> list[Fault]:
    """Every fault of a role file, in the order of its lines; empty when load_role would succeed."""
    return _read(path)[1]


def parse_role(text: str, path: Path) -> Role:
    """The role in a text; path is only what faults call it. Raises RolekitError like load_role."""
    role, faults = _parse(text, path)
    if role is None or faults:
        raise faults_error(path, faults)
    return role


def _read(path: Path) -> tuple[Role | None, list[Fault]]:
    """The role, or the faults of its bytes."""
    try:
        if path.exists() and not path.is_file():
            return None, [Fault(path, 1, "this is not a file.", "Name a .toml file.")]
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return None, [
            Fault(path, 1, f"the file cannot be read ({one_line(reason)}).", "Check its name and place.")
        ]
    if len(data) > MAX_BYTES:
        return None, [
            Fault(path, 1, "the file is larger than 1 MiB.", "A role fits on a few pages; shorten it.")
        ]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return None, [Fault(path, line, "the file is not UTF-8 text.", "Save it as UTF-8 in your editor.")]
    return _parse(text, path)


def _parse(text: str, path: Path) -> tuple[Role | None, list[Fault]]:
    # tomllib is quadratic in the parts of one dotted key: 40 KB of `a.a.a…` takes it eight seconds.
    if dotted := _DOTTED.search(text):
        line = text.count("\n", 0, dotted.start()) + 1
        return None, [
            Fault(path, line, "a key has too many parts.", "A role file needs no dots in its keys.")
        ]
    try:
        values = tomllib.loads(text)
    except RecursionError:
        return None, [
            Fault(path, 1, "lists or tables are nested too deeply.", "A role file needs two levels.")
        ]
    except ValueError as error:
        return None, [_syntax_fault(error, text, path)]
    crowded = [key for key, value in values.items() if isinstance(value, list) and len(value) > MAX_ITEMS]
    if crowded or len(values) > MAX_ITEMS:
        what = place_name((crowded[0],)) if crowded else "the file"
        return None, [Fault(path, 1, f"{what} has more than {MAX_ITEMS} entries.", "Keep the best of them.")]
    try:
        role = Role.model_validate(values)
    except ValidationError as error:
        lines = key_lines(text)
        faults = shape_faults(error.errors(include_url=False), values, lines, path)
        return None, sorted(faults, key=lambda fault: fault.line)
    found = list(content_faults(role))
    if not found:
        return role, []
    lines = key_lines(text)
    faults = [Fault(path, line_of(lines, where), message, advice) for where, message, advice in found]
    return role, sorted(faults, key=lambda fault: fault.line)


def _syntax_fault(error: ValueError, text: str, path: Path) -> Fault:
    message = str(error)
    place = _PLACE.search(message)
    end = text.rstrip().count("\n") + 1
    line = min(int(place[1]), end) if place and place[1] else end
    what = one_line(_PLACE.sub("", message), 160)
    advice = "Look for a missing quote, bracket or comma on this line or just above."
    if what.startswith("Cannot overwrite a value"):
        what, advice = "this key was already given further up", "Keep one of the two."
    elif (opened := open_quote(text)) is not None and opened <= line:
        line, what, advice = opened, "a quote is opened here and never closed", "Close it."
    elif "integer string conversion" in what:
        line, what, advice = 1, "a number has thousands of digits", "Put it in quotes, or remove it."
    return Fault(path, line, f"this is not TOML: {what}.", advice)
