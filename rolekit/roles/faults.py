"""What is wrong in a role file, in words: where it is, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from rolekit.errors import RolekitError
from rolekit.roles.lines import Where, line_of
from rolekit.roles.role import Example, Note, Role
from rolekit.text import one_line, sanitize

MAX_SHOWN = 20
_LISTS = (
    "aliases",
    "tags",
    "sources",
    "catchphrases",
    "facts",
    "alternate_greetings",
    "openers",
    "lorebooks",
)
_TYPES = {
    "string_type": ("must be text", "Put it in quotes."),
    "string_unicode": ("is not valid text", "Write it again by hand."),
    "string_too_short": ("is empty", "Write something, or remove the line."),
    "tuple_type": ("must be a list", 'Write it as ["first", "second"].'),
    "model_type": (
        "must have a user line and a reply",
        "Write [[examples]], then user = and reply = below it.",
    ),
    "model_attributes_type": (
        "must have a user line and a reply",
        "Write [[examples]], then user = and reply = below it.",
    ),
    "string_pattern_mismatch": ("is not a language tag", 'Write one such as "en", "zh" or "pt-BR".'),
    "string_too_long": ("is too long", "Shorten it to 200 characters."),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a role file, where it is, and how to mend it."""

    path: Path
    line: int
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        """One line: FILE:LINE, what is wrong, how to mend it."""
        place = f"{one_line(str(self.path), 300)}:{self.line}"
        return f"{place}: {self.message} {self.suggestion}".rstrip()


def faults_error(path: Path, faults: list[Fault]) -> RolekitError:
    """The one error that says everything that is wrong with a role file, at most MAX_SHOWN lines of it."""
    lines = [f"  {fault}" for fault in faults[:MAX_SHOWN]]
    if len(faults) > MAX_SHOWN:
        lines.append(f"  and {len(faults) - MAX_SHOWN} more")
    number = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    head = f"The role file {one_line(path.name, 80)} has {number}:"
    return RolekitError(
        "\n".join([head, *lines]), "\nMend it and run `rolekit roles check` to see what is left."
    )


def shape_faults(
    errors: list[ErrorDetails], values: Mapping[str, object], lines: Mapping[Where, int], path: Path
) -> Iterable[Fault]:
    """Faults of keys and types, in words; a key that is only misspelt is not also reported as missing."""
    meant: set[Where] = set()
    missing: list[Where] = []
    for error in errors:
        where: Where = tuple(error["loc"])
        line = line_of(lines, where)
        if error["type"] == "missing":
            missing.append(where)
        elif error["type"] == "extra_forbidden":
            suggestion, key = _nearest_key(where)
            meant.add((*where[:-1], key))
            yield Fault(path, line, f"unknown key {place_name(where)}.", suggestion)
        else:
            what, advice = _TYPES.get(error["type"], (error["msg"], ""))
            if error["type"] == "string_pattern_mismatch":
                advice = f"{one_line(repr(error['input']), 40)} was given. {advice}"
            yield Fault(path, line, f"{place_name(where)} {what}.", advice)
    yield from (fault for fault in _blank_faults(values, lines, path))
    for where in missing:
        if where not in meant:
            yield Fault(path, line_of(lines, where), f"{place_name(where)} is missing.", _how_to_add(where))


def _blank_faults(values: Mapping[str, object], lines: Mapping[Where, int], path: Path) -> Iterable[Fault]:
    """What the content check would say of the lists, for a file whose other faults keep a Role from being made."""
    for key in _LISTS:
        items = values.get(key)
        texts = enumerate(items) if isinstance(items, list) else ()
        for where, message, advice in _list_faults(
            key, ((n, text) for n, text in texts if isinstance(text, str))
        ):
            yield Fault(path, line_of(lines, where), message, advice)


def content_faults(role: Role) -> Iterable[tuple[Where, str, str]]:
    """What types cannot see: blank texts, names over several lines, the same thing twice.

    Each as place, message, suggestion.
    """
    for key in ("name", "description"):
        if not sanitize(getattr(role, key)).strip():
            yield (key,), f"{place_name((key,))} is empty.", "Write something."
    if set("\n\t") & set(role.name) or sanitize(role.name) != role.name:
        yield ("name",), '"name" has line breaks or control characters.', "Write it on one line."
    for key in _LISTS:
        yield from _list_faults(key, enumerate(getattr(role, key)))
    seen: dict[str, int] = {}
    for number, example in enumerate(role.examples):
        for part in ("user", "reply"):
            if not sanitize(getattr(example, part)).strip():
                yield (
                    ("examples", number, part),
                    f"{place_name(('examples', number, part))} is empty.",
                    "Write something.",
                )
        first = seen.setdefault(_same(example.user), number)
        if first != number:
            message = f"example {number + 1} asks the same as example {first + 1}."
            yield ("examples", number), message, "Ask something else, or remove one."


def _list_faults(key: str, items: Iterable[tuple[int, str]]) -> Iterable[tuple[Where, str, str]]:
    seen: dict[str, int] = {}
    for number, item in items:
        place = f'item {number + 1} of "{key}"'
        if not sanitize(item).strip():
            yield (key, number), f"{place} is empty.", "Write something, or remove it."
            continue
        first = seen.setdefault(_same(item), number)
        if first != number:
            yield (key, number), f"{place} says the same as item {first + 1}.", "Remove one."


def _same(text: str) -> str:
    return " ".join(text.casefold().split())


def place_name(where: Where) -> str:
    """A place as a person would call it: "facts", item 2 of "facts", "reply" of example 3."""
    match where:
        case ("examples", int(number)):
            return f"example {number + 1}"
        case ("examples", int(number), key):
            return f'"{one_line(str(key), 40)}" of example {number + 1}'
        case (str(table), int(number), str(key)):
            return f'"{one_line(key, 40)}" of item {number + 1} of "{one_line(table, 40)}"'
        case (str(key), int(number)):
            return f'item {number + 1} of "{key}"'
    return f'"{one_line(".".join(map(str, where)), 60)}"'


def _nearest_key(where: Where) -> tuple[str, str]:
    """Advice about an unknown key, and the known key it stands for ("" when none is near)."""
    from rapidfuzz import fuzz, process

    tables: dict[str, type[BaseModel]] = {"examples": Example, "notes": Note}
    model = tables.get(str(where[0]), Role) if len(where) > 1 else Role
    known = list(model.model_fields)
    key = str(where[-1])[:200]
    if best := process.extractOne(key.casefold(), known, scorer=fuzz.ratio, score_cutoff=65):
        return f'Did you mean "{best[0]}"?', best[0]
    if where[0] in tables and len(where) == 3 and key in Role.model_fields:
        return f'Move "{key}" above the first [[{where[0]}]].', ""
    return f"Known keys here: {', '.join(known)}.", ""


def _how_to_add(where: Where) -> str:
    key = where[-1]
    if key == "description":
        return 'Add description = "You are …".'
    return f'Add {key} = "…".'
