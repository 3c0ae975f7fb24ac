"""Macros in the texts of cards: {{char}}, {{random:a,b}}, {{time}} and the rest, without side effects.

The set is that of the V3 card specification ("CBS") and of SillyTavern. Names are read in any case, blanks inside
the braces are fine, macros do not nest, and what is not known here stays as text. Everything that could change from
call to call (a draw, a roll, the time) is decided by the scene alone, so the same scene always gives the same text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import blake2b

_MACRO = re.compile(r"\{\{([^{}]{1,4000})\}\}")
_LEGACY = re.compile(r"<(user|bot|char|group|charifnotgroup)>", re.IGNORECASE)
_TRIM = re.compile(r"(?:\r?\n)*\{\{\s*trim\s*\}\}(?:\r?\n)*", re.IGNORECASE)
_NAME = re.compile(r"\s*(//|time_utc[+-]\d{1,2}|[a-z_]+)\s*(.*)", re.DOTALL | re.IGNORECASE)
_DICE = re.compile(r"(?:(\d{1,3})?d)?(\d{1,6})([+-]\d{1,6})?", re.IGNORECASE)
_UTC = re.compile(r"time_utc([+-]\d{1,2})")
_COMMA = re.compile(r"(?<!\\),")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """What macros stand for at one place of one chat."""

    char: str = ""
    user: str = ""
    group: str = ""
    """All who take part, for {{group}}; the character alone where it is no group."""
    words: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Macros that stand for a text: persona, description, personality, scenario, mesexamples, original,
    lastmessage, lastusermessage, lastcharmessage. Keys are lower case."""
    now: datetime | None = None
    """The moment that {{time}} and its kin mean; None leaves them as text."""
    idle: timedelta | None = None
    """How long nobody has said anything, for {{idle_duration}}."""
    seed: str = ""
    """Decides {{random}} and {{roll}}: give every message its own, and a chat's {{pick}} the chat's."""
    chat_seed: str = ""
    """Decides {{pick}}, which stays the same in a chat."""


def expand(text: str, scene: Scene) -> str:
    """The text with its macros filled in; unknown ones are left as they are."""
    if "{{" not in text and "<" not in text:
        return text
    text = _LEGACY.sub(lambda found: _simple(scene)[found[1].lower()], text)
    text = _MACRO.sub(lambda found: _one(found, scene), text)
    return _TRIM.sub("", text)


def _simple(scene: Scene) -> dict[str, str]:
    group = scene.group or scene.char
    return {
        "user": scene.user, "char": scene.char, "bot": scene.char, "group": group,
        "charifnotgroup": group, "newline": "\n", "noop": "",
    }  # fmt: skip


def _one(found: re.Match[str], scene: Scene) -> str:
    whole, inside = found[0], found[1]
    named = _NAME.fullmatch(inside)
    if named is None:
        return whole
    name, rest = named[1].lower(), named[2]
    if name == "//" or (name in ("comment", "hidden_key") and rest.startswith(":")):
        return ""
    if not rest and name in (simple := _simple(scene)):
        return simple[name]
    if not rest and name in scene.words:
        return scene.words[name]
    if not rest:
        return _clock(name, whole, scene)
    if name == "banned":
        return ""
    maker = _ARGUMENTS.get(name)
    return maker(rest, found, scene) if maker else whole


def _clock(name: str, whole: str, scene: Scene) -> str:
    if name == "idle_duration":
        return _span(scene.idle) if scene.idle is not None else whole
    if (now := scene.now) is None:
        return whole
    if utc := _UTC.fullmatch(name):
        hours = int(utc[1])
        return _hour(now.astimezone(timezone(timedelta(hours=hours)))) if abs(hours) <= 14 else whole
    match name:
        case "time":
            return _hour(now)
        case "date":
            return f"{_MONTHS[now.month - 1]} {now.day}, {now.year}"
        case "weekday":
            return _WEEKDAYS[now.weekday()]
        case "isotime":
            return f"{now:%H:%M}"
        case "isodate":
            return f"{now:%Y-%m-%d}"
    return whole


def _hour(moment: datetime) -> str:
    return f"{moment.hour % 12 or 12}:{moment.minute:02d} {'AM' if moment.hour < 12 else 'PM'}"


def _span(idle: timedelta) -> str:
    """A length of time in the largest unit that fits, as people say it."""
    seconds = max(idle.total_seconds(), 0)
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (number := round(seconds / length)) >= 1 and seconds >= length * 0.95:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "just now"


def _choices(rest: str) -> list[str]:
    """The choices of {{random:a,b\\,c}} or {{random::a::b}}."""
    if rest.startswith("::"):
        return [choice.strip() for choice in rest[2:].split("::")]
    if not rest.startswith(":"):
        return []
    return [choice.strip().replace("\\,", ",") for choice in _COMMA.split(rest[1:])]


def _drawn(seed: str, found: re.Match[str]) -> random.Random:
    """A generator for one place of one text."""
    key = f"{seed}\0{found.string}\0{found.start()}".encode("utf-8", "replace")
    return random.Random(int.from_bytes(blake2b(key, digest_size=8).digest()))


def _random(rest: str, found: re.Match[str], scene: Scene) -> str:
    choices = _choices(rest)
    return _drawn(scene.seed, found).choice(choices) if choices else found[0]


def _pick(rest: str, found: re.Match[str], scene: Scene) -> str:
    choices = _choices(rest)
    return _drawn(scene.chat_seed, found).choice(choices) if choices else found[0]


def _roll(rest: str, found: re.Match[str], scene: Scene) -> str:
    dice = _DICE.fullmatch(rest.lstrip(": \t").strip())
    if dice is None or not int(dice[2]):
        return found[0]
    source = _drawn(scene.seed, found)
    rolled = sum(source.randint(1, int(dice[2])) for _ in range(int(dice[1] or 1)))
    return str(rolled + int(dice[3] or 0))


def _reverse(rest: str, found: re.Match[str], scene: Scene) -> str:
    return rest[1:][::-1] if rest.startswith(":") else found[0]


_ARGUMENTS: dict[str, Callable[[str, re.Match[str], Scene], str]] = {
    "random": _random,
    "pick": _pick,
    "roll": _roll,
    "reverse": _reverse,
}
