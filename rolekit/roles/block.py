"""The opening of every chat with a role: who it is, how it talks, and what it says first.

The same role and user always give the same messages byte for byte, so a model reads them once and keeps its state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from rolekit.messages import Message
from rolekit.roles.macros import Scene, expand
from rolekit.roles.role import Role
from rolekit.text import one_line, sanitize


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
    persona: str
    company: str
    comma: str
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
    persona="About {user}, whom you talk to: {persona}",
    company=(
        "In the room with you: {company}. Their lines begin with the speaker's name and a colon; "
        "yours do not. You speak for {char} alone and never write a line of theirs."
    ),
    comma=", ",
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
    persona="关于和你说话的{user}：{persona}",
    company="和你同在的有：{company}。他们的话以说话者的名字和冒号开头，你的话不必。你只说{char}的话，绝不写他们的话。",
    comma="、",
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


@dataclass(frozen=True, slots=True)
class Setting:
    """What one chat adds to a role: who talks to it, what is always known, and the moment macros mean."""

    persona: str = ""
    """Who the user is."""
    lore_before: tuple[str, ...] = ()
    """Lore that is always told, in front of the description; macros are filled in."""
    lore_after: tuple[str, ...] = ()
    """The same behind the role's own words."""
    scene: Scene = field(default_factory=Scene)
    """The chat's clock and seeds; its names and words are filled in here."""
    company: tuple[str, ...] = ()
    """Who else is in the room: names only, nothing that one of them keeps to itself."""


PLAIN = Setting()
"""Nothing added: what training and benchmarks use."""


def opening_messages(role: Role, user: str, setting: Setting = PLAIN) -> tuple[Message, ...]:
    """The role block, the examples as turns, and the greeting (if any), with macros filled in.

    The order and wording follow RoleLLM's RoleGPT (arXiv 2310.00746): description and catchphrases as the system
    instruction, example pairs as alternating user and assistant turns.
    """
    scene = scene_of(role, user, setting)
    messages = [Message("system", role_block(role, user, setting), "role")]
    for example in role.examples:
        asked, answered = _fill(example.user, scene), _fill(example.reply, scene)
        if asked and answered:
            messages += [Message("user", asked, "example"), Message("assistant", answered, "example")]
    if greeting := _fill(role.greeting, scene):
        messages.append(Message("assistant", greeting, "greeting"))
    return tuple(messages)


def other_greetings(role: Role, user: str, setting: Setting = PLAIN) -> tuple[str, ...]:
    """The alternate greetings with macros filled in; none where the role has no first one."""
    scene = scene_of(role, user, setting)
    filled = [text for greeting in role.alternate_greetings if (text := _fill(greeting, scene))]
    return tuple(filled) if role.greeting.strip() else ()


def role_block(role: Role, user: str, setting: Setting = PLAIN) -> str:
    """The system instruction alone: description, catchphrases, facts and manner, in the role's language.

    A role's own system prompt stands in front and replaces the manner, or takes it in at {{original}}.
    """
    scene = scene_of(role, user, setting)
    language = role.language.split("-")[0]
    words = _CHINESE if language == "zh" else _ENGLISH
    description = _fill(role.description, scene)
    if not description.casefold().startswith(words.begins):
        description = words.you_are.format(char=scene.char, description=description)
    parts = [*setting.lore_before, description]
    for text, frame in ((role.personality, words.personality), (role.scenario, words.scenario)):
        if filled := _fill(text, scene):
            parts.append(frame.format(filled))
    if phrases := _filled(role.catchphrases, scene):
        quoted = words.between.join(words.quote.format(phrase) for phrase in phrases)
        parts.append(words.catchphrases.format(quoted))
    if facts := _filled(role.facts, scene):
        parts.append("\n".join([words.facts, *(f"- {fact}" for fact in facts)]))
    if example_text := _fill(role.example_text, scene):
        parts.append(f"{words.example_text}\n{example_text}")
    if persona := _fill(setting.persona, scene):
        parts.append(words.persona.format(user=scene.user, persona=persona))
    if setting.company:
        parts.append(words.company.format(char=scene.char, company=words.comma.join(setting.company)))
    parts += setting.lore_after
    spoken = language_name(role.language)
    listener = words.somebody if is_unnamed(user) else scene.user
    manner = words.manner.format(language=spoken, char=scene.char, user=listener)
    if role.system_prompt.strip():
        own = replace(scene, words={**scene.words, "original": manner})
        return "\n\n".join([_fill(role.system_prompt, own), *parts])
    return "\n\n".join([*parts, manner])


def language_name(tag: str) -> str:
    """What English calls the language of a BCP 47 tag."""
    return _LANGUAGES.get(tag.split("-")[0], f"the language with the code {tag}")


def scene_of(role: Role, user: str, setting: Setting = PLAIN) -> Scene:
    """What macros stand for with this role; a user without a name is greeted as a friend, never as "You"."""
    friend = _FRIENDS.get(role.language.split("-")[0], "friend")
    plain = replace(
        setting.scene,
        char=one_line(role.name, 200),
        user=friend if is_unnamed(user) else one_line(user, 80),
    )
    texts = {
        "description": role.description,
        "personality": role.personality,
        "scenario": role.scenario,
        "persona": setting.persona,
        "mesexamples": role.example_text,
    }
    words = {name: _fill(text, plain) for name, text in texts.items()}
    return replace(plain, words={**words, **setting.scene.words})


def is_unnamed(user: str) -> bool:
    """Whether the user goes by the default name: "Never speak for You" would only confuse a model."""
    return one_line(user, 80).casefold() in ("", "you")


def _fill(text: str, scene: Scene) -> str:
    return expand(sanitize(text), scene).strip()


def _filled(items: Iterable[str], scene: Scene) -> list[str]:
    return [filled for item in items if (filled := " ".join(_fill(item, scene).split()))]
