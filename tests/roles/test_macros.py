"""Macros of cards: what each stands for, what stays text, and that the same scene always gives the same words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekit.roles.macros import Scene, expand

SCENE = Scene(
    char="Ada", user="Bob", words={"persona": "A clerk.", "original": "ORIGINAL", "lastmessage": "Hm."},
    now=datetime(2026, 3, 5, 14, 7, tzinfo=UTC), idle=timedelta(hours=3), seed="m1", chat_seed="c1",
)  # fmt: skip

TABLE = [
    ("{{char}} {{user}}", "Ada Bob"),
    ("{{Char}} {{USER}} {{ user }} {{char}}'s", "Ada Bob Bob Ada's"),
    ("<USER> <bot> <CHAR> <Group>", "Bob Ada Ada Ada"),
    ("{{group}} {{charIfNotGroup}}", "Ada Ada"),
    ("{{persona}} {{original}} {{lastMessage}}", "A clerk. ORIGINAL Hm."),
    ("a{{// a note}}b{{comment: x}}c{{hidden_key:k}}d", "abcd"),
    ("{{reverse:abc}}", "cba"),
    ("a\n\n{{trim}}\n\nb", "ab"),
    ("a{{newline}}b{{noop}}", "a\nb"),
    ("{{time}} {{date}} {{weekday}}", "2:07 PM March 5, 2026 Thursday"),
    ("{{isotime}} {{isodate}}", "14:07 2026-03-05"),
    ("{{time_UTC+2}} {{time_UTC-10}}", "4:07 PM 4:07 AM"),
    ("{{idle_duration}}", "3 hours"),
    ('{{banned "x"}}', ""),
    ("{{random:one}} {{random::one}} {{pick:one}}", "one one one"),
    (r"{{random:a\,b}}", "a,b"),
    ("{{roll:1}} {{roll:d1}} {{roll 3d1+2}}", "1 1 5"),
    ("{{setvar::x::1}} {{getvar::x}} {{outlet::N}}", "{{setvar::x::1}} {{getvar::x}} {{outlet::N}}"),
    ("{{unknown}} {{random}} {{roll:0}} {{time_UTC+99}} {{}}", "{{unknown}} {{random}} {{roll:0}} {{time_UTC+99}} {{}}"),
    ("{{outer {{char}} }}", "{{outer Ada }}"),
    ("<b>{{scenario}}</b>", "<b>{{scenario}}</b>"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_what_a_macro_stands_for(text: str, expected: str) -> None:
    assert expand(text, SCENE) == expected


def test_draws_belong_to_the_message_and_picks_to_the_chat() -> None:
    text = "{{random:" + ",".join(map(str, range(50))) + "}} {{pick:" + ",".join(map(str, range(50))) + "}}"
    first, again = expand(text, SCENE), expand(text, SCENE)
    other = expand(text, Scene(seed="m2", chat_seed="c1"))
    assert first == again
    assert first.split()[1] == other.split()[1]
    draws = {expand(text, Scene(seed=str(n))).split()[0] for n in range(100)}
    assert len(draws) > 30
    rolls = {int(expand("{{roll:d6}}", Scene(seed=str(n)))) for n in range(200)}
    assert rolls == {1, 2, 3, 4, 5, 6}


def test_a_scene_without_a_clock_leaves_the_clock_alone() -> None:
    assert expand("{{time}} {{idle_duration}}", Scene()) == "{{time}} {{idle_duration}}"


@given(st.text(alphabet="{}:abcr<user>random,\\ \n", max_size=200))
def test_any_text_is_expanded_once_and_the_same(text: str) -> None:
    assert expand(text, SCENE) == expand(text, SCENE)
