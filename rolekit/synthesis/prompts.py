"""What the generator is asked: the same requests in English and in Chinese, each written by itself.

Any other language is asked for in English: the role's own texts and one sentence say which language the rows are in.
Changing a word here changes PROMPTS_SHA256, and with it every call's key: rows of two wordings never mix unseen.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from functools import cache

from rolekit.messages import Message
from rolekit.roles.block import language_name
from rolekit.roles.role import Role
from rolekit.synthesis.wording import CHINESE, ENGLISH, Wording
from rolekit.synthesis.wording_themes import SITUATIONS, THEMES, UNKNOWN
from rolekit.text import sanitize

VERSION = "synthesis 1"
_MOST_DESCRIPTION = 3000
_MOST_SEGMENT = 8000
_MOST_ASKED = 24
_MOST_VOICE = 4


@cache
def prompts_sha256() -> str:
    """A digest of every word of both wordings, for recipes and data cards."""
    everything = [asdict(ENGLISH), asdict(CHINESE), THEMES, SITUATIONS, UNKNOWN]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def wording_of(role: Role) -> Wording:
    """The words that this role's generator is asked in."""
    return CHINESE if is_chinese(role) else ENGLISH


def is_chinese(role: Role) -> bool:
    """Whether the role speaks Chinese."""
    return role.language.split("-")[0] == "zh"


def themes_of(role: Role) -> tuple[str, ...]:
    """What people may ask anybody about, one theme a call."""
    return THEMES["zh" if is_chinese(role) else "en"]


def unknown_of(role: Role) -> tuple[str, ...]:
    """What lies outside the world of most roles, one theme a call."""
    return UNKNOWN["zh" if is_chinese(role) else "en"]


def situations_of(role: Role) -> tuple[str, ...]:
    """Who may talk to a role, and why: what simulated users are told."""
    return SITUATIONS["zh" if is_chinese(role) else "en"]


def agnostic_messages(role: Role, theme: str, number: int, asked: tuple[str, ...]) -> tuple[Message, ...]:
    """Triplets from the profile alone. What all calls of a role share stands first, so it is read once."""
    words = wording_of(role)
    task = _filled(words.triplets, grounds=words.from_profile, form=words.form)
    system = _system(role, task)
    order = _filled(words.ask_theme, number=number, theme=theme, name=role.name)
    return (Message("system", system), Message("user", _joined(_asked(asked, words), order)))


def based_messages(role: Role, segment: str, number: int, asked: tuple[str, ...]) -> tuple[Message, ...]:
    """Triplets that rest on a segment, each with the words it rests on."""
    words = wording_of(role)
    task = _filled(words.triplets, grounds=words.from_segment, form=words.form_with_quote)
    system = _system(role, task)
    order = _filled(words.ask_segment, number=number, name=role.name)
    passage = tagged("segment", segment[:_MOST_SEGMENT])
    return (Message("system", system), Message("user", _joined(passage, _asked(asked, words), order)))


def not_knowing_messages(role: Role, theme: str, number: int, asked: tuple[str, ...]) -> tuple[Message, ...]:
    """Questions outside the role's world, and how it says that it does not know."""
    words = wording_of(role)
    system = _system(role, words.not_knowing)
    order = _filled(words.ask_theme, number=number, theme=theme, name=role.name)
    return (Message("system", system), Message("user", _joined(_asked(asked, words), order)))


def refusal_messages(role: Role, request: str) -> tuple[Message, ...]:
    """How the role turns a request down, in its own way."""
    words = wording_of(role)
    return (
        Message("system", _system(role, words.refusal)),
        Message("user", _joined(tagged("request", request), _filled(words.ask_refusal, name=role.name))),
    )


def check_messages(role: Role, rows: list[tuple[str, str, str]]) -> tuple[Message, ...]:
    """Whether rows (question, answer, segment text) are complete, right and in role."""
    words = wording_of(role)
    parts = []
    for number, (question, answer, segment) in enumerate(rows, start=1):
        grounds = tagged("segment", segment[: _MOST_SEGMENT // 4]) if segment else ""
        row = "\n".join(
            part for part in (grounds, tagged("question", question), tagged("answer", answer)) if part
        )
        parts.append(f"{number}.\n{row}")
    return (Message("system", _system(role, words.check)), Message("user", "\n\n".join(parts)))


def user_messages(role: Role, situation: str, turns: tuple[str, ...]) -> tuple[Message, ...]:
    """What the simulated user is told; its own words stand as the assistant's."""
    words = wording_of(role)
    system = _filled(words.user, name=role.name, situation=situation, language=_spoken(role))
    messages = [Message("system", system), Message("user", _filled(words.begin, name=role.name))]
    for place, text in enumerate(turns):
        messages.append(Message("user" if place % 2 else "assistant", text))
    return tuple(messages)


def tagged(name: str, text: str) -> str:
    """Text between tags that it cannot close itself, safe to show to a model."""
    inside = sanitize(text).strip()
    for mark in (f"<{name}>", f"</{name}>"):
        inside = inside.replace(mark, mark.replace("<", "‹").replace(">", "›"))
    return f"<{name}>\n{inside}\n</{name}>"


def _system(role: Role, task: str) -> str:
    words = wording_of(role)
    rules = _filled(task, name=role.name, language=_spoken(role))
    return _joined(rules, words.material, tagged("character", _character(role, words)), _voice(role, words))


def _character(role: Role, words: Wording) -> str:
    parts = [role.name, sanitize(role.description)[:_MOST_DESCRIPTION], role.personality]
    if role.catchphrases:
        parts.append(f"{words.catchphrases} {' / '.join(role.catchphrases)}")
    if role.facts:
        parts += [words.facts, *(f"- {fact}" for fact in role.facts)]
    return "\n".join(part.strip() for part in parts if part.strip())


def _voice(role: Role, words: Wording) -> str:
    shown = "\n\n".join(
        f"{words.somebody} {example.user}\n{role.name}: {example.reply}"
        for example in role.examples[:_MOST_VOICE]
    )
    return tagged("voice", shown) if shown else ""


def _asked(asked: tuple[str, ...], words: Wording) -> str:
    if not asked:
        return ""
    return _joined(words.already, tagged("asked", "\n".join(f"- {one}" for one in asked[-_MOST_ASKED:])))


def _spoken(role: Role) -> str:
    """The role's language, in the language of the request."""
    if not is_chinese(role):
        return language_name(role.language)
    return "繁体中文" if {"hant", "tw", "hk"} & set(role.language.lower().split("-")) else "中文"


def _filled(text: str, **values: object) -> str:
    """Text with each {key} replaced once; the braces of JSON are left alone."""
    return re.sub(r"\{([a-z]+)\}", lambda found: str(values.get(found[1], found[0])), text)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
