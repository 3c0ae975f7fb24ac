"""The golden table of lorebook firing: what is said, what the book holds, and what is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekit.roles.lore.book import Book, Conditions, Grouping, Logic, LoreEntry, Recursion, Timing
from rolekit.roles.lore.decorators import apply_decorators
from rolekit.roles.lore.firing import Line, LoreOptions, Moment, Outcome, fire, merged

NO_WHOLE = {"whole_words": False}


def entry(uid: str, *keys: str, content: str = "", **more: Any) -> LoreEntry:
    return apply_decorators(LoreEntry(uid, content or f"about {uid}", keys, **more))


def told(
    entries: list[LoreEntry],
    said: list[str],
    options: Mapping[str, Any] | None = None,
    moment: Mapping[str, Any] | None = None,
    book: Mapping[str, Any] | None = None,
) -> Outcome:
    lines = [Line(("Bob", "Ada")[number % 2], text) for number, text in enumerate(said)]
    return fire(
        [Book("b", tuple(entries), **(book or {}))],
        Moment(lines, **(moment or {})),
        LoreOptions(**(options or {})),
        lambda text: len(text.split()),
    )


A, B, C = entry("a", "cat"), entry("b", "dog"), entry("c", "owl")
LOGIC = ["red cat", "cat and dog", "cat, dog, owl"]


def secondary(logic: Logic) -> list[LoreEntry]:
    return [entry("a", "cat", selective=True, secondary_keys=("dog", "owl"), logic=logic)]


def conditions(**more: Any) -> list[LoreEntry]:
    return [entry("a", "cat", conditions=Conditions(**more))]


def timed(**more: int) -> list[LoreEntry]:
    return [entry("a", "cat", timing=Timing(**more))]


# name, entries, what is said (oldest first), options, moment, what is told (in order)
TABLE: list[tuple[str, list[LoreEntry], list[str], dict[str, Any], dict[str, Any], str]] = [
    ("a key in the last message", [A, B], ["a cat"], {}, {}, "a"),
    ("any of several keys", [entry("a", "x", "cat")], ["a cat"], {}, {}, "a"),
    ("no key, never", [entry("a")], ["a"], {}, {}, ""),
    ("an empty key finds nothing", [entry("a", " ")], ["a b"], {}, {}, ""),
    ("disabled", [entry("a", "cat", enabled=False)], ["cat"], {}, {}, ""),
    ("empty content", [LoreEntry("a", " ", ("cat",))], ["cat"], {}, {}, ""),
    ("constant needs no key", [entry("a", constant=True)], ["x"], {}, {}, "a"),
    ("depth 2 by default", [A], ["cat", "x", "y"], {}, {}, ""),
    ("the second last is seen", [A], ["cat", "x"], {}, {}, "a"),
    ("an entry's own depth", [entry("a", "cat", scan_depth=3)], ["cat", "x", "y"], {}, {}, "a"),
    ("depth 0 sees no message", [entry("a", "cat", scan_depth=0)], ["cat"], {}, {}, ""),
    ("depth 0 sees notes", [entry("a", "cat", scan_depth=0)], ["x"], {}, {"notes": "cat"}, "a"),
    ("speakers' names are looked at", [entry("a", "Bob")], ["hello"], {}, {}, "a"),
    ("unless switched off", [entry("a", "Bob")], ["hello"], {"include_names": False}, {}, ""),
    # case and words
    ("case does not matter", [A], ["CAT"], {}, {}, "a"),
    ("unless the option says so", [A], ["CAT"], {"case_sensitive": True}, {}, ""),
    ("an entry overrides the option", [entry("a", "cat", case_sensitive=True)], ["CAT"], {}, {}, ""),
    ("whole words", [A], ["category"], {}, {}, ""),
    ("whole words at signs", [A], ["(cat)!"], {}, {}, "a"),
    ("a plural is another word", [A], ["cats"], {}, {}, ""),
    ("parts of words where allowed", [A], ["category"], NO_WHOLE, {}, "a"),
    ("several words are a phrase", [entry("a", "red cat")], ["bored cat, red cats"], {}, {}, "a"),
    ("an accent is a letter", [entry("a", "caf")], ["café"], {}, {}, ""),
    ("underscores set words off", [A], ["cat_cat"], {}, {}, "a"),
    ("Chinese in mid-sentence", [entry("a", "长安")], ["我在长安城里"], {}, {}, "a"),
    ("a Latin word beside Chinese", [entry("a", "GPU")], ["这个GPU很快"], {}, {}, "a"),
    ("Japanese in mid-sentence", [entry("a", "東京")], ["昨日東京タワーに"], {}, {}, "a"),
    ("Korean with its particle", [entry("a", "서울")], ["서울 은"], {}, {}, "a"),
    ("Cyrillic whole words", [entry("a", "кот")], ["который"], {}, {}, ""),
    ("a key that ends in a sign", [entry("a", "C++")], ["I like C++."], {}, {}, "a"),
    ("folding beyond lower case", [entry("a", "straße")], ["STRASSE"], {}, {}, "a"),
    # patterns
    ("a pattern", [entry("a", "/c.t/")], ["cut"], {}, {}, "a"),
    ("a pattern minds case", [entry("a", "/cat/")], ["CAT"], {}, {}, ""),
    ("a pattern with a flag", [entry("a", "/cat/i")], ["CAT"], {"case_sensitive": True}, {}, "a"),
    ("a pattern with slashes", [entry("a", r"/a\/b/")], ["a/b"], {}, {}, "a"),
    ("a broken pattern matches nothing", [entry("a", "/c(t/")], ["c(t"], {}, {}, ""),
    ("a pattern can ask who speaks", [entry("a", "/\x01Bob:[^\x01]*cat/")], ["cat"], {}, {}, "a"),
    # secondary keys
    ("AND_ANY: none", secondary(Logic.AND_ANY), [LOGIC[0]], {}, {}, ""),
    ("AND_ANY: one", secondary(Logic.AND_ANY), [LOGIC[1]], {}, {}, "a"),
    ("NOT_ALL: one", secondary(Logic.NOT_ALL), [LOGIC[1]], {}, {}, "a"),
    ("NOT_ALL: all", secondary(Logic.NOT_ALL), [LOGIC[2]], {}, {}, ""),
    ("NOT_ANY: none", secondary(Logic.NOT_ANY), [LOGIC[0]], {}, {}, "a"),
    ("NOT_ANY: one", secondary(Logic.NOT_ANY), [LOGIC[1]], {}, {}, ""),
    ("AND_ALL: one", secondary(Logic.AND_ALL), [LOGIC[1]], {}, {}, ""),
    ("AND_ALL: all", secondary(Logic.AND_ALL), [LOGIC[2]], {}, {}, "a"),
    ("secondary keys count only where selective", [entry("a", "cat", secondary_keys=("zebra",))], ["cat"], {}, {}, "a"),
    ("selective without secondary keys", [entry("a", "cat", selective=True)], ["cat"], {}, {}, "a"),
    # recursion
    ("an entry fires another", [entry("a", "cat", content="a dog"), B], ["cat"], {}, {}, "a b"),
    ("not where recursion is off", [entry("a", "cat", content="a dog"), B], ["cat"], {"recursive": False}, {}, "a"),
    ("prevented by the first",
     [entry("a", "cat", content="a dog", recursion=Recursion(prevent=True)), B], ["cat"], {}, {}, "a"),
    ("the second is excluded",
     [entry("a", "cat", content="a dog"), entry("b", "dog", recursion=Recursion(exclude=True))], ["cat"], {}, {}, "a"),
    ("a chain", [entry("a", "cat", content="dog"), entry("b", "dog", content="owl"), C], ["cat"], {}, {}, "a b c"),
    ("a circle ends", [entry("a", "cat", content="dog"), entry("b", "dog", content="cat")], ["cat"], {}, {}, "a b"),
    ("delayed until recursion: not by the chat",
     [entry("b", "dog", recursion=Recursion(delay_level=1))], ["dog"], {"recursive": False}, {}, ""),
    ("delayed until recursion: by an entry",
     [entry("a", "cat", content="dog"), entry("b", "dog", recursion=Recursion(delay_level=1))], ["cat"], {}, {}, "a b"),
    ("levels open one at a time",
     [A, entry("b", "cat", recursion=Recursion(delay_level=2)), entry("c", "cat", recursion=Recursion(delay_level=1))],
     ["cat"], {}, {}, "a c b"),
    ("steps are limited",
     [entry("a", "cat", content="dog"), entry("b", "dog", content="owl"), C], ["cat"], {"max_steps": 2}, {}, "a b"),
    # order, budget
    ("lower order stands first", [entry("a", "cat", order=9), entry("b", "cat", order=1)], ["cat"], {}, {}, "b a"),
    ("the budget serves high orders first",
     [entry("a", "cat", order=1), entry("b", "cat", order=9)], ["cat"], {"budget_tokens": 2}, {}, "b"),
    ("the first that does not fit stops all",
     [entry("a", "cat", order=9), entry("b", "cat", order=8, content="one two three"), entry("c", "cat", order=7)],
     ["cat"], {"budget_tokens": 4}, {}, "a"),
    ("a low priority goes first",
     [entry("a", "cat", order=9, priority=1), entry("b", "cat", order=1, priority=5)], ["cat"],
     {"budget_tokens": 2}, {}, "b"),
    ("ignore_on_max_context goes before all",
     [entry("a", "cat", order=9, content="@@ignore_on_max_context\none two"), entry("b", "cat", order=1)], ["cat"],
     {"budget_tokens": 2}, {}, "b"),
    ("the same text is told once",
     [entry("a", "cat", content="same"), entry("b", "cat", content="same")], ["cat"], {}, {}, "a"),
    # groups
    ("a group tells one: override",
     [entry("a", "cat", grouping=Grouping(("g",), override=True), order=1),
      entry("b", "cat", grouping=Grouping(("g",), override=True), order=2)], ["cat"], {}, {}, "b"),
    ("a group tells one: weight",
     [entry("a", "cat", grouping=Grouping(("g",), weight=0)), entry("b", "cat", grouping=Grouping(("g",)))],
     ["cat"], {}, {}, "b"),
    ("a group tells one: score",
     [entry("a", "cat", grouping=Grouping(("g",), scoring=True)),
      entry("b", "cat", "dog", grouping=Grouping(("g",), scoring=True))], ["cat dog"], {}, {}, "b"),
    ("a group has spoken before recursion",
     [entry("a", "cat", content="owl", grouping=Grouping(("g",))), entry("c", "owl", grouping=Grouping(("g",)))],
     ["cat"], {}, {}, "a"),
    # chance
    ("probability 0", [entry("a", "cat", probability=0.0)], ["cat"], {}, {}, ""),
    ("probability 100", [entry("a", "cat", probability=100.0)], ["cat"], {}, {}, "a"),
    ("sticky passes over chance",
     [entry("a", "cat", probability=0.0, timing=Timing(sticky=3))], ["x"], {}, {"messages": 5, "fired": {"b/a": 4}}, "a"),
    # timing
    ("sticky goes on", timed(sticky=3), ["x"], {}, {"messages": 6, "fired": {"b/a": 4}}, "a"),
    ("sticky ends", timed(sticky=3), ["x"], {}, {"messages": 7, "fired": {"b/a": 4}}, ""),
    ("cooldown holds", timed(cooldown=3), ["cat"], {}, {"messages": 6, "fired": {"b/a": 4}}, ""),
    ("cooldown ends", timed(cooldown=3), ["cat"], {}, {"messages": 7, "fired": {"b/a": 4}}, "a"),
    ("cooldown after sticky", timed(sticky=2, cooldown=3), ["cat"], {}, {"messages": 8, "fired": {"b/a": 4}}, ""),
    ("delay holds", timed(delay=5), ["cat"], {}, {"messages": 4}, ""),
    ("delay is over", timed(delay=5), ["cat"], {}, {"messages": 5}, "a"),
    # decorators
    ("@@activate", [entry("a", content="@@activate\ntext")], ["x"], {}, {}, "a"),
    ("@@dont_activate", [entry("a", "cat", content="@@dont_activate\ntext")], ["cat"], {}, {}, ""),
    ("@@activate_only_after holds", conditions(only_after=3), ["cat"], {}, {"replies": 2}, ""),
    ("@@activate_only_after is over", conditions(only_after=3), ["cat"], {}, {"replies": 3}, "a"),
    ("@@activate_only_every", conditions(only_every=3), ["cat"], {}, {"replies": 4}, ""),
    ("@@is_greeting: another", conditions(greeting=1), ["cat"], {}, {"greeting": 0}, ""),
    ("@@is_greeting: this", conditions(greeting=1), ["cat"], {}, {"greeting": 1}, "a"),
    ("@@exclude_keys", conditions(exclude_keys=("dog", "owl")), ["cat dog"], {}, {}, ""),
    ("@@exclude_keys_all: one", conditions(exclude_all_keys=("dog", "owl")), ["cat dog"], {}, {}, "a"),
    ("@@exclude_keys_all: all", conditions(exclude_all_keys=("dog", "owl")), ["cat dog owl"], {}, {}, ""),
    ("@@keep_activate_after_match", conditions(keep_after_match=True), ["x"], {}, {"messages": 99, "fired": {"b/a": 1}}, "a"),
    ("@@dont_activate_after_match", conditions(never_after_match=True), ["cat"], {}, {"messages": 9, "fired": {"b/a": 1}}, ""),
    ("@@scan_depth", [entry("a", "cat", content="@@scan_depth 3\nt")], ["cat", "x", "y"], {}, {}, "a"),
    ("@@additional_keys", [entry("a", "cat", content="@@additional_keys dog, owl\nt")], ["cat"], {}, {}, ""),
    ("@@match_partial_word", [entry("a", "cat", content="@@match_partial_word\nt")], ["cats"], {}, {}, "a"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "said", "options", "moment", "expected"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_golden(
    entries: list[LoreEntry], said: list[str], options: dict[str, Any], moment: dict[str, Any], expected: str
) -> None:
    assert [row.entry.uid for row in told(entries, said, options, moment).told] == expected.split()


def test_why_says_which_key_and_what_was_cut() -> None:
    outcome = told(
        [A, entry("b", "cat", order=1), entry("c", constant=True, order=200)], ["cat"], {"budget_tokens": 4}
    )
    assert [(row.entry.uid, row.why) for row in outcome.told] == [("a", 'key "cat"'), ("c", "always")]
    assert [(cut.entry.uid, cut.reason) for cut in outcome.cut] == [("b", "the budget for lore was used up")]
    chained = told([entry("a", "cat", content="a dog"), B], ["cat"])
    assert chained.told[1].why == 'key "dog" in another entry'


def test_a_book_may_say_how_it_is_read() -> None:
    far = [entry("a", "cat")]
    assert told(far, ["cat", "x", "y"], book={"scan_depth": 3}).told
    chain = [entry("a", "cat", content="dog"), B]
    assert len(told(chain, ["cat"], book={"recursive": False}).told) == 1
    assert len(told([A, entry("b", "cat")], ["cat"], book={"token_budget": 2}).told) == 1


def test_books_are_served_in_their_order() -> None:
    books = [Book("character", (entry("a", "cat", order=1),)), Book("world", (entry("b", "cat", order=9),))]
    outcome = fire(
        books, Moment([Line("Bob", "cat")]), LoreOptions(budget_tokens=2), lambda text: len(text.split())
    )
    assert [row.id for row in outcome.told] == ["character/a"]


def test_draws_are_the_same_for_the_same_message_and_fair() -> None:
    group = [entry(str(n), "cat", grouping=Grouping(("g",))) for n in range(3)]
    half = [entry("a", "cat", probability=50.0)]
    winners, came = [], 0
    for seed in range(300):
        moment = {"seed": str(seed)}
        outcome = told(group, ["cat"], {}, moment)
        assert outcome == told(group, ["cat"], {}, moment)
        winners += [row.entry.uid for row in outcome.told]
        came += len(told(half, ["cat"], {}, moment).told)
    assert len(winners) == 300
    assert all(60 < winners.count(str(n)) < 140 for n in range(3))
    assert 110 < came < 190


def test_a_pattern_that_hangs_is_switched_off_and_told() -> None:
    start = time.monotonic()
    outcome = told([entry("a", "/(a|aa)+$/", name="bomb"), entry("b", "cat")], ["a" * 60 + "! cat"])
    assert time.monotonic() - start < 5
    assert [row.entry.uid for row in outcome.told] == ["b"]
    assert "bomb takes too long" in outcome.notices[0]


def test_latest_firings_of_a_branch() -> None:
    assert merged([("b/a", 2), ("b/c", 3), ("b/a", 5)]) == {"b/a": 5, "b/c": 3}


DECORATORS = [
    ("@@depth 2\ntext", {"place": "depth", "depth": 2}, "text"),
    ("@@depth 0\n@@role assistant\ntext", {"depth": 0, "speaker": "assistant"}, "text"),
    ("@@position before_desc\ntext", {"place": "before"}, "text"),
    ("@@unheard_of 3\n@@@depth 7\ntext", {"depth": 7}, "text"),
    ("@@unheard_of\n@@@also_not\n@@@depth 5\n@@@depth 6\ntext", {"depth": 5}, "text"),
    ("@@depth 2\n@@@depth 7\ntext", {"depth": 2}, "text"),
    ("@@depth 2\n@@depth 7\ntext", {"depth": 2}, "text"),
    ("@@depth nonsense\n@@@depth 3\ntext", {"depth": 3}, "text"),
    ("@@additional_keys a, b\n@@additional_keys c\ntext", {"secondary_keys": ("a", "b", "c")}, "text"),
    ("@@probability 40\n@@priority 3\n@@role user\n\n@@depth 1", {"probability": 40.0, "priority": 3, "speaker": "user"},
     "\n@@depth 1"),
    ("no @@depth 2", {"place": "after"}, "no @@depth 2"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "fields", "left"), DECORATORS)
def test_decorators_and_their_fallbacks(content: str, fields: dict[str, Any], left: str) -> None:
    decorated = apply_decorators(LoreEntry("a", content))
    assert {name: getattr(decorated, name) for name in fields} == fields
    assert decorated.content == left


TEXT = st.text(alphabet="catdogowl /\\()+*@\n猫", max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.lists(TEXT, max_size=3), TEXT, st.booleans(), st.integers(0, 3)), max_size=6),
    said=st.lists(TEXT, max_size=4),
    budget=st.integers(0, 20),
)
def test_any_book_fires_within_its_budget_and_the_same_every_time(
    rows: list[tuple[list[str], str, bool, int]], said: list[str], budget: int
) -> None:
    entries = [
        entry(
            str(n), *keys, content=text, selective=selective, secondary_keys=tuple(keys), logic=Logic(logic)
        )
        for n, (keys, text, selective, logic) in enumerate(rows)
    ]
    outcome = told(entries, said, {"budget_tokens": budget})
    assert outcome == told(entries, said, {"budget_tokens": budget})
    assert sum(row.tokens for row in outcome.told) <= budget
    assert len({row.id for row in outcome.told}) == len(outcome.told)
