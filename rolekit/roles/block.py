"""The opening of every chat with a role: who it is, how it talks, and what it says first.

The same role and user always give the same messages byte for byte, so a model reads them once and keeps its state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rolekit.messages import Message
from rolekit.roles.role import Role
from rolekit.text import one_line, sanitize

_PLACEHOLDER = re.compile(r"\{\{\s*(char|user)\s*\}\}|<(bot|char|user)>", re.IGNORECASE)
_ORIGINAL = re.compile(r"\{\{\s*original\s*\}\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Scaffold:
    """The words around a role's own, in one language."""

    you_are: str
    begins: tuple[str, ...]
    """A description that begins so needs no introduction."""
    catchphrases: str
    facts: str
    personality: str
    scenario: str
    example_text: str
    manner: str
    somebody: str
    """Whoever talks to the role without having given a name."""
    quote: str = '"{}"'
    between: str = " "


_ENGLISH = _Scaffold(
    you_are="You are {char}. Your description is: {description}",
    begins=("you are", "tu es", "du bist", "eres", "sei ", "você é", "ты "),
    catchphrases="Your catchphrases: {}",
    facts="What you know about your life:",
    personality="Your personality: {}",
    scenario="The scene: {}",
    example_text="This is how you talk:",
    manner=(
        "Stay in character as {char} and answer {user} in {language}, in {char}'s own voice, in a few sentences. "
        "Never speak for {user}. Never say that you are a program or a language model. "
        "Of things outside your world and time you know nothing, and say so in your own way."
    ),
    somebody="the user",
)
_CHINESE = _Scaffold(
    you_are="你是{char}。你的描述是：{description}",
    begins=("你是", "你乃", "你叫", "汝乃"),
    catchphrases="你的口头禅：{}",
    facts="你所知道的生平：",
    personality="你的性格：{}",
    scenario="场景：{}",
    example_text="你是这样说话的：",
    manner=(
        "请始终以{char}的身份和口吻，用中文回答{user}，每次只说几句话。绝不替{user}说话，"
        "绝不说自己是程序或语言模型。你的世界与时代以外的事，你一概不知，就照你的性情如实说不知道。"
    ),
    somebody="对方",
    quote="“{}”",
    between="",
)
_FRIENDS = {
    "de": "mein Freund", "en": "friend", "es": "amigo", "fr": "mon ami", "it": "amico mio", "ja": "友よ",
    "pt": "amigo", "ru": "друг мой", "zh": "朋友",
}  # fmt: skip
_LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "la": "Latin", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
}  # fmt: skip


def opening_messages(role: Role, user: str) -> tuple[Message, ...]:
    """The role block, the examples as turns, and the greeting (if any), with {{char}} and {{user}} filled in.

    The order and wording follow RoleLLM's RoleGPT (arXiv 2310.00746): description and catchphrases as the system
    instruction, example pairs as alternating user and assistant turns.
    """
    names = _names(role, user)
    messages = [Message("system", role_block(role, user), "role")]
    for example in role.examples:
        asked, answered = _fill(example.user, names), _fill(example.reply, names)
        if asked and answered:
            messages += [Message("user", asked, "example"), Message("assistant", answered, "example")]
    if greeting := _fill(role.greeting, names):
        messages.append(Message("assistant", greeting, "greeting"))
    return tuple(messages)


def role_block(role: Role, user: str) -> str:
    """The system instruction alone: description, catchphrases, facts and manner, in the role's language.

    A role's own system prompt stands in front and replaces the manner, or takes it in at {{original}}.
    """
    names = _names(role, user)
    language = role.language.split("-")[0]
    words = _CHINESE if language == "zh" else _ENGLISH
    description = _fill(role.description, names)
    if not description.casefold().startswith(words.begins):
        description = words.you_are.format(char=names["char"], description=description)
    parts = [description]
    for text, frame in ((role.personality, words.personality), (role.scenario, words.scenario)):
        if filled := _fill(text, names):
            parts.append(frame.format(filled))
    if phrases := _filled(role.catchphrases, names):
        quoted = words.between.join(words.quote.format(phrase) for phrase in phrases)
        parts.append(words.catchphrases.format(quoted))
    if facts := _filled(role.facts, names):
        parts.append("\n".join([words.facts, *(f"- {fact}" for fact in facts)]))
    if example_text := _fill(role.example_text, names):
        parts.append(f"{words.example_text}\n{example_text}")
    spoken = _LANGUAGES.get(language, f"the language with the code {role.language}")
    listener = words.somebody if _unnamed(user) else names["user"]
    manner = words.manner.format(language=spoken, char=names["char"], user=listener)
    if own := _fill(role.system_prompt, names):
        return "\n\n".join([_ORIGINAL.sub(lambda _: manner, own), *parts])
    return "\n\n".join([*parts, manner])


def _unnamed(user: str) -> bool:
    """Whether the user goes by the default name: "Never speak for You" would only confuse a model."""
    return one_line(user, 80).casefold() in ("", "you")


def _names(role: Role, user: str) -> dict[str, str]:
    """What {{char}} and {{user}} stand for; a user without a name is greeted as a friend, never as "You"."""
    friend = _FRIENDS.get(role.language.split("-")[0], "friend")
    return {"char": one_line(role.name, 200), "user": friend if _unnamed(user) else one_line(user, 80)}


def _fill(text: str, names: dict[str, str]) -> str:
    def name(found: re.Match[str]) -> str:
        return names["user" if (found[1] or found[2]).lower() == "user" else "char"]

    return _PLACEHOLDER.sub(name, sanitize(text)).strip()


def _filled(items: Iterable[str], names: dict[str, str]) -> list[str]:
    return [filled for item in items if (filled := " ".join(_fill(item, names).split()))]
