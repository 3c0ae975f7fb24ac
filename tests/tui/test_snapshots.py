"""How the app looks. `pytest tests/tui/test_snapshots.py --snapshot-update` draws anew; look before you commit.

Roles, replies and figures are fixed here, so that a picture changes only when the app does.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from rolekit.chat.store import Store
from rolekit.config import Config
from rolekit.errors import RolekitError
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.roles.role import Example, Role

SMALL, LARGE = (80, 24), (120, 40)
BOTH = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

HOLMES = Role(
    name="Sherlock Holmes",
    tags=("detective", "victorian", "london", "deduction"),
    origin="Arthur Conan Doyle, 1887 to 1927. Public domain.",
    description=(
        "You are Sherlock Holmes, the world's only consulting detective, living at 221B Baker Street in the "
        "1890s. You observe what others merely see, and you reason from it aloud to a conclusion that seems "
        "obvious once explained."
    ),
    greeting=(
        "Come in, and take the basket chair. You have walked here in some haste, your left boot tells me that "
        "much. Pray begin at the beginning, and leave nothing out."
    ),
    openers=(
        "How do you know so much about me already?",
        "Somebody has stolen my grandfather's watch, and every door was locked.",
        "What was Professor Moriarty really like?",
    ),
    examples=(
        Example(
            user="Who are you?", reply="Sherlock Holmes, of 221B Baker Street. I am a consulting detective."
        ),
        Example(
            user="Have you ever been beaten?", reply="Four times. Three times by men, and once by a woman."
        ),
        Example(user="Are you ever lonely?", reply="I am bored, which is worse."),
    ),
)
WUKONG = Role(
    name="孙悟空",
    aliases=("Wukong",),
    language="zh",
    tags=("西游记", "神话"),
    description="你是孙悟空，花果山水帘洞的美猴王，护送唐僧西天取经。",
    greeting="俺老孙来也！你这小娃娃，唤俺何事？🐒",
    openers=("金箍棒有多重？", "你怕师父念咒吗？", "花果山好玩吗？"),
    examples=(Example(user="你是谁？", reply="俺乃齐天大圣孙悟空是也！"),),
)
OTHERS = ("Alice", "Captain Nemo", "Elizabeth Bennet", "Scheherazade")
REPLIES = (
    (
        "*He does not look up from the violin.* The **mud** on your left boot is the red clay of Wigmore Street, "
        "where they have taken up the pavement. One can hardly enter the post office without treading in it."
    ),
    "Simplicity itself.",
    (
        "From long habit the train of thoughts ran so swiftly through my mind that I arrived at the conclusion "
        "without being conscious of intermediate steps. There were such steps, however:\n\n"
        "1. the tan, which is not the natural tint of your wrists,\n"
        "2. the arm, held in a stiff and unnatural manner,\n"
        "3. the haggard face of a man who has known hardship.\n\n"
        "> You see, but you do not observe."
    ),
    "You have been in Afghanistan, I perceive.",
)
PAST = (
    ("sherlock-holmes", "Sherlock Holmes", "A case of identity", 1, 31),
    ("captain nemo", "Captain Nemo", "The view from the salon", 1, 8),
    ("sherlock-holmes", "Sherlock Holmes", "The Reigate letter", 0, 4),
)


def remember(store: Store) -> None:
    """A few conversations of today and yesterday."""
    for slug, name, title, days, messages in PAST:
        before = time.time() - (86400 * days + 60 if days else 0)
        info = store.create(role_slug=slug, role_name=name, user="You", title=title, created_at=before)
        with store.database.writing() as connection:
            for number in range(messages):
                speaker = "user" if number % 2 else "assistant"
                connection.execute(
                    "INSERT INTO node(conversation_id, speaker, text, created_at) VALUES (?, ?, 'said', ?)",
                    (info.id, speaker, before),
                )


class FixedLibrary(RoleLibrary):
    """The roles of this file, however the bundled ones change."""

    def all(self) -> list[Entry]:
        """Holmes, Wukong and a few others."""
        plain = [Role(name=name, description=f"You are {name}.") for name in OTHERS]
        roles = [*plain, HOLMES, WUKONG]
        slugs = {"Sherlock Holmes": "sherlock-holmes", "孙悟空": "sun-wukong"}
        return [
            Entry(slugs.get(role.name, role.name.lower()), Path(f"{role.name}.toml"), role, True)
            for role in roles
        ]


Scene = Callable[..., Awaitable[None]]


@pytest.fixture
def picture(make_app, snap_compare, hand_of, steady, store: Store) -> Callable[..., bool]:
    """Play a scene and compare the screen with the picture on file."""
    remember(store)

    def compare(
        scene: Scene,
        size: tuple[int, int],
        *,
        replies: object = REPLIES,
        pause_after: int = 0,
        theme: str = "rolekit-dark",
        role: str | None = "sherlock-holmes",
        **more: object,
    ) -> bool:
        backend = steady(replies, pause_after=pause_after)
        app = make_app(
            backend=backend, library=FixedLibrary(), role=role, new=True, config=Config(theme=theme), **more
        )

        async def play(pilot: Pilot[None]) -> None:
            hand = hand_of(pilot)
            await hand.settle()
            await scene(hand)
            await hand.pilot.pause(0.1)

        return bool(snap_compare(app, run_before=play, terminal_size=size))

    return compare


async def nothing(hand) -> None:
    await hand.settle()


async def two_questions(hand) -> None:
    await hand.say("How on earth did you know where I had been?")
    await hand.say("And that I have been abroad?")
    await hand.press("ctrl+r")
    await hand.settle()
    await hand.press("right")
    await hand.settle()
    await hand.press("left")
    await hand.settle()


@BOTH
def test_chat(picture, size) -> None:
    assert picture(two_questions, size)


def test_readme_picture(picture) -> None:
    """The picture that README.md shows."""
    assert picture(two_questions, (120, 34))


@pytest.mark.parametrize("theme", ["rolekit-light", "rolekit-contrast"])
def test_themes(picture, theme) -> None:
    assert picture(two_questions, LARGE, theme=theme)


@BOTH
def test_a_new_chat_teaches(picture, size) -> None:
    assert picture(nothing, size)


@BOTH
def test_streaming(picture, size) -> None:
    async def scene(hand) -> None:
        await hand.send("How on earth did you know where I had been?")
        await hand.until(lambda: len(hand.texts[-1].split()) == 18)

    assert picture(scene, size, pause_after=18)


@BOTH
def test_stopped(picture, size) -> None:
    async def scene(hand) -> None:
        await hand.send("How on earth did you know where I had been?")
        await hand.until(lambda: len(hand.texts[-1].split()) == 18)
        await hand.press("escape")
        await hand.settle()

    assert picture(scene, size, pause_after=18)


@BOTH
def test_an_error(picture, size) -> None:
    async def scene(hand) -> None:
        await hand.say("Are you there, Holmes?")

    fault = RolekitError(
        "The message is longer than the context of 4096 tokens.",
        "Shorten it, or start again with --ctx 8192.",
    )
    assert picture(scene, size, replies=[fault])


@BOTH
def test_help(picture, size) -> None:
    async def scene(hand) -> None:
        await hand.press("f1")
        await hand.settle()

    assert picture(scene, size)


@BOTH
def test_context(picture, size) -> None:
    async def scene(hand) -> None:
        await two_questions(hand)
        await hand.send("/context")
        await hand.settle()

    assert picture(scene, size)


@BOTH
def test_roles(picture, size) -> None:
    async def scene(hand) -> None:
        await hand.press(*"sherlock")
        await hand.settle()

    assert picture(scene, size, role=None)


@BOTH
def test_roles_in_the_list(picture, size) -> None:
    async def scene(hand) -> None:
        await hand.press("down", "end")
        await hand.settle()

    assert picture(scene, size, role=None)


@BOTH
def test_cjk_and_emoji(picture, size) -> None:
    async def scene(hand) -> None:
        await hand.say("你好，大圣！👋 这位是我的家人 👨‍👩‍👧‍👦，他们从 café 来。")

    replies = [
        "**哈哈！** 俺老孙见过玉帝，见过如来，就是没见过这么*整齐*的一家子 🐒。来来来，坐下说话，待俺拔根毫毛变些桃子来。🍑🍑"
    ]
    assert picture(scene, size, replies=replies, role="sun-wukong")


def test_conversations_at_80(picture) -> None:
    async def scene(hand) -> None:
        await two_questions(hand)
        await hand.press("ctrl+b")
        await hand.settle()

    assert picture(scene, SMALL)


def test_palette(picture) -> None:
    async def scene(hand) -> None:
        await hand.press("ctrl+p", *"theme")
        await hand.pilot.pause(0.5)
        await hand.settle()

    assert picture(scene, SMALL)


def test_editing(picture) -> None:
    async def scene(hand) -> None:
        await two_questions(hand)
        await hand.press("up")
        await hand.settle()

    assert picture(scene, SMALL)


def test_a_message_chosen(picture) -> None:
    async def scene(hand) -> None:
        await two_questions(hand)
        await hand.press("shift+tab", "up", "up")
        await hand.settle()

    assert picture(scene, SMALL)
