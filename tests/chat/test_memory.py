"""Folding: few large steps, whole turns, never what must stay; and a session that remembers where it folded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekit.chat import memory
from rolekit.chat.events import Folded
from rolekit.chat.memory import FoldPoint, reserve_tokens, turns_to_fold
from rolekit.chat.options import ChatOptions
from rolekit.chat.session import Session
from rolekit.chat.tree import Node
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError
from rolekit.messages import Message, Reply

ROLE = Message("system", "r " * 20, "role")
EXAMPLES = (Message("user", "e " * 10, "example"), Message("assistant", "e " * 10, "example"))
VOCABULARY = "v"


def words(messages):
    return [len(message.text.split()) for message in messages]


def node(number, speaker, size, *, pinned=False, ids=(), vocabulary="", text=""):
    return Node(
        number, "c", number - 1 or None, speaker, text or f"{number} " * size, ids, vocabulary, "complete", "end",
        None, 0.0, pinned, False, 1, 1,
    )  # fmt: skip


def chat(*sizes, pinned=()):
    """A path of turns: each number is the size of a user's message and of its reply; the last has no reply."""
    path = [node(1, "assistant", 5)]
    for index, size in enumerate(sizes):
        path.append(node(len(path) + 1, "user", size, pinned=index in pinned))
        path.append(node(len(path) + 1, "assistant", size))
    return path[:-1]


def plan(path, fold=None, *, context=200, max_tokens=4, opening=(ROLE,), vocabulary=VOCABULARY):
    return memory.plan(
        opening,
        path,
        fold or FoldPoint(),
        words,
        vocabulary=vocabulary,
        context_tokens=context,
        max_tokens=max_tokens,
    )


def test_nothing_is_folded_while_all_fits():
    path = chat(10, 10, 10)
    made = plan(path)
    assert made.kept == {node.id for node in path}
    assert (made.folded_turns, made.freed_tokens, made.fold.node_id) == (0, 0, None)
    assert [message.block for message in made.messages] == ["role", "greeting", *["turn"] * 5]


def test_a_fold_frees_a_quarter_to_a_third_in_one_step():
    path = chat(*[8] * 12)
    made = plan(path)
    assert 200 / 4 <= made.freed_tokens <= 200 / 3
    assert sum(words(made.messages)) <= 200 - 20
    assert made.messages[0] == ROLE
    folded = [node for node in path if node.id not in made.kept]
    assert folded == path[: len(folded)]
    assert folded[-1].id == made.fold.node_id
    assert path[len(folded)].speaker == "user"


def test_the_prefix_stays_the_same_until_the_next_fold():
    path = chat(*[8] * 12)
    fold = plan(path).fold
    steps = 0
    for _ in range(27):
        path += [node(len(path) + 1, "assistant", 8), node(len(path) + 2, "user", 8)]
        made = plan(path, fold)
        steps += bool(made.folded_turns)
        if not made.folded_turns:
            assert made.fold.node_id == fold.node_id
        fold = made.fold
    assert 27 * 16 / (200 / 3) <= steps <= 27 * 16 / (200 / 4) + 1


def test_pinned_turns_stay_in_their_place():
    path = chat(*[8] * 12, pinned=(0, 2))
    made = plan(path)
    texts = [message.text for message in made.messages]
    for index in (1, 2, 5, 6):  # the user's messages of turns 0 and 2, and the replies to them
        assert path[index].text in texts
        assert path[index].id in made.kept
    assert texts == sorted(texts, key=lambda text: 0 if text == ROLE.text else int(text.split()[0]))


def test_a_turn_pinned_after_it_was_folded_comes_back():
    path = chat(*[8] * 12)
    fold = plan(path).fold
    path[1] = node(2, "user", 8, pinned=True)
    assert path[1].id in plan(path[:-2], fold).kept


def test_a_fold_point_on_another_branch_does_not_count():
    path = chat(*[8] * 12)
    fold = plan(path).fold
    other = path[:3]
    assert plan(other, fold).kept == {node.id for node in other}


def test_a_longer_context_unfolds_and_a_shorter_one_folds_more():
    path = chat(*[8] * 12)
    fold = plan(path).fold
    assert len(plan(path, fold, context=400).kept) == len(path)
    assert len(plan(path, fold, context=120, max_tokens=4).kept) < len(plan(path, fold).kept)


