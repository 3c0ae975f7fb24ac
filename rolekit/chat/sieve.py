"""Moderating a text, whole or while it is being written.

While a reply streams, nothing comes out that a redacting or stopping rule could still take: text is held back from
where a match has begun and might yet be completed (regex's partial matching), or has reached the end and might yet
change. So what is redacted never stood on the screen or on the disk. An endpoint judges whole texts only: where it
may redact or stop, a reply comes out when it is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rolekit.chat.branch import Branch
from rolekit.chat.moderation import (
    PATTERN_SECONDS,
    Decision,
    Moderation,
    Rule,
    Server,
    Side,
    decisions_of,
    with_decisions,
)
from rolekit.chat.tree import Node
from rolekit.endpoints.moderation import flags_of
from rolekit.errors import RolekitError


@dataclass(frozen=True, slots=True)
class Verdict:
    """A moderated text."""

    text: str
    decisions: tuple[Decision, ...] = ()
    stopped: bool = False
    """A message is not to be sent; a reply ended before the match, and text is what came before."""


@dataclass(frozen=True, slots=True)
class _Hit:
    start: int
    end: int
    rule: Rule


@dataclass(slots=True)
class _Scan:
    """What the rules find in a text from a place on."""

    hits: list[_Hit] = field(default_factory=list)
    settled: int = 0
    """Up to here nothing can change any more, whatever follows."""
    late: list[Rule] = field(default_factory=list)
    """Rules that took too long."""


def _scan(text: str, begin: int, rules: Sequence[Rule], *, whole: bool) -> _Scan:
    found = _Scan(settled=len(text))
    for rule in rules:
        place = begin
        while place <= len(text):
            try:
                match = rule.pattern.search(text, place, partial=not whole, timeout=PATTERN_SECONDS)
                grows = match is not None and not whole and (match.partial or _may_grow(rule, text, match))
            except TimeoutError:
                found.late.append(rule)
                break
            if match is None:
                break
            if grows:
                found.settled = min(found.settled, match.start())
                break
            if match.end() > match.start():
                found.hits.append(_Hit(match.start(), match.end(), rule))
            place = max(match.end(), match.start() + 1)
    found.hits.sort(key=lambda hit: (hit.start, -hit.end))
    for hit in found.hits:
        if hit.start < found.settled < hit.end:
            found.settled = hit.start
    return found


def _may_grow(rule: Rule, text: str, match: Any) -> bool:
    """Whether a match may still change: it touches the end, or all from its start on may begin a longer one."""
    if match.end() == len(text):
        return True
    longer = rule.pattern.fullmatch(text, match.start(), partial=True, timeout=PATTERN_SECONDS)
    return longer is not None


def _cut(text: str, begin: int, end: int, hits: Sequence[_Hit]) -> tuple[str, bool]:
    """text[begin:end] with what is redacted replaced; True where a stop ended it before its end."""
    parts: list[str] = []
    for hit in hits:
        if hit.start >= end or hit.end <= begin or hit.rule.action == "warn":
            continue
        parts.append(text[begin : hit.start])
        begin = max(begin, hit.end)
        if hit.rule.action == "stop":
            return "".join(parts), True
        parts.append(hit.rule.replacement)
    return "".join([*parts, text[begin:end]]), False


def _decisions(hits: Sequence[_Hit], late: Sequence[Rule], side: Side) -> tuple[Decision, ...]:
    counts: dict[Rule, int] = {}
    for hit in hits:
        counts[hit.rule] = counts.get(hit.rule, 0) + 1
        if hit.rule.action == "stop":
            break
    found = [Decision(rule.name, rule.action, side, count) for rule, count in counts.items()]
    return (
        *found,
        *(Decision(rule.name, "unchecked", side, 1, "its pattern takes too long") for rule in late),
    )


def moderated(text: str, side: Side, rules: Sequence[Rule], before: str = "") -> Verdict:
    """A whole text after the rules; before is what it goes on with, already moderated."""
    whole = before + text
    found = _scan(whole, len(before), rules, whole=True)
    cut, stopped = _cut(whole, len(before), len(whole), found.hits)
    return Verdict(cut, _decisions(found.hits, found.late, side), stopped)


async def judged(server: Server, text: str, side: Side) -> Verdict:
    """A whole text after the endpoint. One that cannot be reached counts as flagged, unless the file says pass."""
    if not text.strip():
        return Verdict(text)
    label = server.endpoint.label
    try:
        flags = await flags_of(server.endpoint, text)
    except RolekitError as error:
        if server.fails_open:
            return Verdict(text, (Decision(label, "unchecked", side, 1, error.what_happened),))
        hit, detail = True, error.what_happened
    else:
        wanted = [name for name in flags.categories if not server.categories or name in server.categories]
        hit = bool(wanted) if server.categories else flags.flagged
        detail = ", ".join(wanted)
    if not hit:
        return Verdict(text)
    after = {"warn": text, "redact": server.replacement, "stop": ""}[server.action]
    return Verdict(after, (Decision(label, server.action, side, 1, detail),), server.action == "stop")


async def moderate(moderation: Moderation, text: str, side: Side, before: str = "") -> Verdict:
    """A whole text after the rules, then the endpoint."""
    verdict = moderated(text, side, moderation.rules_for(side), before)
    server = moderation.server_for(side)
    if server is None or (verdict.stopped and side == "input"):
        return verdict
    judgement = await judged(server, verdict.text, side)
    return Verdict(
        judgement.text,
        verdict.decisions + judgement.decisions,
        verdict.stopped or judgement.stopped,
    )


async def heard(moderation: Moderation | None, text: str) -> Verdict:
    """The user's message as it may be sent. Raises RolekitError where a rule stops it; nothing is sent or kept then."""
    if moderation is None:
        return Verdict(text)
    verdict = await moderate(moderation, text, "input")
    if verdict.stopped or not verdict.text.strip():
        why = "; ".join(decision.sentence for decision in verdict.decisions)
        raise RolekitError(
            f"Your message was not sent: {why}.", f"Change it; the rules are in {moderation.path}."
        )
    return verdict


