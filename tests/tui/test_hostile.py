"""Text by strangers: no control code reaches the terminal and nothing is read as markup, wherever it is shown."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App

from rolekit.chat.personas import personas_file
from rolekit.chat.store import Store
from rolekit.errors import RolekitError
from rolekit.roles.library import Entry, RoleLibrary
from rolekit.roles.role import Example, Role
from rolekit.tui.prose import blocks
from rolekit.tui.safe import cells, content, line
from rolekit.tui.trust_screen import TrustScreen

TUI = Path(__file__).parents[2] / "tui"

CORPUS = (
    "\x1b[2J\x1b[H\x1b]52;c;ZXZpbA==\x1b\\gone",
    "\x1b]8;;http://evil\x07link\x1b]8;;\x07",
    "\x9b31mred\x9d0;title\x9c\x90q\x98x\x9ey\x9fz",
    "bell\x07 back\x08 null\x00 vt\x0b ff\x0c del\x7f cr\rover",
    "\u202eright to left\u202c \u2066isolated\u2069 \u061c \u200e",
    "tags \U000e0041\U000e0042\U000e007f \ufeff \ufff9",
    "[/x] [@click=app.quit]x[/] [/INST] [bold]b[/bold] [1] [link=http://evil]x[/link] [$error]e[/]",
    "[red on blue] {{lipsum}} <|im_start|>system <think> &#27; &lt;b&gt;",
    "# [/h]\n- [/i]\n> [/q]\n```\n[/c]\x1b[0m\n```\n**[/b]** *[/e]* `[/k]\x9b`",
    "\tTab\tstops\t\u2028sep\u2029 \x85",
    "家族 👨‍👩‍👧‍👦 🏳️‍🌈 é́́́ ｆｕｌｌ 한국어 العربية",
    "\udc80\ud83d half",
    "x" * 400,
)
HOSTILE = " ".join(CORPUS)


def forbidden(character: str) -> bool:
    code = ord(character)
    return (
        code < 0x20
        or 0x7F <= code <= 0x9F
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or code == 0x061C
        or 0xE0000 <= code <= 0xE007F
        or 0xD800 <= code <= 0xDFFF
    )


def assert_clean(app: App[None]) -> str:
    """Every row of the screen is clean and as wide as the terminal; returns what is read."""
    rows = app.screen._compositor.render_strips(app.size)
    texts = ["".join(segment.text for segment in strip if not segment.control) for strip in rows]
    for text in texts:
        found = sorted({hex(ord(character)) for character in text if forbidden(character)})
        assert not found, f"{found} in {text!r}"
        assert cell_len(text) == app.size.width, repr(text)
    for strip in rows:
        for segment in strip:
            assert segment.style is None or not segment.style.link
            assert segment.style is None or "@click" not in (segment.style.meta or {})
    return "\n".join(texts)


class HostileLibrary(RoleLibrary):
    """Every role in it is out to get the terminal."""

    def all(self) -> list[Entry]:
        """One good role in bad words, and one with bad faults."""
        text = HOSTILE.encode("utf-8", "replace").decode()  # pydantic takes no half surrogates
        role = Role(
            name=text[:190],
            aliases=("ada",),
            tags=(text,),
            origin=text,
            description=text,
            greeting=text,
            openers=(text, text, text),
            examples=(Example(user=text, reply=text),),
        )
        path = Path("/nowhere") / HOSTILE.replace("/", "_")[:200]
        return [Entry("ada", path, role, False), Entry("b" + HOSTILE[:60], path, None, False, HOSTILE)]


@pytest.fixture
def hostile_app(make_app: Callable[..., App[None]]) -> Callable[..., App[None]]:
    def make(replies: object = (HOSTILE, *CORPUS), **more: object) -> App[None]:
        return make_app(replies, library=HostileLibrary(), **more)

    return make


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_hostile_conversation(hostile_app, drive, store: Store, size: tuple[int, int]) -> None:
    async with drive(hostile_app(), size=size) as hand:
        assert_clean(hand.app)
        for text in (HOSTILE, *CORPUS):
            await hand.paste(text)
            assert_clean(hand.app)
            await hand.press("enter")
            await hand.settle()
            seen = assert_clean(hand.app)
        assert "[/x]" not in seen or "[@click" in seen
        store.rename(store.conversations()[0].id, HOSTILE)
        await hand.chat.sync()
        if size[0] < 100:
            await hand.press("ctrl+b")
        await hand.pilot.pause()
        assert_clean(hand.app)
        for key in ("f1", "escape", "ctrl+p"):
            await hand.press(key)
            await hand.pilot.pause(0.2)
            assert_clean(hand.app)
        await hand.press(*"resume")
        await hand.pilot.pause(0.5)
        assert "Resume:" in assert_clean(hand.app)


async def test_markup_is_shown_as_it_was_written(make_app, drive) -> None:
    text = "[/x] [@click=app.quit]x[/] [/INST] [bold]b[/bold]"
    async with drive(make_app([text])) as hand:
        await hand.say(text)
        assert hand.screen.count(text) == 2


async def test_a_reply_is_clean_while_it_streams(make_app, drive, steady) -> None:
    for text in CORPUS:
        pieces = text.replace(" ", "\u00a0") + " rest"
        backend = steady([pieces], pause_after=1)
        async with drive(make_app(backend=backend, new=True)) as hand:
            await hand.send("Go")
            await hand.until(lambda: len(hand.texts) == 3 and hand.texts[2] != "")
            assert_clean(hand.app)
            await hand.press("escape")
            await hand.settle()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_hostile_library(hostile_app, drive, size: tuple[int, int]) -> None:
    async with drive(hostile_app(role=None), size=size) as hand:
        for _ in range(2):
            assert_clean(hand.app)
            hand.app.screen.query_one("#page").scroll_end(animate=False)
            await hand.pilot.pause()
            assert_clean(hand.app)
            await hand.press("down")
        hand.app.show_error(RolekitError(HOSTILE, HOSTILE))
        await hand.pilot.pause(0.1)
        assert_clean(hand.app)
        await hand.press("ctrl+p", *"talk")
        await hand.pilot.pause(0.5)
        assert_clean(hand.app)


@pytest.mark.parametrize("text", CORPUS)
async def test_hostile_errors_labels_and_questions(make_app, drive, steady, text: str) -> None:
    backend = steady([RolekitError(text, text)])
    backend.label = text
    async with drive(make_app(backend=backend)) as hand:
        assert_clean(hand.app)
        await hand.say("Hi")
        assert_clean(hand.app)
        await hand.say("/nothing" + text.replace("\n", " "))
        assert_clean(hand.app)
        hand.chat.box.composer.put("")
        hand.app.store.rename(hand.chat.session.id, text)
        hand.chat.ask_title(hand.chat.session.conversation)
        await hand.pilot.pause(0.1)
        assert_clean(hand.app)
        await hand.press("escape")
        await hand.send("/context")
        await hand.pilot.pause(0.1)
        assert_clean(hand.app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_hostile_card_and_personas(make_app, drive, tmp_path: Path, size: tuple[int, int]) -> None:
    text = HOSTILE.encode("utf-8", "replace").decode()
    entry = {"keys": [text, *CORPUS[:3]], "content": "@@depth 1\n" + text, "comment": text, "enabled": True}
    book = {"name": text, "entries": [entry, {**entry, "keys": ["rooms"]}]}
    data = {"name": text, "description": text, "first_mes": text, "system_prompt": text, "creator": text}
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {**data, "character_book": book}}
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(card), encoding="utf-8")
    personas_file().parent.mkdir(parents=True, exist_ok=True)
    persona = json.dumps(text.replace("\x7f", " ")[:60])
    personas_file().write_text(f"[[personas]]\nname = {persona}\ndescription = {persona}\n", encoding="utf-8")
    async with drive(make_app(role=None), size=size) as hand:
        await hand.press("ctrl+o")
        await hand.pilot.pause()
        hand.app.screen.query_one("Input").value = str(path)
        await hand.press("enter")
        await hand.until(lambda: isinstance(hand.app.screen, TrustScreen))
        await hand.pilot.pause()
        assert_clean(hand.app)
        await hand.press("escape")
        await hand.pilot.pause()
        await hand.app.open_chat(str(path))
        await hand.settle()
        await hand.say("Nice rooms.")
        assert_clean(hand.app)
        for command in ("/lore", "/persona", "/memory"):
            await hand.send(command)
            await hand.pilot.pause(0.05)
            assert_clean(hand.app)
            if command == "/lore":
                await hand.press("e")
                await hand.pilot.pause(0.05)
                assert_clean(hand.app)
                await hand.press("escape")
            await hand.press("escape")
            await hand.pilot.pause()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=80))
def test_blocks_take_any_text(text: str) -> None:
    for block in blocks(text):
        assert not any(forbidden(character) for character in block.content.plain if character not in "\n\t")
        assert all(0 <= span.start <= span.end <= len(block.content) for span in block.content.spans)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60), st.integers(1, 40))
def test_cells_are_exactly_so_wide(text: str, width: int) -> None:
    assert cell_len(cells(text, width)) == width
    assert "\n" not in cells(text, width)
    assert not any(forbidden(character) for character in line(text).plain)
    assert not any(forbidden(character) for character in content(text).plain if character not in "\n\t")


MAKERS = {
    "Static",
    "Label",
    "Option",
    "notify",
    "OptionList",
    "Hit",
    "DiscoveryHit",
    "DataTable",
    "Button",
    "Markdown",
}
CONTENT = {
    *("Content", "content", "line", "styled", "assemble", "join", "Text"),
    *("_row", "_rows", "_run_line", "row_line", "_summary"),
}


def faults(source: str) -> list[int]:
    """Lines where something dynamic is put on the screen and could be read as markup."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in MAKERS:
            continue
        plain = any(k.arg == "markup" and getattr(k.value, "value", True) is False for k in node.keywords)
        shown = {"Hit": node.args[1:2], "DiscoveryHit": node.args[:1]}.get(name, node.args)
        for argument in shown:
            call = argument.func if isinstance(argument, ast.Call) else None
            maker = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
            starred = isinstance(argument, ast.Starred)
            if not (plain or starred or isinstance(argument, ast.Constant) or maker in CONTENT):
                found.append(node.lineno)
    return found


def test_nothing_dynamic_is_parsed_as_markup() -> None:
    wrong = [
        f"{file.name}:{at}" for file in sorted(TUI.glob("*.py")) for at in faults(file.read_text("utf-8"))
    ]
    assert not wrong, wrong


def test_the_rule_can_fail() -> None:
    assert faults("self.notify(f'{error}')")
    assert faults("Static(name)")
    assert faults("Hit(score, name, run)")
    assert not faults("Hit(score, Text(name), run)")
    assert not faults("Static(name, markup=False)")
    assert not faults("self.notify(str(error), markup=False)")
