"""Optional moderation: a person's own rules for what is said to a role and by it. Off unless a file is named.

A rule warns (the text stays, and it is said), redacts (the matches are replaced) or stops (a message is not sent, a
reply ends before the match). Every decision is kept with its message; the text that was taken out is not.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import regex  # type: ignore[import-untyped, unused-ignore]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rolekit.chat.extra import extra_of, record_of, text_of
from rolekit.endpoints.address import Endpoint, parse_endpoint
from rolekit.errors import RolekitError
from rolekit.text import one_line

Action = Literal["warn", "redact", "stop"]
Side = Literal["input", "output"]
PATTERN_SECONDS = 0.05
"""A pattern that takes longer on one text is left out for it, and that is said."""
_KEY = "moderation"
_EXAMPLE = '[[rules]] name = "phone numbers" pattern = \'\\d{3}-\\d{4}\' action = "redact" where = "both"'


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80)
    pattern: str = Field(min_length=1, max_length=2000)
    action: Action
    where: Literal["input", "output", "both"] = "both"
    ignore_case: bool = True
    replacement: str = Field(default="[…]", max_length=80)


class _Endpoint(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    ref: str = Field(min_length=1)
    action: Action = "warn"
    where: Literal["input", "output", "both"] = "both"
    categories: tuple[str, ...] = ()
    replacement: str = Field(default="[…]", max_length=80)
    unreachable: Literal["stop", "pass"] = "stop"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[_Rule, ...] = ()
    endpoint: _Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern and what is done where it is found."""

    name: str
    pattern: Any
    action: Action
    where: Literal["input", "output", "both"]
    replacement: str


@dataclass(frozen=True, slots=True)
class Server:
    """A moderation endpoint that the user named; it gets every text it is to check."""

    endpoint: Endpoint
    action: Action
    where: Literal["input", "output", "both"]
    categories: tuple[str, ...]
    """Only these count; empty means whatever the server flags."""
    replacement: str
    fails_open: bool
    """A text that could not be checked passes, with a notice; else it is treated as flagged."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that moderation decided about one message."""

    rule: str
    action: Action | Literal["unchecked"]
    """unchecked: the rule could not be applied, and the text passed."""
    side: Side
    count: int = 1
    detail: str = ""

    @property
    def sentence(self) -> str:
        """For a person, safe to print: `“phone numbers” redacted 2 places of the reply`."""
        what = {"input": "your message", "output": "the reply"}[self.side]
        places = f"{self.count} {'place' if self.count == 1 else 'places'} of "
        done = {
            "warn": f"matches {what}",
            "redact": f"redacted {places}{what}",
            "stop": f"stopped {what}",
            "unchecked": f"could not be applied to {what}, which passed",
        }[self.action]
        return (
            f"“{one_line(self.rule, 80)}” {done}{f' ({one_line(self.detail, 120)})' if self.detail else ''}"
        )


@dataclass(frozen=True, slots=True)
class Moderation:
    """All that a moderation file asks for."""

    path: Path
    rules: tuple[Rule, ...]
    server: Server | None = None

    def rules_for(self, side: Side) -> tuple[Rule, ...]:
        """The rules that mind this side, in the file's order."""
        return tuple(rule for rule in self.rules if rule.where in (side, "both"))

    def server_for(self, side: Side) -> Server | None:
        """The endpoint, where it is to check this side."""
        return self.server if self.server and self.server.where in (side, "both") else None


def load_moderation(path: Path) -> Moderation:
    """The rules of a moderation file. Raises RolekitError naming every fault of it."""
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        what = one_line(str(error), 200)
        if isinstance(error, ValidationError):
            what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise _faulty(path, what) from error
    rules, faults = [], []
    for row in file.rules:
        try:
            pattern = regex.compile(row.pattern, regex.IGNORECASE if row.ignore_case else 0)
        except (regex.error, OverflowError, RecursionError) as error:
            faults.append(f"rule {row.name}: {error}")
            continue
        if pattern.search("") is not None:
            faults.append(f"rule {row.name}: the pattern matches nothing at all")
        rules.append(Rule(row.name, pattern, row.action, row.where, row.replacement))
    if faults:
        raise _faulty(path, "; ".join(faults))
    server = None
    if given := file.endpoint:
        fails_open = given.unreachable == "pass"
        server = Server(
            parse_endpoint(given.ref),
            given.action,
            given.where,
            given.categories,
            given.replacement,
            fails_open,
        )
    return Moderation(path, tuple(rules), server)


def _faulty(path: Path, what: str) -> RolekitError:
    return RolekitError(
        f"The moderation rules in {one_line(str(path), 200)} cannot be used ({one_line(what, 400)}).",
        f"A rule is: {_EXAMPLE}",
    )


def decisions_of(extra: str) -> tuple[Decision, ...] | None:
    """What was decided about a message; None where it was never looked at."""
    if f'"{_KEY}"' not in extra:
        return None
    rows = record_of(extra).get(_KEY)
    if not isinstance(rows, list):
        return None
    return tuple(
        Decision(
            text_of(row.get("rule")), row["action"], row["side"], row["count"], text_of(row.get("detail"))
        )
        for row in rows
        if isinstance(row, dict)
        and row.get("action") in ("warn", "redact", "stop", "unchecked")
        and row.get("side") in ("input", "output")
        and isinstance(row.get("count"), int)
    )


def with_decisions(extra: str, decisions: tuple[Decision, ...]) -> str:
    """A message's `extra` with what was decided about it, an empty list too: it was looked at."""
    record = record_of(extra)
    record[_KEY] = [asdict(decision) for decision in decisions]
    return extra_of(record)


def without_decisions(extra: str) -> str:
    """A message's `extra` after its text was changed: it has to be looked at again."""
    record = record_of(extra)
    return extra_of(record) if record.pop(_KEY, None) is not None else extra
