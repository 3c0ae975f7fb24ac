"""Rooms: who speaks when, who sees what, and what each role's prompt keeps from turn to turn."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from rolekit.chat.archive import import_json, to_json
from rolekit.chat.casting import Player, find_players, players_of, with_adapters
from rolekit.chat.events import Retried, Speaking
from rolekit.chat.export import to_markdown
from rolekit.chat.memory import FoldPoint
from rolekit.chat.options import ChatOptions
from rolekit.chat.room import room_of
from rolekit.chat.session import Session
from rolekit.chat.sillytavern import to_sillytavern
from rolekit.chat.state import Persona, Summary
from rolekit.chat.store import Store
from rolekit.chat.turns import Cast, answering, follows, names_in, next_speaker
from rolekit.endpoints.scripted import ScriptedBackend
from rolekit.errors import RolekitError
from rolekit.roles.library import RoleLibrary
from rolekit.roles.role import Example, Note, Role

HOLMES = Role(
    name="Sherlock Holmes",
    description="You are Holmes of Baker Street.",
    greeting="Come in, {{user}}.",
    examples=(Example(user="A clue?", reply="Mud from Surrey."),),
    notes=(Note(text="Holmes hides the letter.", depth=2),),
    talkativeness=1.0,
)
WATSON = Role(
    name="John Watson",
    aliases=("Doctor",),
    description="You are Watson, home from the war.",
    greeting="A pleasure.",
    post_history="Watson suspects the maid.",
    talkativeness=0.0,
)
HUDSON = Role(name="Mrs. Hudson", description="You keep the house.", talkativeness=0.5)
CAST = {"holmes": HOLMES, "watson": WATSON, "hudson": HUDSON}


@pytest.fixture
def room(store):
    def start(replies=("Elementary.", "Quite so."), turns="named", roles=("holmes", "watson"), **changes):
        options = ChatOptions(**{"user": "Ann", "seed": 7, "guard": False, **changes})
        players = [Player(CAST[slug], slug) for slug in roles]
        return Session.start_room(store, ScriptedBackend(replies), players, options=options, turns=turns)

    return start


async def events_of(stream):
    return [event async for event in stream]


def lines(session):
    return [(session.name_of(node), node.text) for node in session.path]


def sent(session, index=-1):
    return [(m.speaker, m.text) for m in session.backend.requests[index].messages]


async def test_each_role_answers_under_its_own_block_and_hears_the_others_by_name(room):
    session = room(turns="round-robin")
    first = await events_of(session.say("Who did it?"))
    second = await events_of(session.next())
    assert [event.name for event in first + second if isinstance(event, Speaking)] == [
        "Sherlock Holmes", "John Watson",
    ]  # fmt: skip
    assert lines(session) == [
        ("Sherlock Holmes", "Come in, Ann."), ("John Watson", "A pleasure."), ("Ann", "Who did it?"),
        ("Sherlock Holmes", "Elementary."), ("John Watson", "Quite so."),
    ]  # fmt: skip
    holmes, watson = sent(session, 0), sent(session, 1)
    assert holmes[0][1].startswith("You are Holmes")
    assert watson[0][1].startswith("You are Watson")
    assert "In the room with you: John Watson, Ann." in holmes[0][1]
    assert holmes[1:] == [
        ("user", "A clue?"), ("assistant", "Mud from Surrey."), ("assistant", "Come in, Ann."),
        ("user", "John Watson: A pleasure."), ("system", "Holmes hides the letter."), ("user", "Ann: Who did it?"),
    ]  # fmt: skip
    assert watson[1:] == [
        ("user", "Sherlock Holmes: Come in, Ann."), ("assistant", "A pleasure."), ("user", "Ann: Who did it?"),
        ("user", "Sherlock Holmes: Elementary."), ("system", "Watson suspects the maid."),
    ]  # fmt: skip


async def test_what_one_role_keeps_to_itself_reaches_nobody_else(room):
    session = room(turns="round-robin")
    session.set_note("Holmes is ill.", 0, who="holmes")
    mine = session.seats[0]
    greeting = session.path[0].id
    secret = Summary("What Holmes remembers of Irene.", greeting, greeting)
    mine.prompting.set_state(replace(mine.state, summaries=(secret,), shown_to=1))
    mine.prompting._keep_fold(FoldPoint(greeting, session.backend.context_tokens))
    for _ in range(4):
        await events_of(session.say("Go on."))
    for request in session.backend.requests:
        text = "\n".join(message.text for message in request.messages)
        holmes = "You are Holmes" in request.messages[0].text
        private = ["Holmes hides", "Holmes is ill", "Irene", "Surrey", "of Baker Street"]
        assert [word in text for word in private] == [holmes] * len(private)
        assert ("suspects the maid" in text, "from the war" in text) == (not holmes, not holmes)
    assert session.why("watson").insets[0].text == "Watson suspects the maid."
    assert "maid" not in str(session.why("holmes"))


async def test_every_prompt_of_a_role_is_a_beginning_of_its_next_one(room):
    session = room(("One.", "Two.", "Three.", "Four.", "Five.", "Six."), turns="round-robin")
    for text in ("Hello.", "Is it raining?", "And now?", "Well?", "So?", "Ah."):
        await events_of(session.say(text))
    by_seat: dict[str, list] = {}
    for request in session.backend.requests:
        by_seat.setdefault(request.conversation, []).append(request.messages)
    assert len(by_seat) == 2
    for prompts in by_seat.values():
        assert len(prompts) == 3
        for earlier, later in itertools.pairwise(prompts):
            assert later[: len(earlier)] == earlier


async def test_a_reply_never_goes_on_as_another_role_and_the_guard_minds_it(room, role):
    session = room(("It was me.\nWatson: No, me!", "It was the maid."), guard=True, turns="round-robin")
    events = await events_of(session.say("Who?"))
    request = session.backend.requests[0]
    assert request.stop_names == ("Ann", "John Watson", "Doctor", "John", "Watson", "You", "User")
    assert request.role_names == ("Sherlock Holmes",)
    assert [event.reason for event in events if isinstance(event, Retried)] == ["it spoke for somebody else"]
    assert lines(session)[-1] == ("Sherlock Holmes", "It was the maid.")


async def test_named_roles_answer_in_the_order_of_their_names_and_call_on_each_other(room):
    session = room(("Ask him. What do you say, Watson?", "The maid."))
    events = await events_of(session.say("Holmes, who did it?"))
    assert [event.slug for event in events if isinstance(event, Speaking)] == ["holmes", "watson"]
    session.undo()
    assert [text for _, text in lines(session)] == ["Come in, Ann.", "A pleasure."]
    await events_of(session.say("Good evening."))
    assert [name for name, _ in lines(session)[3:]] == ["Sherlock Holmes", "John Watson"]
    session.undo()
    await events_of(session.say("Doctor and Sherlock, both of you?"))
    assert [name for name, _ in lines(session)[-2:]] == ["John Watson", "Sherlock Holmes"]


@pytest.mark.parametrize(
    ("turns", "spoken", "text", "wanted"),
    [
        ("named", "watson", "Hello there.", ["watson"]),
        ("named", "", "Hello there.", ["holmes"]),
        ("named", "", "I asked Watson. Holmes, what do you think?", ["holmes"]),
        ("named", "", "Tell me about Watson and Holmes.", ["watson", "holmes"]),
        ("named", "holmes", "@hudson tea, please", ["hudson"]),
        ("named", "holmes", "The watsonian society", ["holmes"]),
        ("round-robin", "watson", "Holmes?", ["hudson"]),
        ("round-robin", "hudson", "", ["holmes"]),
        ("talkative", "", "Doctor?", ["watson", "holmes"]),
    ],
)
def test_whose_turn_it_is(turns, spoken, text, wanted):
    found = answering(turns, Cast(CAST), [spoken] if spoken else [], text, "seed 1")
    assert [slug for slug in found if slug != "hudson" or turns != "talkative"] == wanted


def test_talkativeness_is_a_probability_and_a_seed_repeats_it():
    cast = Cast(CAST)
    drawn = [answering("talkative", cast, [], "Well?", f"7/{n}") for n in range(400)]
    share = sum("hudson" in found for found in drawn) / len(drawn)
    assert 0.4 < share < 0.6
    assert all("holmes" in found and "watson" not in found for found in drawn)
    assert drawn[:20] == [answering("talkative", cast, [], "Well?", f"7/{n}") for n in range(20)]
    silent = Cast({"watson": WATSON})
    assert answering("talkative", silent, [], "Well?", "1") == ["watson"]


def test_names_that_two_roles_share_call_neither():
    family = {"a": Role(name="Anna Karenina", description="x"), "b": Role(name="Anna Frank", description="y")}
    assert names_in(family, "a") == ("Anna Karenina", "Karenina")
    assert Cast(family).called("Anna, are you here?") == []
    chinese = Cast({"sun": Role(name="孙悟空", description="x"), "zhu": Role(name="猪八戒", description="y")})
    assert chinese.called("孙悟空，你问猪八戒了吗？") == ["sun"]
    assert follows("named", Cast(CAST), "Watson and I dined.", "holmes", ["watson"]) == ""
    assert next_speaker("named", Cast(CAST), ["holmes"], "Doctor, your turn.", "1") == "watson"


async def test_a_room_is_kept_with_the_conversation_and_goes_on(room, store):
    session = room(roles=("watson", "holmes"), turns="round-robin")
    await events_of(session.say("Hello"))
    session.set_turns("talkative")
    kept = room_of(store.row(session.id)["extra"])
    assert ([member.slug for member in kept.members], kept.turns) == (["watson", "holmes"], "talkative")
    assert store.conversation(session.id).role_slug == "holmes+watson"
    players = [Player(CAST[member.slug], member.slug) for member in kept.members]
    again = Session.resume_room(
        store, ScriptedBackend(["Aye."]), players, session.id, options=ChatOptions(seed=7)
    )
    assert lines(again) == lines(session)
    await events_of(again.next("holmes"))
    assert lines(again)[-1] == ("Sherlock Holmes", "Aye.")
    with pytest.raises(RolekitError, match="just spoken"):
        await events_of(again.next("Sherlock Holmes"))
    with pytest.raises(RolekitError, match="nobody here"):
        await events_of(again.next("Moriarty"))


async def test_another_persona_changes_no_line_that_was_said_before(room, store):
    session = room(turns="round-robin")
    await events_of(session.say("Hello, it is Ann."))
    session.set_persona(Persona("Mary", "A doctor."))
    await events_of(session.say("Now I am Mary."))
    said = [text for speaker, text in sent(session) if speaker == "user"]
    assert [line for line in said if line.startswith(("Ann: ", "Mary: "))] == [
        "Ann: Hello, it is Ann.", "Mary: Now I am Mary.",
    ]  # fmt: skip
    assert "About Mary" in sent(session)[0][1]
    assert [hit.role_name for hit in store.search("Elementary")] == ["Sherlock Holmes"]


async def test_regenerate_edit_and_continue_keep_the_speaker(room):
    session = room(("One.", "Two.", "Three.", "Four."), turns="round-robin")
    await events_of(session.say("Hello"))
    await events_of(session.next())
    first = session.path[-2]
    await events_of(session.regenerate(first.id))
    assert lines(session)[-1] == ("Sherlock Holmes", "Three.")
    session.edit(session.path[-1].id, "Drei.")
    assert lines(session)[-1] == ("Sherlock Holmes", "Drei.")
    await events_of(session.continue_last())
    assert lines(session)[-1] == ("Sherlock Holmes", "Drei.Four.")
    assert session.backend.requests[-1].messages[0].text.startswith("You are Holmes")


async def test_an_error_of_the_second_speaker_keeps_what_the_first_said(room):
    session = room(("Ask Watson. Watson?", RolekitError("It broke.", "Try again.")))
    with pytest.raises(RolekitError, match="It broke"):
        await events_of(session.say("Holmes?"))
    assert lines(session)[-1] == ("Sherlock Holmes", "Ask Watson. Watson?")


async def test_exports_name_every_speaker_and_json_brings_the_room_back(room, store, tmp_path):
    session = room(turns="round-robin")
    await events_of(session.say("Who?"))
    await events_of(session.next())
    text = to_markdown(store, session.id)
    assert "**Sherlock Holmes:** Elementary." in text
    assert "**John Watson:** Quite so." in text
    rows = [json.loads(line) for line in to_sillytavern(store, session.id).splitlines()]
    assert [row["name"] for row in rows[1:]] == [
        "Sherlock Holmes", "John Watson", "Ann", "Sherlock Holmes", "John Watson",
    ]  # fmt: skip
    seat = session.seats[1]
    seat.prompting.set_state(
        replace(seat.state, summaries=(Summary("s", session.path[0].id, session.path[2].id),))
    )
    path = tmp_path / "room.json"
    path.write_text(to_json(store, session.id), encoding="utf-8")
    info = store.conversation(import_json(store, path))
    players = [Player(CAST[slug], slug) for slug in ("holmes", "watson")]
    again = Session.resume_room(store, ScriptedBackend(["x"]), players, info.id, options=ChatOptions())
    assert lines(again) == lines(session)
    summary = again.seats[1].state.summaries[0]
    assert (summary.first_node, summary.last_node) == (again.path[0].id, again.path[2].id)


def test_players_are_found_once_each_with_adapters_of_their_own(tmp_path):
    library = RoleLibrary()
    players = find_players(library, ["Sherlock", "Elizabeth Bennet"])
    one, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    dressed = with_adapters(players, [("sherlock", one, 0.5), ("", other, 1.0)])
    assert [player.adapters for player in dressed] == [((one, 0.5),), ((other, 1.0),)]
    with pytest.raises(RolekitError, match="twice"):
        find_players(library, ["Sherlock", "sherlock-holmes"])
    with pytest.raises(RolekitError, match="Nobody here"):
        with_adapters(players, [("Moriarty", one, 1.0)])
    with Store() as store:
        session = Session.start_room(store, ScriptedBackend(["x"]), dressed, options=ChatOptions(user="Ann"))
        assert players_of(library, session.room) == dressed
