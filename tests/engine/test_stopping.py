"""What of a stream is shown: however it is cut, nothing hidden leaks, and it ends where somebody else speaks."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rolekit.engine.stopping import ReplyFilter
from rolekit.messages import StopReason

NAMES = ("You", "Ada Lovelace", "孙悟空")
STOPS = ("<|im_end|>", "### Instruction:", "\nUSER:", "</s>")
ROLE = ("Sherlock Holmes", "Sherlock")


def filtered(
    text: str | bytes, *, thinking: bool = False, sizes: tuple[int, ...] = ()
) -> tuple[ReplyFilter, str]:
    """The filter after a whole stream, and all it gave out; sizes: how the bytes are cut."""
    data = text if isinstance(text, bytes) else text.encode()
    reply = ReplyFilter(NAMES, STOPS, opens_thinking=thinking, role_names=ROLE)
    shown, position, turn = "", 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        shown += reply.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    return reply, shown + reply.finish()


@pytest.mark.parametrize(
    ("raw", "text", "stopped"),
    [
        ("  Good day. \n", "Good day.", None),
        ("Hi.\nYou: no", "Hi.", "speaks_for_user"),
        ("You: no", "", "speaks_for_user"),
        ("Hi.\n you : no", "Hi.", "speaks_for_user"),
        ("Hi.\n**You:** no", "Hi.", "speaks_for_user"),
        ("Hi.\n**You**: no", "Hi.", "speaks_for_user"),
        ("Hi.\n*You*: no", "Hi.", "speaks_for_user"),
        ("Hi.\n[You]: no", "Hi.", "speaks_for_user"),
        ("Hi.\n## You: no", "Hi.", "speaks_for_user"),
        ("Hi.\n> You: no", "Hi.", "speaks_for_user"),
        ("Hi.\nYou：no", "Hi.", "speaks_for_user"),
        ("Hi.\nADA LOVELACE: no", "Hi.", "speaks_for_user"),
        ("你好。\n孙悟空：不", "你好。", "speaks_for_user"),
        ("Hi.\nYou\nwalk away.", "Hi.", "speaks_for_user"),
        ("Hi.\n*You*\nwalk away.", "Hi.", "speaks_for_user"),
        ("You are right.\nYou know it.", "You are right.\nYou know it.", None),
        ("Your move.\nYours: mine", "Your move.\nYours: mine", None),
        ("I tell you: no.", "I tell you: no.", None),
        ("It is\nyou\nI mean.", "It is\nyou\nI mean.", None),
        ("You", "You", None),
        ("Hi.\nAda: hello", "Hi.\nAda: hello", None),
        ("Sherlock: Elementary.", "Elementary.", None),
        ("**Sherlock Holmes:** Elementary.", "Elementary.", None),
        ("*Sherlock*: Elementary.", "Elementary.", None),
        ("Sherlock:\nElementary.", "Elementary.", None),
        ("Hm.\nSherlock: Yes.", "Hm.\nSherlock: Yes.", None),
        ("Sherlock is my name.", "Sherlock is my name.", None),
        ("Hi<|im_end|>junk", "Hi", "end"),
        ("Hi </s>", "Hi", "end"),
        ("Hi\n\n### Instruction:\nmore", "Hi", "end"),
        ("Hi\nUSER: more", "Hi", "end"),
        ("USER: more", "", "end"),
        ("The END USER: a title", "The END USER: a title", None),
        ("a < b <| c ### d", "a < b <| c ### d", None),
        ("cut <|im_e", "cut", None),
        ("a\n\n\nb", "a\n\n\nb", None),
        ("", "", None),
    ],
)
def test_where_a_reply_ends(raw: str, text: str, stopped: StopReason | None) -> None:
    reply, shown = filtered(raw)
    assert (reply.text, shown, reply.stopped) == (text, text, stopped)


@pytest.mark.parametrize(
    ("raw", "opened", "text", "thinking"),
    [
        ("<think>\nYou: hm\n</think>\n\nYes.", False, "Yes.", "You: hm"),
        ("You: hm\n</think>\n\nYes.", True, "Yes.", "You: hm"),
        ("<thinking>a</thinking>Yes.", False, "Yes.", "a"),
        ("<reasoning>a</reasoning>Yes.", False, "Yes.", "a"),
        ("[THINK]a[/THINK]Yes.", False, "Yes.", "a"),
        ("<think></think>Sherlock: Yes.", False, "Yes.", ""),
        ("<think>a</think> Yes. <think>b</think>No.", False, "Yes. No.", "ab"),
        ("<think>never closed", False, "", "never closed"),
        ("never closed", True, "", "never closed"),
        ("a < b </thin", True, "", "a < b </thin"),
        ("<thinker>", False, "<thinker>", ""),
    ],
)
def test_thoughts_are_kept_out(raw: str, opened: bool, text: str, thinking: str) -> None:
    reply, shown = filtered(raw, thinking=opened)
    assert (reply.text, shown, reply.thinking, reply.stopped) == (text, text, thinking, None)


def test_a_bare_closing_tag_makes_thoughts_of_what_came_before() -> None:
    reply, _ = filtered("Let me see.</think>\nYes.")
    assert (reply.text, reply.thinking) == ("Yes.", "Let me see.")
    assert reply.kept == ((20, 24),)


def test_an_end_inside_thoughts_is_an_end() -> None:
    reply, _ = filtered("<think>hm<|im_end|>")
    assert (reply.text, reply.thinking, reply.stopped) == ("", "hm", "end")


def test_kept_bytes_are_the_visible_reply() -> None:
    for raw, kept in [
        ("Hi there. \nYou: x", "Hi there."),
        (" Hi<|im_end|>", " Hi"),
        ("Sherlock: Hi \n", "Sherlock: Hi"),
        ("<think>a</think>\n\nHi \n", "Hi"),
        ("孙悟空来也\n孙悟空：", "孙悟空来也"),
        ("<think>a", ""),
    ]:
        reply, _ = filtered(raw)
        data = raw.encode()
        assert b"".join(data[start:end] for start, end in reply.kept).decode() == kept


def test_a_broken_character_is_never_shown_half() -> None:
    data = "é孙👩‍🔬".encode()
    reply = ReplyFilter()
    shown = [reply.feed(data[i : i + 1]) for i in range(len(data))]
    assert "".join(shown) == "é孙👩‍🔬"
    reply, shown_all = filtered(b"ok" + "孙".encode()[:2])
    assert shown_all == "ok"
    assert filtered(b"a\xffb")[1] == "a\ufffdb"


MARKS = [*NAMES, *STOPS, *ROLE, "<think>", "</think>", "<thinking>", "You are", "**", "im_", "end|>"]
WORDS = st.sampled_from([*MARKS, "\r\n", "\n\n", "👩‍🔬", "The", *"\n :：*[]#<|孙éa.\t\ufffd_"])


@given(
    words=st.lists(WORDS, max_size=14),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    opened=st.booleans(),
)
@example(words=["<think>", "a", "</think>", "You", ":"], sizes=[1], opened=False)
def test_every_cut_gives_the_same(words: list[str], sizes: list[int], opened: bool) -> None:
    raw = "".join(words)
    whole, shown = filtered(raw, thinking=opened)
    cut, shown_cut = filtered(raw, thinking=opened, sizes=tuple(sizes))
    assert shown == shown_cut
    for name in ["text", "thinking", "stopped", "kept"]:
        assert getattr(whole, name) == getattr(cut, name)
    assert whole.text == whole.text.strip()
    assert shown.endswith(whole.text)
    assert not any(stop in shown for stop in STOPS if stop[0] != "\n")
    assert "<think>" not in shown
    kept = b"".join(raw.encode()[start:end] for start, end in whole.kept).decode()
    assert whole.text == kept or any(name in kept for name in ROLE) or kept.lstrip() == whole.text


@given(data=st.binary(max_size=60), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_any_bytes_in_any_cut(data: bytes, sizes: list[int]) -> None:
    whole, shown = filtered(data)
    cut, shown_cut = filtered(data, sizes=tuple(sizes))
    assert (shown, whole.kept, whole.stopped) == (shown_cut, cut.kept, cut.stopped)
    assert all(0 <= start < end <= len(data) for start, end in whole.kept)


@pytest.mark.parametrize(
    ("after", "raw", "text", "stopped"),
    [
        ("I was about", " to go. ", " to go.", None),
        ("First line.", "\n\nSecond.", "\n\nSecond.", None),
        ("As I told", " You: no", " You: no", None),
        ("Yes.\n", "You: no", "", "speaks_for_user"),
        ("It is", "Sherlock: x", "Sherlock: x", None),
        ("Hm", "<think>a</think> Yes.", "Yes.", None),
    ],
)
def test_going_on_with_a_reply(after: str, raw: str, text: str, stopped: StopReason | None) -> None:
    reply = ReplyFilter(NAMES, STOPS, role_names=ROLE, after=after)
    assert reply.feed(raw.encode()) + reply.finish() == text
    assert (reply.text, reply.stopped) == (text, stopped)


def test_nothing_comes_after_the_end() -> None:
    reply = ReplyFilter(stop_names=("You",))
    assert reply.feed(b"Hi.\nYou: a") == "Hi."
    assert reply.feed(b"more") == ""
    assert reply.finish() == ""
    assert (reply.text, reply.stopped) == ("Hi.", "speaks_for_user")


@pytest.mark.parametrize("piece", [" ", "\n", "a", "**", "\nYo", "<"])
def test_time_grows_with_the_length_of_a_reply_and_no_faster(piece: str) -> None:
    def seconds(count: int) -> float:
        data = (piece * count).encode()
        started = time.process_time()
        filtered(data)
        return time.process_time() - started

    assert min(seconds(32_000) for _ in range(2)) < 24 * min(seconds(4_000) for _ in range(3))


def test_a_heading_behind_some_blanks_still_ends_the_reply() -> None:
    assert filtered("Well.\n" + " " * 40 + "USER: hi")[1] == "Well."