def test_the_examples_go_before_anything_of_the_newest_two_turns():
    path = chat(5, 40, 40)
    made = plan(path, opening=(ROLE, *EXAMPLES), context=190, max_tokens=24)
    assert made.fold.examples
    assert {path[-1].id, path[-2].id, path[-3].id} <= made.kept
    assert not any(message.block == "example" for message in made.messages)
    again = plan(path, made.fold, opening=(ROLE, *EXAMPLES), context=190, max_tokens=24)
    assert (again.messages, again.folded_turns, again.freed_tokens) == (made.messages, 0, 0)


def test_the_newest_message_alone_is_enough_to_answer():
    path = chat(80, 80, 80)
    made = plan(path, context=150)
    assert made.kept == {path[-1].id}


def test_a_message_that_cannot_fit_is_named_with_its_size():
    with pytest.raises(RolekitError, match=r"needs 300 tokens.*room for 160"):
        plan(chat(8, 300))


def test_a_page_far_beyond_the_context_is_not_even_counted():
    path = chat(8, 1)
    path[-1] = node(path[-1].id, "user", 0, text="x" * 1_000_000)
    with pytest.raises(RolekitError, match="1\u202f000\u202f000 characters"):
        memory.plan(
            (ROLE,), path, FoldPoint(), lambda _: pytest.fail("counted"), vocabulary="", context_tokens=200,
            max_tokens=0,
        )  # fmt: skip


def test_a_context_smaller_than_the_role_says_which_is_enough():
    with pytest.raises(RolekitError, match=r"role alone needs 20 tokens.*--ctx 256"):
        plan(chat(1), context=24, max_tokens=0)


def test_an_unknown_context_sends_everything():
    path = chat(*[50] * 50)
    assert len(plan(path, context=0).messages) == len(path) + 1


def test_a_huge_history_is_folded_without_being_counted():
    path = chat(*[8] * 2000)
    counted = []

    def counter(messages):
        counted.append(len(messages))
        return words(messages)

    made = memory.plan((ROLE,), path, FoldPoint(), counter, vocabulary="", context_tokens=200, max_tokens=4)
    assert sum(words(made.messages)) <= 180
    assert max(counted) < 300


def test_token_ids_go_only_to_their_own_vocabulary():
    known = node(1, "assistant", 2, ids=(1, 2), vocabulary="v")
    assert memory.message_of(known, "v").token_ids == (1, 2)
    assert memory.message_of(known, "w").token_ids == ()
    assert memory.message_of(known, "").token_ids == ()
    assert memory.message_of(node(2, "assistant", 2, ids=(1, 2)), "").token_ids == ()


def test_notes_and_empty_replies_are_never_sent():
    path = [node(1, "assistant", 2), node(2, "system", 5), node(3, "user", 2), node(4, "assistant", 0)]
    assert [message.text for message in plan(path).messages] == [ROLE.text, path[0].text, path[2].text]


def test_the_reply_s_room():
    assert reserve_tokens(0, 4096) == 512
    assert reserve_tokens(0, 1024) == 256
    assert reserve_tokens(100, 4096) == 116
    assert reserve_tokens(9999, 4096) == 2048


