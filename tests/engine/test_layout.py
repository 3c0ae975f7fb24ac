"""Where a template cannot say something as it is: folded, merged, opened, continued."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rolekit.engine.gguf_header import GgufHeader
from rolekit.engine.layout import GO_ON, OPENER
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template
from rolekit.engine.vocabulary import Vocabulary
from rolekit.messages import Message

ROLE = (
    Message("system", "You are Sherlock Holmes.\n\nStay in character.", block="role"),
    Message("assistant", "Good day. What brings you here?", block="greeting"),
)
Named = Callable[[str], Vocabulary]


def named(name: str, vocabulary: Vocabulary) -> Prompter:
    return Prompter(load_template(name, GgufHeader(3, {}, (), 32, 0, 0)), vocabulary)


def text_of(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    return b"".join(vocabulary.piece(token) for token in ids).decode("utf-8", "replace")


def user(text: str) -> Message:
    return Message("user", text)


def reply(vocabulary: Vocabulary, text: str) -> Message:
    """What a model might have generated: its ids need not be those that the text would get."""
    ids = [token for part in text.split() for token in vocabulary.tokenize(" " + part, special=False)]
    return Message("assistant", text, token_ids=tuple(ids))


@pytest.fixture
def chatml(starter_vocabulary: Vocabulary) -> Prompter:
    return named("chatml", starter_vocabulary)


def said(made: Prompter, vocabulary: Vocabulary, *messages: Message, **options: bool) -> str:
    return text_of(vocabulary, made.build(messages, **options).ids)


@pytest.fixture
def gemma(vocabulary_named: Named) -> Prompter:
    return named("gemma", vocabulary_named("gemma-4"))


def test_without_a_system_role_it_goes_to_the_first_user(gemma: Prompter, vocabulary_named: Named) -> None:
    text = said(gemma, vocabulary_named("gemma-4"), ROLE[0], user(" Hi \n"))
    expected = f"<bos><start_of_turn>user\n{ROLE[0].text}\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    assert text == expected


def test_a_greeting_first_gets_somebody_to_answer(gemma: Prompter, vocabulary_named: Named) -> None:
    text = said(gemma, vocabulary_named("gemma-4"), *ROLE, user("Hi"))
    assert text.startswith(
        f"<bos><start_of_turn>user\n{ROLE[0].text}\n\n{OPENER}<end_of_turn>\n<start_of_turn>model\nGood day."
    )
    without = said(gemma, vocabulary_named("gemma-4"), ROLE[1], user("Hi"))
    assert without.startswith(f"<bos><start_of_turn>user\n{OPENER}<end_of_turn>")


def test_a_greeting_after_examples_is_no_second_answer(gemma: Prompter, vocabulary_named: Named) -> None:
    examples = (Message("user", "Q", block="example"), Message("assistant", "R", block="example"))
    text = said(gemma, vocabulary_named("gemma-4"), ROLE[0], *examples, ROLE[1], user("Hi"))
    assert (
        f"model\nR<end_of_turn>\n<start_of_turn>user\n{OPENER}<end_of_turn>\n<start_of_turn>model\nGood day."
        in text
    )


def test_neighbours_are_merged_where_turns_alternate(gemma: Prompter, vocabulary_named: Named) -> None:
    vocabulary = vocabulary_named("gemma-4")
    answers = (reply(vocabulary, "One."), Message("assistant", "Two."))
    text = said(gemma, vocabulary, user("A"), user("B"), *answers, user("C"))
    assert "user\nA\n\nB<end_of_turn>" in text
    assert "model\n One.\n\nTwo.<end_of_turn>" in text


def test_neighbours_stay_apart_where_they_may(chatml: Prompter, starter_vocabulary: Vocabulary) -> None:
    text = said(chatml, starter_vocabulary, user("A"), user("B"))
    assert "user\nA<|im_end|>\n<|im_start|>user\nB<|im_end|>\n" in text


def test_notes_and_summaries_find_a_place(gemma: Prompter, chatml: Prompter, vocabulary_named: Named) -> None:
    vocabulary = vocabulary_named("gemma-4")
    summary = Message("system", "They met.", block="summary")
    note = Message("system", "It rains.", block="note")
    talk = (ROLE[0], summary, user("A"), Message("assistant", "B"), note, user("C"), note)
    assert f"{ROLE[0].text}\n\nThey met.\n\nA<end_of_turn>" in said(gemma, vocabulary, *talk)
    assert "user\nIt rains.\n\nC\n\nIt rains.<end_of_turn>" in said(gemma, vocabulary, *talk)
    prompt = gemma.build(talk)
    assert text_of(vocabulary, prompt.ids[: prompt.role_tokens]).endswith(f"{ROLE[0].text}\n\n")


def test_somebody_always_asks(chatml: Prompter, gemma: Prompter, starter_vocabulary: Vocabulary) -> None:
    end = "<|im_end|>\n<|im_start|>assistant\n"
    assert said(chatml, starter_vocabulary).endswith(f"user\n{OPENER}{end}")
    assert said(chatml, starter_vocabulary, *ROLE).endswith(f"user\n{GO_ON}{end}")
    assert said(chatml, starter_vocabulary, ROLE[0]).endswith(f"user\n{OPENER}{end}")
    assert gemma.build([ROLE[0]]).role_tokens > 0
    assert chatml.count([]) == []


def test_continue_last_ends_behind_the_reply(chatml: Prompter, starter_vocabulary: Vocabulary) -> None:
    asked = chatml.build([*ROLE, user("Hi")]).ids
    answer = reply(starter_vocabulary, "I was about to")
    assert chatml.build([*ROLE, user("Hi"), answer], continue_last=True).ids == (*asked, *answer.token_ids)
    typed = Message("assistant", "I was about to")
    assert said(chatml, starter_vocabulary, user("Hi"), typed, continue_last=True).endswith(
        "assistant\nI was about to"
    )
    assert said(chatml, starter_vocabulary, *ROLE, continue_last=True).endswith(ROLE[1].text)
    assert chatml.build([user("Hi")], continue_last=True) == chatml.build([user("Hi")])


def test_foreign_ids_are_not_used(chatml: Prompter, starter_vocabulary: Vocabulary) -> None:
    foreign = Message("assistant", "Said elsewhere", token_ids=(starter_vocabulary.size + 7,))
    assert "Said elsewhere" in said(chatml, starter_vocabulary, user("Hi"), foreign, user("So"))


def test_costs_are_where_the_words_are(chatml: Prompter) -> None:
    costs = chatml.count([user("a"), Message("assistant", "word " * 100), user("b")])
    assert costs[1] > 90
    assert costs[0] < 30
    assert costs[2] < 30
