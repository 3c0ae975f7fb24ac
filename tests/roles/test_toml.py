"""Role files are read strictly: every fault at once, on the right line, and nothing but RolekitError whatever comes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rolekit.errors import RolekitError
from rolekit.roles.library import bundled_dir
from rolekit.roles.lines import key_lines
from rolekit.roles.role import Example, Role
from rolekit.roles.toml import MAX_BYTES, check_role, load_role, parse_role
from rolekit.roles.writing import to_toml
from rolekit.text import sanitize

MINIMAL = 'name = "Ada"\ndescription = "You are Ada."\n'

MANY_FAULTS = '''\
name = "A"
descripton = """You
are"""
language = "English"
aliases = "x"
facts = [
  "one",
  # a comment, and "quotes # in it
  "two",
  "One ",
  "",
  3,
]
catchphrases = ["a", "A"]
[[examples]]
user = "a"
replly = "b"

[[ examples ]]
reply = 3
facts = ["z"]
[misc]
a.b = 1
'''

FAULTS = [
    (MANY_FAULTS, [
        (2, 'unknown key "descripton"', 'Did you mean "description"?'),
        (4, '"language" is not a language tag', "'English' was given"),
        (5, '"aliases" must be a list', '["first", "second"]'),
        (10, 'item 3 of "facts" says the same as item 1', "Remove one"),
        (11, 'item 4 of "facts" is empty', ""),
        (12, 'item 5 of "facts" must be text', "in quotes"),
        (14, 'item 2 of "catchphrases" says the same as item 1', ""),
        (17, 'unknown key "replly" of example 1', 'Did you mean "reply"?'),
        (19, '"user" of example 2 is missing', 'user = "…"'),
        (20, '"reply" of example 2 must be text', ""),
        (21, 'unknown key "facts" of example 2', 'Move "facts" above'),
        (22, 'unknown key "misc"', "Known keys here: name"),
    ]),
    ("", [(1, '"name" is missing', ""), (1, '"description" is missing', "You are")]),
    (MINIMAL + 'name = "Eve"', [(3, "already given further up", "Keep one")]),
    (MINIMAL + "facts = [\n  'open\n]", [(4, "a quote is opened here", "Close it")]),
    (MINIMAL + 'greeting = """\nHello\n\n# the end\n', [(3, "a quote is opened here", "")]),
    (MINIMAL + 'greeting = "Hello\nfacts = ["a"]\n', [(3, "a quote is opened here", "")]),
    (MINIMAL + "facts = [\'\'\'it is so\'\'\']\nx\n", [(4, "not TOML", "missing quote")]),
    (MINIMAL + "greeting =", [(3, "not TOML", "")]),
    (MINIMAL + "greeting = " + "9" * 5000, [(1, "thousands of digits", "quotes")]),
    (MINIMAL + "facts = " + "[" * 5000, [(1, "nested too deeply", "")]),
    (MINIMAL + "\n" + "a." * 20_000 + "a = 1", [(4, "too many parts", "")]),
    (MINIMAL + "facts = [" + "1," * 5000 + "]", [(1, '"facts" has more than 1000 entries', "")]),
    ('name = " "\ndescription = "\\n"', [(1, '"name" is empty', ""), (2, '"description" is empty', "")]),
    ('name = "A\\u001b[31m"\ndescription = "x"', [(1, "line breaks or control characters", "one line")]),
    (MINIMAL + 'examples = [\n {user = "a", reply = "b"},\n {user = "A ", reply = ""},\n]', [
        (5, '"reply" of example 2 is empty', ""),
    ]),
    (MINIMAL + 'examples = [\n {user = "a", reply = "b"},\n {user = "A ", reply = "c"},\n]', [
        (5, "example 2 asks the same as example 1", ""),
    ]),
    (MINIMAL + 'examples = ["a", "b"]', [(3, "example 1 must have a user line", ""), (3, "example 2", "")]),
    ('NAME = "x"\ndescription = "y"\n', [(1, 'unknown key "NAME"', 'Did you mean "name"?')]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FAULTS)
def test_every_fault_is_named_with_its_line(
    tmp_path: Path, text: str, expected: list[tuple[int, str, str]]
) -> None:
    path = tmp_path / "role.toml"
    path.write_text(text, encoding="utf-8")
    faults = check_role(path)
    assert [fault.line for fault in faults] == [line for line, _, _ in expected]
    for fault, (line, message, suggestion) in zip(faults, expected, strict=True):
        assert message in fault.message
        assert suggestion in fault.suggestion
        assert f"{path}:{line}: " in str(fault)
    with pytest.raises(RolekitError) as caught:
        load_role(path)
    assert all(str(fault) in caught.value.what_happened for fault in faults)


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"name = 'a'\ndescription = '\xff'", 2, "not UTF-8"),
        (MINIMAL.encode("utf-16"), 1, "not UTF-8"),
        (b"#" * (MAX_BYTES + 1), 1, "larger than 1 MiB"),
        (b"\x00\x01", 1, "not TOML"),
    ],
)
def test_bytes_that_are_no_role(tmp_path: Path, data: bytes, line: int, message: str) -> None:
    path = tmp_path / "role.toml"
    path.write_bytes(data)
    (fault,) = check_role(path)
    assert fault.line == line
    assert message in fault.message