@given(
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=30),
    st.integers(1, 200),
    st.integers(8, 400),
    st.integers(1, 3),
)
def test_a_step_is_never_larger_than_needed(turns, excess, context, newest):
    costs, pinned = [cost for cost, _ in turns], [pin for _, pin in turns]
    fold, enough = turns_to_fold(costs, pinned, excess=excess, context_tokens=context, newest=newest)

    def freed(number):
        return sum(cost for cost, pin in turns[:number] if not pin)

    wanted = max(excess, -(-context // 4))
    assert fold <= max(0, len(turns) - newest)
    assert enough == (freed(fold) >= wanted)
    if fold:
        assert freed(fold - 1) < wanted
    if not enough:
        assert freed(max(0, len(turns) - newest)) < wanted


async def test_a_session_folds_visibly_and_remembers_it_after_a_restart(begin, talk, store, role):
    session = begin(["w " * 20], context_tokens=200, options=ChatOptions(user="Ann", max_tokens=4))
    folds = []
    while not folds:
        events = await talk(session, "u " * 10)
        folds = [event for event in events if isinstance(event, Folded)]
    assert folds[0].turns >= 1
    assert 200 / 4 <= folds[0].tokens <= 200 / 3 + 30
    sent = session.backend.requests[-1].messages
    report = session.context()
    assert [row.kept for row in report.rows].count(False) >= 2
    assert report.used_tokens <= report.context_tokens == 200
    assert [row.block for row in report.rows][:3] == ["role", "example", "greeting"]
    assert {row.node_id for row in report.rows[2:]} == {node.id for node in session.path}
    again = Session.resume(store, session.backend, role, "ada", session.id, options=ChatOptions(max_tokens=4))
    assert again.context() == report
    events = await talk(again, "and now")
    assert not any(isinstance(event, Folded) for event in events)
    assert session.backend.requests[-1].messages[: len(sent)] == sent


async def test_undo_across_the_fold_shows_everything_again(begin, talk):
    session = begin(["w " * 20], context_tokens=200, options=ChatOptions(user="Ann", max_tokens=4))
    while not any(isinstance(event, Folded) for event in await talk(session, "u " * 10)):
        pass
    while len(session.path) > 2:
        session.undo()
    await talk(session, "a fresh start")
    assert all(row.kept for row in session.context().rows)


async def test_a_page_too_long_leaves_the_history_and_keeps_the_text(begin, talk, store):
    session = begin(context_tokens=200)
    with pytest.raises(RolekitError, match="Your message has"):
        await talk(session, "words " * 200_000)
    assert len(session.path) == 1
    assert session.backend.requests == []
    assert session.redo() == "Brought back your message."
    assert session.path[-1].text == "words " * 200_000
    assert len(store.search("words")) == 1


class NumberingBackend(ScriptedBackend):
    """Gives each reply token ids: the lengths of its words."""

    def __init__(self, replies, vocabulary):
        super().__init__(replies)
        self.vocabulary = vocabulary

    async def stream(self, request):
        async for event in super().stream(request):
            if isinstance(event, Reply):
                event = replace(event, token_ids=tuple(len(word) for word in event.text.split()))
            yield event


async def test_replies_go_back_as_the_ids_they_came_as(store, role, talk):
    backend = NumberingBackend(["One two three.", " Four, five.", "Six."], "abc")
    session = Session.start(store, backend, role, "ada", options=ChatOptions())
    await talk(session, "Count")
    async for _ in session.continue_last():
        pass
    assert backend.requests[-1].messages[-1].token_ids == (3, 3, 6)
    assert (session.path[-1].text, session.path[-1].token_ids) == (
        "One two three. Four, five.",
        (3, 3, 6, 5, 5),
    )
    again = Session.resume(store, backend, role, "ada", session.id, options=ChatOptions())
    await talk(again, "And?")
    assert [m.token_ids for m in backend.requests[-1].messages if m.block == "turn"] == [
        (),
        (3, 3, 6, 5, 5),
        (),
    ]
    edited = again.edit(again.path[2].id, "One, two.")
    assert (edited.token_ids, edited.vocabulary) == ((), "")
    again.swipe(-1)
    again.set_backend(NumberingBackend(["Else."], "xyz"))
    await talk(again, "Hm")
    assert all(message.token_ids == () for message in again.backend.requests[-1].messages)


async def test_another_model_answers_in_the_middle_of_a_chat(begin, talk):
    session = begin()
    await talk(session, "Hello")
    smaller = ScriptedBackend(["Short."], label="other", context_tokens=128)
    session.set_backend(smaller)
    await talk(session, "Still there?")
    assert session.conversation.model_label == "other"
    assert smaller.requests[0].messages[-1].text == "Still there?"


async def test_a_context_smaller_than_the_role_is_one_sentence(begin, talk):
    session = begin(context_tokens=16)
    with pytest.raises(RolekitError, match="--ctx"):
        await talk(session, "Hello")
    assert session.context().used_tokens > 16


async def test_room_is_made_before_the_message_that_needs_it(store, role, talk):
    backend = ScriptedBackend(["word " * 30], context_tokens=400)
    backend.vocabulary = "words"
    options = ChatOptions(user="Ann", seed=7, guard=False, memory=False, max_tokens=30)
    session = Session.start(store, backend, role, "ada", options=options)
    evaluated, folded = [], 0
    for number in range(40):
        events = await talk(session, f"Question number {number}, if you please?")
        folded += any(isinstance(event, Folded) for event in events)
        evaluated.append(session.last_stats.evaluated_tokens)
        if session.reflection_due:
            before = len(backend.requests)
            assert await session.reflect() is None
            assert backend.requests[before].max_tokens == 1
            assert not session.reflection_due
    assert folded == 0
    assert store.row(session.id)["fold_node"]
    assert max(evaluated[1:]) <= 8


async def test_no_room_is_made_where_nothing_is_kept(store, role, talk):
    backend = ScriptedBackend(["word " * 30], context_tokens=400)
    options = ChatOptions(user="Ann", seed=7, guard=False, memory=False, max_tokens=30)
    session = Session.start(store, backend, role, "ada", options=options)
    for number in range(15):
        await talk(session, f"Question number {number}, if you please?")
        assert not session.reflection_due
