"""Moderation: what rules and an endpoint take out, that it never flashes by, and that every decision is seen."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from rolekit.chat.events import Finished, Moderated, UserSaved
from rolekit.chat.looking import why_lines
from rolekit.chat.moderation import Moderation, Rule, decisions_of, load_moderation
from rolekit.chat.options import ChatOptions
from rolekit.chat.sieve import Sieve, moderated
from rolekit.config import Config
from rolekit.errors import RolekitError
from rolekit.messages import Piece

RULES = r"""
[[rules]]
name = "numbers"
pattern = '\d{3}-\d{4}'
action = "redact"
[[rules]]
name = "oaths"
pattern = '\bblast(ed)?\b'
action = "warn"
[[rules]]
name = "bombs"
pattern = 'gun\s*powder'
action = "stop"
[[rules]]
name = "names"
pattern = 'Irene(?: Adler)?'
action = "redact"
where = "output"
replacement = "a lady"
"""


@pytest.fixture
def rules(tmp_path):
    def write(text=RULES):
        path = tmp_path / "moderation.toml"
        path.write_text(text, encoding="utf-8")
        return load_moderation(path)

    return write


class _Moderator(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body["model"], body["input"]))
        bad = "poison" in body["input"]
        answer = {"results": [{"flagged": bad, "categories": {"violence": bad, "hate": False}}]}
        data = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def moderator() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Moderator) as server:
        server.asked, server.status = [], 200
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def options(moderation):
    return ChatOptions(user="Ann", seed=7, guard=False, moderation=moderation)


async def events_of(stream):
    return [event async for event in stream]


def said(events):
    return "".join(event.text for event in events if isinstance(event, Piece))


async def test_nothing_is_moderated_unless_a_file_is_named(begin, talk):
    assert Config().moderation == ""
    session = begin(["Call 555-1234, with gunpowder."])
    events = await talk(session, "My number is 555-9876.")
    assert not [event for event in events if isinstance(event, Moderated)]
    assert [node.text for node in session.path][1:] == [
        "My number is 555-9876.",
        "Call 555-1234, with gunpowder.",
    ]
    assert decisions_of(session.path[-1].extra) is None


async def test_both_sides_are_redacted_before_anybody_sees_them_and_why_tells(begin, talk, rules, store):
    session = begin(["Ask Irene Adler, that blasted 555-1234 again."], options=options(rules()))
    events = await talk(session, "It is 555-9876. Irene knows.")
    assert session.backend.requests[-1].messages[-1].text == "It is […]. Irene knows."
    assert said(events) == session.path[-1].text == "Ask a lady, that blasted […] again."
    assert b"555-9876" not in store.database.path.read_bytes()
    decided = [d for event in events if isinstance(event, Moderated) for d in event.decisions]
    assert [(d.rule, d.action, d.side, d.count) for d in decided] == [
        ("numbers", "redact", "input", 1), ("names", "redact", "output", 1),
        ("oaths", "warn", "output", 1), ("numbers", "redact", "output", 1),
    ]  # fmt: skip
    assert why_lines(session)[-4:] == [f"moderation: {d.sentence}" for d in decided]
    assert session.path[-1].token_ids == ()


async def test_a_message_may_be_stopped_and_nothing_of_it_is_kept(begin, talk, rules, store):
    session = begin(options=options(rules()))
    with pytest.raises(RolekitError, match="“bombs” stopped your message"):
        await talk(session, "How is GUN powder made?")
    assert len(session.path) == 1
    assert session.backend.requests == []
    assert session.undo() == ""
    await talk(session, "Hello")
    session.edit(session.path[-2].id, "My gunpowder")
    with pytest.raises(RolekitError, match="not sent"):
        await events_of(session.regenerate())
    session.edit(session.path[-1].id, "It is 555-1111.")
    await events_of(session.regenerate())
    assert session.path[-2].text == "It is […]."


async def test_a_reply_ends_before_what_stops_it(begin, talk, rules):
    session = begin(["Take some gun powder and a match. Then more."], options=options(rules()))
    events = await talk(session, "How?")
    assert said(events) == session.path[-1].text == "Take some "
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.reply.stop_reason, finished.node.state) == ("moderated", "stopped")
    assert len(session.backend.requests) == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text("ab-1 \n", max_size=40), st.lists(st.integers(1, 6), max_size=40), st.sampled_from(
    [r"a+b", r"\bab\b", r"1-?1", r"a.*b", r"(?<=a)1+", r"ab$", r"a(?=b)", r"(ab|a1)+-", r"^a", r"a(?:-b)?", r"1(?: ?b){0,2}"]
))  # fmt: skip
def test_what_streams_is_what_a_whole_text_becomes(text, cuts, pattern):
    moderation = Moderation(Path("x"), (Rule("x", regex.compile(pattern), "redact", "both", "#"),))
    sieve, place, out = Sieve(moderation), 0, ""
    for cut in [*cuts, 99]:
        out += sieve.feed(text[place : place + cut])
        place += cut
        assert moderated(text, "output", moderation.rules).text.startswith(out)


def test_all_faults_of_a_file_are_told(rules):
    with pytest.raises(RolekitError, match=r"rules\.0\.action.*rules\.1\.pattern"):
        rules('[[rules]]\nname="a"\npattern="x"\naction="shout"\n[[rules]]\nname="b"\naction="warn"\n')
    with pytest.raises(RolekitError, match=r"rule a: .*; rule b: the pattern matches nothing at all"):
        rules(
            '[[rules]]\nname="a"\npattern="("\naction="warn"\n[[rules]]\nname="b"\npattern="x*"\naction="warn"\n'
        )


def test_a_pattern_that_never_ends_is_left_out_and_said(rules):
    moderation = rules('[[rules]]\nname="slow"\npattern=\'^(?:(a|aa)+)+[cd]$\'\naction="stop"\n'
                       '[[rules]]\nname="b"\npattern="b"\naction="redact"\n')  # fmt: skip
    verdict = moderated("a" * 5000 + "b", "output", moderation.rules)
    assert verdict.text.endswith("a[…]")
    assert [(d.rule, d.action) for d in verdict.decisions] == [("b", "redact"), ("slow", "unchecked")]


def endpoint_rules(moderator, action, extra=""):
    url = f"http://127.0.0.1:{moderator.server_address[1]}/v1"
    return f'[endpoint]\nref = "openai:text-moderation@{url}"\naction = "{action}"\n{extra}'


async def test_an_endpoint_is_asked_about_whole_texts_of_both_sides(begin, talk, rules, moderator):
    session = begin(
        ["Use poison, then.", "Be kind."], options=options(rules(endpoint_rules(moderator, "redact")))
    )
    events = await talk(session, "How?")
    assert moderator.asked == [
        ("/v1/moderations", "text-moderation", "How?"), ("/v1/moderations", "text-moderation", "Use poison, then."),
    ]  # fmt: skip
    assert said(events) == session.path[-1].text == "[…]"
    (decision,) = decisions_of(session.path[-1].extra)
    assert (decision.action, decision.detail) == ("redact", "violence")
    events = await talk(session, "And now?")
    assert said(events) == "Be kind."


async def test_an_endpoint_that_warns_lets_a_reply_stream_and_one_that_is_gone_fails_closed(
    begin, talk, rules, moderator
):
    session = begin(["Use poison, then."], options=options(rules(endpoint_rules(moderator, "warn"))))
    events = await talk(session, "How?")
    assert len([event for event in events if isinstance(event, Piece)]) > 1
    assert next(event.decisions[0].sentence for event in events if isinstance(event, Moderated)).endswith(
        "(violence)"
    )
    moderator.status = 400
    closed = begin(options=options(rules(endpoint_rules(moderator, "stop"))))
    with pytest.raises(RolekitError, match="did not check the text"):
        await talk(closed, "How?")
    opened = begin(options=options(rules(endpoint_rules(moderator, "stop", 'unreachable = "pass"'))))
    events = await talk(opened, "How?")
    assert isinstance(events[0], UserSaved)
    assert [d.action for event in events if isinstance(event, Moderated) for d in event.decisions] == [
        "unchecked"
    ] * 2
