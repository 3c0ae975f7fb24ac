"""A plan file: the types of single tensors, as a person (or `--max-kl`) writes them down.

[types]                            # the first pattern that is found in a tensor's name wins
'token_embd' = "Q8_0"
'blk\\.[0-3]\\.ffn_down' = "Q6_K"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import regex  # type: ignore[import-untyped, unused-ignore]
import tomlkit
from pydantic import BaseModel, ConfigDict, ValidationError

from rolekit.convert.mixes import Override
from rolekit.convert.quantize import WRITABLE
from rolekit.errors import RolekitError
from rolekit.paths import write_text
from rolekit.text import one_line

_MAX_BYTES = 4 << 20
_MAX_PATTERNS = 4096
_SECONDS = 0.2
"""What one pattern may take on one name: a name has at most 63 letters, so a sound one needs microseconds."""


class _PlanFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    types: dict[str, str]


def read_plan(path: Path) -> list[Override]:
    """The choices in a plan file, in its order.

    Raises RolekitError, with all faults at once, when it cannot be read, has an unknown key or type, or a pattern that
    is no regular expression.
    """
    types = _read(path).types
    faults = [fault for pattern, kind in types.items() if (fault := _fault(pattern, kind))]
    if len(types) > _MAX_PATTERNS:
        faults.append(f"{len(types)} patterns are too many")
    if faults:
        raise RolekitError(
            f"The plan {one_line(path.name)} has {len(faults)} fault(s): {one_line('; '.join(faults), 600)}.",
            f"Types are {', '.join(WRITABLE)}.",
        )
    return [Override(kind.upper(), _matcher(pattern), pattern) for pattern, kind in types.items()]


def write_plan(types: Mapping[str, str], path: Path, comment: str = "") -> None:
    """Put a plan at path that gives exactly these tensors these types.

    Raises RolekitError when the place cannot be written.
    """
    document = tomlkit.document()
    for line in comment.splitlines():
        document.add(tomlkit.comment(line))
    table = tomlkit.table()
    for name, kind in types.items():
        table.add(tomlkit.key([f"^{regex.escape(name)}$"]), kind)
    document.add("types", table)
    write_text(path, tomlkit.dumps(document))


def _read(path: Path) -> _PlanFile:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RolekitError(
                f"The plan {path.name} is far too large.", "Give a TOML file with a [types] table."
            )
        return _PlanFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RolekitError(
            f"The plan {path} could not be read ({error.strerror or error}).", "Check the path."
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise RolekitError(
            f"The plan {path.name} is no TOML ({one_line(str(error))}).", "Correct it, or make it again."
        ) from error
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors()
        )
        raise RolekitError(
            f"The plan {path.name} is wrong: {one_line(places, 400)}.",
            "It has one table, [types], of patterns and types.",
        ) from error


def _fault(pattern: str, kind: str) -> str:
    if kind.upper() not in WRITABLE:
        return f"{pattern!r} asks for {kind!r}, which is no tensor type"
    try:
        regex.compile(pattern)
    except regex.error as error:
        return f"{pattern!r} is no regular expression ({error})"
    return "" if pattern else "an empty pattern would be every tensor"


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = regex.compile(pattern)

    def matches(name: str) -> bool:
        try:
            return compiled.search(name, timeout=_SECONDS) is not None
        except TimeoutError as error:
            raise RolekitError(
                f"The pattern {one_line(pattern)!r} takes forever on {one_line(name)}.",
                "Write it more simply.",
            ) from error

    return matches
