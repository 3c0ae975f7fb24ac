"""Which memory comes up: an answer is known by its question, a word by its other forms, Chinese by its pairs."""

from __future__ import annotations

from rolekit.chat.recall import Recall
from rolekit.chat.tree import Node
from rolekit.messages import Speaker
from rolekit.ranking import terms_of

OTHER = [
    ("Where would you go for winter?", "Not far; one finds it everywhere."),
    ("My neighbour is always talking of chess.", "Some men have nothing else."),
    ("I read something about old maps this morning.", "I trust it was short."),
    ("Do you remember the first time you heard of fog?", "Dimly. I was a boy."),
]


def said(number: int, text: str) -> Node:
    """A message: odd numbers are the user's."""
    speaker: Speaker = "user" if number % 2 else "assistant"
    return Node(
        number, "c", number - 1 or None, speaker, text, (), "", "complete", "", None, 0.0, False, False, 1, 1
    )


def talk(*exchanges: tuple[str, str]) -> list[Node]:
    """The messages of these exchanges, one after the other, numbered from 1."""
    texts = [text for exchange in exchanges for text in exchange]
    return [said(number, text) for number, text in enumerate(texts, start=1)]


def recalled(question: str, *exchanges: tuple[str, str], language: str = "en") -> list[str]:
    """What comes up beside a question when all before it is folded."""
    nodes = [*talk(*exchanges), said(99, question)]
    recall = Recall(("Ann", "Ellen"), language)
    return [inset.text for inset in recall.insets(nodes, set(), {}, lambda text: len(text.split()))]


def test_an_answer_is_known_by_its_question() -> None:
    planted = ("After the concert, what then?", "I shall wait for you by the clock tower.")
    found = recalled("Where shall we meet after the concert?", *OTHER[:2], planted, *OTHER[2:])
    assert any("clock tower" in text for text in found)


def test_a_statement_stands_before_a_question_in_the_same_words() -> None:
    asked, told = ("Is my dog a good dog?", "Surely."), ("My dog is called Pepper.", "A fine name.")
    found = recalled("What is my dog called?", asked, *OTHER, told)
    assert "Pepper" in found[0]


def test_other_forms_of_a_word_are_found() -> None:
    found = recalled("What did I promise?", *OTHER, ("I promised an almanac to Ruth.", "Keep it, then."))
    assert "almanac" in found[0]


def test_chinese_is_known_by_its_pairs() -> None:
    assert {"钟楼", "楼", "钟"} <= set(terms_of("钟楼"))
    assert "楼钟" not in terms_of("楼，钟")
    other = [("楼下有人吗？", "没有人。"), ("这座楼很高。", "是的。"), ("钟坏了。", "可惜。")]
    found = recalled("钟楼在哪里？", *other, ("钟楼在城南。", "知道了。"), language="zh")
    assert "城南" in found[0]