def test_places_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    for name in ("folder.toml", "pipe.toml", "missing.toml", "nul\0.toml"):
        with pytest.raises(RolekitError):
            load_role(tmp_path / name)


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "role.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_role(path).name == "Ada"
    path.write_bytes(b"\xef\xbb\xbf" + (MINIMAL + "fact = 1").replace("\n", "\r\n").encode())
    assert [fault.line for fault in check_role(path)] == [3]


def test_a_flood_of_faults_is_cut_short() -> None:
    text = MINIMAL + "facts = [" + "'x'," * 500 + "]"
    with pytest.raises(RolekitError, match="and 479 more"):
        parse_role(text, Path("flood.toml"))


def test_control_bytes_of_a_file_do_not_reach_the_message(tmp_path: Path) -> None:
    path = tmp_path / "ev\x1b]0;il.toml"
    path.write_text(MINIMAL + '"\\u001b[2J\\u202e" = 1\nlanguage = "\\u0007"\n', encoding="utf-8")
    with pytest.raises(RolekitError) as caught:
        load_role(path)
    assert not set("\x1b\x07\u202e") & set(str(caught.value))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
@example(data=b"\xef\xbb\xbf\xef\xbb\xbf")
@example(data=b'name = "\\ud800"')
def test_any_bytes_give_a_role_or_a_rolekit_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.toml"
    path.write_bytes(data)
    faults = check_role(path)
    assert faults
    assert all(1 <= fault.line <= data.count(b"\n") + 1 for fault in faults)
    with pytest.raises(RolekitError):
        load_role(path)


SHERLOCK = (bundled_dir() / "sherlock-holmes.toml").read_text(encoding="utf-8")
SNIPPETS = st.sampled_from(['"', "'''", '"""', "[", "]", "[[", "{", "}", "=", ",", "\n", "#", "\\", "\r", "1979-05-27",
                            "inf", "true", "\0", ".", '""', "examples", "é\u202e", "0x", "1e5"])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 200), SNIPPETS | st.text(max_size=5)), max_size=4)
)
def test_a_damaged_role_gives_a_role_or_faults_within_the_file(cuts: list[tuple[float, int, str]]) -> None:
    text = SHERLOCK
    for where, length, put in cuts:
        at = int(where * len(text))
        text = text[:at] + put + text[at + length :]
    try:
        role = parse_role(text, Path("damaged.toml"))
    except RolekitError as error:
        lines = [line for line in error.what_happened.splitlines() if line.startswith("  damaged.toml:")]
        assert lines
        assert all(1 <= int(line.split(":")[1]) <= text.count("\n") + 1 for line in lines)
    else:
        assert role.name.strip()


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
ROLES = st.builds(
    Role,
    name=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20),
    aliases=st.lists(WORDS, max_size=3).map(tuple),
    origin=WORDS | st.just(""),
    description=WORDS,
    facts=st.lists(WORDS, max_size=4).map(tuple),
    greeting=st.just("") | WORDS,
    examples=st.lists(st.builds(Example, user=WORDS, reply=WORDS), max_size=3).map(tuple),
)


def sound(role: Role) -> bool:
    """Whether nothing is blank and nothing is said twice."""
    lists = [role.aliases, role.facts, tuple(example.user for example in role.examples)]
    texts = [
        role.description,
        *role.aliases,
        *role.facts,
        *(t for e in role.examples for t in (e.user, e.reply)),
    ]
    folded = [[" ".join(text.casefold().split()) for text in items] for items in lists]
    return all(sanitize(text).strip() for text in texts) and all(len(set(f)) == len(f) for f in folded)


@settings(max_examples=200, deadline=None)
@given(role=ROLES)
def test_what_is_written_reads_back_the_same(role: Role) -> None:
    text = to_toml(role)
    if sound(role):
        assert parse_role(text, Path("again.toml")) == role
    else:
        with pytest.raises(RolekitError, match=r"empty|the same as"):
            parse_role(text, Path("again.toml"))


@settings(max_examples=100, deadline=None)
@given(items=st.lists(st.text(st.sampled_from("ab '\"#[]{}=,.\n\\"), max_size=12), min_size=1, max_size=6))
def test_list_items_are_found_on_their_lines(items: list[str]) -> None:
    marked = tuple(f"item{number}{item}" for number, item in enumerate(items))
    text = to_toml(Role(name="A", description="x" + items[0], facts=marked, aliases=marked))
    lines = key_lines(text)
    for number in range(len(marked)):
        for key in ("facts", "aliases"):
            line = lines[(key, number)]
            assert f"item{number}" in "\n".join(text.split("\n")[line - 1 : line + 1])