async def heard_again(
    moderation: Moderation | None, branch: Branch, path: list[Node]
) -> tuple[list[Node], tuple[Decision, ...]]:
    """The path to a message of the user that was edited, or is older than the rules, after they have seen it.

    What is redacted is replaced where it is stored. Raises RolekitError where a rule stops it.
    """
    last = path[-1]
    if moderation is None or decisions_of(last.extra) is not None:
        return path, ()
    verdict = await heard(moderation, last.text)
    changed = branch.rewrite(last, verdict.text, kept_with(moderation, last.extra, verdict))
    return [*path[:-1], changed], verdict.decisions


def kept_with(moderation: Moderation | None, extra: str, verdict: Verdict) -> str:
    """A message's `extra` with what was decided about it; as it was where nothing is moderated."""
    return extra if moderation is None else with_decisions(extra, verdict.decisions)


class Sieve:
    """What of a streaming reply may be seen so far. before is the text that it goes on with."""

    def __init__(self, moderation: Moderation, before: str = "") -> None:
        """before: has been shown already; only what follows it can still be held back."""
        server = moderation.server_for("output")
        self._holds_all = server is not None and server.action != "warn"
        self._rules = [rule for rule in moderation.rules_for("output") if rule.action != "warn"]
        self._text = before
        self._out = len(before)
        self.stopped = False
        """A rule ended the reply; nothing more comes out."""

    def feed(self, piece: str) -> str:
        """What may be shown now that piece has come."""
        if self.stopped:
            return ""
        self._text += piece
        if self._holds_all:
            return ""
        found = _scan(self._text, self._out, self._rules, whole=False)
        self._rules = [rule for rule in self._rules if rule not in found.late]
        shown, self.stopped = _cut(self._text, self._out, found.settled, found.hits)
        self._out = max(self._out, found.settled)
        return shown
