"""Telling when a reply went wrong: out of character, for the user, the same again, or nothing at all."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped, unused-ignore]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rolekit.chat.events import Finished
from rolekit.chat.tree import Node
from rolekit.errors import RolekitError
from rolekit.messages import StopReason
from rolekit.paths import roles_dir
from rolekit.text import one_line

_PATTERN_SECONDS = 0.05
_NEARLY = 92.0
"""Likeness in percent from which a reply counts as an earlier one again."""
_SHORT_CHARACTERS = 40
"""Shorter replies may well be said twice."""
_LOOK_BACK = 20
_OUT_OF_CHARACTER = regex.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|virtual assistant|chat ?bot)\b"
    r"|\bi(?:'|’)?(?: a)?m (?:just |only )?an? (?:ai|(?:large )?language model|chat ?bot|virtual assistant|computer program)\b"
    r"|\bi (?:was|am) (?:created|developed|trained|made) by (?:openai|anthropic|google|meta|hugging ?face|alibaba)\b"
    r"|\bhow (?:can|may) i assist you today\b"
    r"|作为(?:一个|一款|一名)?(?:AI|人工智能|大?语言模型)|我(?:只)?是(?:一个|一款)?(?:AI|人工智能|大?语言模型)"
    r"|\bals (?:ki|künstliche intelligenz|sprachmodell)\b|\bich bin (?:nur )?ein(?:e)? (?:ki|sprachmodell)\b"
    r"|\ben tant qu(?:e |['’]\s?)(?:ia|intelligence artificielle|modèle de langage)\b"
    r"|\bcomo (?:una? )?(?:ia|inteligencia artificial|modelo de lenguaje)\b",
    regex.IGNORECASE,
)


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80)
    pattern: str = Field(min_length=1, max_length=1000)
    ignore_case: bool = True


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[_Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a role never says: a name for people, and the pattern that finds it."""

    name: str
    pattern: Any


@dataclass(frozen=True, slots=True)
class Guard:
    """What to hold a role's replies against."""

    user_names: tuple[str, ...] = ()
    """Names under which a reply would speak for the user, or for another role of a room."""
    rules: tuple[Rule, ...] = field(default=())
    company: bool = False
    """There are other roles in the room."""

    def fault(self, text: str, stop_reason: StopReason, earlier: Sequence[str]) -> str:
        """Why a reply should be tried again, in a few words; empty where it is fine.

        earlier are the role's replies so far, oldest first.
        """
        plain = text.strip()
        if not plain:
            return "it was empty"
        if stop_reason == "speaks_for_user" and len(plain) < _SHORT_CHARACTERS // 2:
            return self._for_whom
        lines = [line.strip(' *_"“”') for line in plain.splitlines()]
        if any(line.startswith((f"{name}:", f"{name}：")) for line in lines for name in self.user_names):
            return self._for_whom
        if _OUT_OF_CHARACTER.search(plain):
            return "it broke character"
        if _repeats(plain, earlier):
            return "it repeated itself"
        for rule in self.rules:
            if _found(rule, plain):
                return f"rule “{one_line(rule.name)}”"
        return ""

    @property
    def _for_whom(self) -> str:
        return "it spoke for somebody else" if self.company else "it spoke for you"


def fault_in(guard: Guard | None, finished: Finished, history: Sequence[Node]) -> str:
    """Guard.fault of a reply to history; empty without a guard, and where the user or a moderation rule stopped it."""
    if guard is None or finished.node is None or finished.reply.stop_reason in ("cancelled", "moderated"):
        return ""
    earlier = [node.text for node in history if node.speaker == "assistant"]
    return guard.fault(finished.node.text, finished.reply.stop_reason, earlier)


def load_rules(slug: str) -> tuple[Rule, ...]:
    """A role's own rules, from roles/rules/SLUG.toml; none where there is no file.

    Raises RolekitError naming every fault of the file.
    """
    path = roles_dir() / "rules" / f"{slug}.toml"
    try:
        rows = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).rules
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, ValueError) as error:
        raise _faulty(path, error) from error
    return tuple(Rule(row.name, _compiled(path, row)) for row in rows)


def _faulty(path: Path, error: Exception) -> RolekitError:
    what = one_line(str(error), 160)
    if isinstance(error, ValidationError):
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return RolekitError(
        f"The rules in {path} cannot be used ({one_line(what, 300)}).",
        'A rule is: [[rules]] name = "no emoji" pattern = "[😀-🙏]".',
    )


def _compiled(path: Path, row: _Rule) -> Any:
    try:
        return regex.compile(row.pattern, regex.IGNORECASE if row.ignore_case else 0)
    except (regex.error, OverflowError, RecursionError) as error:
        raise _faulty(path, error) from error


def _found(rule: Rule, text: str) -> bool:
    try:
        return rule.pattern.search(text, timeout=_PATTERN_SECONDS) is not None
    except TimeoutError:
        return False


def _repeats(text: str, earlier: Sequence[str]) -> bool:
    if len(text) < _SHORT_CHARACTERS:
        return False
    from rapidfuzz import fuzz

    near = [other for other in earlier[-_LOOK_BACK:] if len(other) >= _SHORT_CHARACTERS]
    return any(fuzz.ratio(text, other.strip(), score_cutoff=_NEARLY) for other in near)
