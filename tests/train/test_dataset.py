"""Data: every format read, every row accounted for, held out by question, mixed by hash, leaks refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rolekit.errors import RolekitError
from rolekit.messages import Message
from rolekit.roles.block import opening_messages, role_block
from rolekit.roles.library import RoleLibrary
from rolekit.train.base_text import BaseText, open_base_text
from rolekit.train.dataset import Dataset, build_dataset
from rolekit.train.examples import check_examples
from rolekit.train.openings import Openings
from rolekit.train.recipe_file import make_recipe
from rolekit.train.sources import Dialogue

ROLEBENCH = Path(__file__).parents[3] / "shared/data/rolebench"


@pytest.fixture(scope="module")
def text(starter_path: Path) -> Iterator[BaseText]:
    with open_base_text(starter_path) as opened:
        yield opened


def written(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def record(role: str, number: int, kind: str = "role_specific", answers: int = 1) -> dict[str, Any]:
    replies = [f"{role} answers question {number} in way {n}." for n in range(answers)]
    return {"role": role, "question": f" Question {number}?", "generated": replies, "kind": kind}


def built(text: BaseText, *sources: dict[str, Any] | str, **values: Any) -> Dataset:
    listed = [{"path": source} if isinstance(source, str) else source for source in sources]
    data = {"sources": listed, "eval_fraction": 0, **values.pop("data", {})}
    dataset = build_dataset(make_recipe({"data": data, **values}), text.maker)
    check_examples([*dataset.train, *dataset.held_out])
    return dataset


def answers(text: BaseText, dataset: Dataset) -> list[str]:
    return [
        b"".join(
            text.vocabulary.piece(token)
            for token, on in zip(example.ids, example.supervised, strict=True)
            if on
        ).decode()
        for example in dataset.train
    ]


def test_every_format_is_read(text: BaseText, tmp_path: Path) -> None:
    chat = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ahoy."}],
        "role": "Zora",
    }
    share = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Aye."},
                               {"from": "human", "value": "And?"}, {"from": "gpt", "value": "So."}]}  # fmt: skip
    alpaca = {"instruction": "Add.", "input": "1 and 1", "output": "Two.", "kind": "general"}
    records = written(tmp_path / "records.jsonl", [record("Bob", 1, answers=2)])
    others = written(tmp_path / "others.jsonl", [chat, share, alpaca])
    dataset = built(text, records, {"path": others, "role": "Cleo"}, data={"references": "all"})
    assert answers(text, dataset) == [
        "Bob answers question 1 in way 0.<|im_end|>",
        "Bob answers question 1 in way 1.<|im_end|>",
        "Ahoy.<|im_end|>",
        "Aye.<|im_end|>So.<|im_end|>",
        "Two.<|im_end|>",
    ]
    assert [example.role for example in dataset.train] == ["Bob", "Bob", "Zora", "Cleo", "Cleo"]
    assert [example.kind for example in dataset.train][-2:] == ["role_specific", "general"]
    assert dataset.report.roles_without_profile == ["Bob", "Cleo", "Zora"]
    assert dataset.train[0].origin == f"{records}:1"


def test_the_prompt_is_the_block_that_a_chat_begins_with(text: BaseText, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [record("Sherlock Holmes", n) for n in range(3)])
    role = RoleLibrary().find("sherlock-holmes").loaded()
    block = built(text, path)
    asked = Message("user", "Question 0?")
    system = Message("system", role_block(role, "You"), "role")
    for dataset, opening in (
        (block, [system]),
        (built(text, path, opening="chat"), opening_messages(role, "You")),
    ):
        prompt = text.prompter.build([*opening, asked])
        first = dataset.train[0]
        assert first.ids[: len(prompt.ids)] == prompt.ids
        assert first.supervised.index(True) == len(prompt.ids)
        assert first.prefix_tokens == prompt.role_tokens
        assert dataset.report.roles_without_profile == []


def test_nothing_is_dropped_silently(text: BaseText, tmp_path: Path) -> None:
    long = {**record("Zora", 7), "generated": ["word " * 900]}
    rows = [record("Zora", 1), record("Zora", 1), record("Bob", 2), long, {"role": "Zora"}, record("Zora", 3)]
    dataset = built(text, written(tmp_path / "a.jsonl", rows), roles=["zora"], max_tokens=256)
    report = dataset.report
    assert (report.rows_read, report.faulty_rows, report.duplicates, report.other_roles) == (6, 1, 1, 1)
    assert (report.too_long, report.rows) == (1, 2)
    assert report.faults[0].startswith(f"{tmp_path}/a.jsonl:5: no `question`")
    assert report.tokens == sum(len(example.ids) for example in dataset.train)
    assert report.supervised_tokens == sum(sum(example.supervised) for example in dataset.train)
    with pytest.raises(RolekitError, match="None of the 2 rows fits into 16 tokens"):
        built(text, written(tmp_path / "b.jsonl", [record("Zora", 1), record("Zora", 2)]), max_tokens=16)


def test_a_long_chat_loses_its_last_turns(text: BaseText, tmp_path: Path) -> None:
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"Line {n} " + "word " * 60} for n in range(8)]
    path = written(tmp_path / "a.jsonl", [{"messages": turns, "role": "Zora"}])
    dataset = built(text, path, max_tokens=400)
    assert dataset.report.shortened == 1
    assert len(answers(text, dataset)[0].split("<|im_end|>")) in (3, 4)


def test_questions_are_held_out_with_all_their_answers(text: BaseText, tmp_path: Path) -> None:
    rows = [record(role, n) for n in range(40) for role in ("Zora", "Bob", "Cleo")]
    path = written(tmp_path / "a.jsonl", rows)
    dataset = built(text, path, data={"eval_fraction": 0.2, "eval_rows": 0})
    held = {example.key for example in dataset.held_out}
    assert dataset.report.held_out_questions * 3 == len(dataset.held_out) == len(held)
    assert 3 <= dataset.report.held_out_questions <= 14
    assert len(dataset.train) + len(dataset.held_out) == 120
    assert not held & {example.key for example in dataset.train}
    more = built(text, written(tmp_path / "b.jsonl", [*rows, *(record("Zora", n) for n in range(40, 60))]),
                 data={"eval_fraction": 0.2, "eval_rows": 0})  # fmt: skip
    assert held <= {example.key for example in more.held_out}, "rows that come later move none"
    few = built(text, path, data={"eval_fraction": 0.2, "eval_rows": 5})
    assert len(few.held_out) == 5
    assert few.report.held_out_unscored == len(held) - 5
    assert few.hash != dataset.hash == built(text, path, data={"eval_fraction": 0.2, "eval_rows": 0}).hash


def test_weights_and_shares(text: BaseText, tmp_path: Path) -> None:
    own = written(tmp_path / "own.jsonl", [record("Zora", n) for n in range(40)])
    general = written(tmp_path / "general.jsonl", [record("Zora", n, "general") for n in range(100, 110)])
    twice = built(text, {"path": own, "weight": 0.5}, {"path": general, "weight": 2})
    assert twice.report.rows_by_kind["general"] == 20
    assert 10 <= twice.report.rows_by_kind["role_specific"] <= 30
    assert twice.report.repeated == 10
    assert twice.report.left_out_by_mix == 40 - twice.report.rows_by_kind["role_specific"]
    even = built(text, own, general, data={"mix": {"general": 1, "role_specific": 1}})
    assert even.report.rows_by_kind == {"role_specific": 10, "general": 10}
    assert (even.report.left_out_by_mix, even.report.repeated) == (30, 0)
    more = built(text, own, general, data={"mix": {"general": 1, "role_specific": 1}, "rows": 60})
    assert more.report.rows_by_kind == {"role_specific": 30, "general": 30}
    assert more.report.repeated == 20
    with pytest.raises(RolekitError, match="asks for refusal rows, and the data has none"):
        built(text, own, general, data={"mix": {"general": 1, "refusal": 0.1}})
    refusals = {"path": written(tmp_path / "no.jsonl", [record("Zora", 200)]), "kind": "refusal"}
    assert built(text, own, refusals).report.rows_by_kind == {"role_specific": 40, "refusal": 1}


def test_what_the_benchmark_asks_is_not_trained_on(text: BaseText, tmp_path: Path) -> None:
    own = written(tmp_path / "own.jsonl", [record("Zora", n) for n in range(5)])
    bench = written(tmp_path / "bench.jsonl", [record("Zora", 2), record("Bob", 3)])
    with pytest.raises(RolekitError, match="1 rows to train on ask what the benchmark asks") as caught:
        built(text, own, data={"bench": [bench]})
    assert "own.jsonl:3: Question 2?" in caught.value.what_to_do
    report = built(text, own, data={"bench": [bench], "allow_leaks": True}).report
    assert (report.leaks, report.same_question_other_role) == (1, 1)


def test_bad_data_ends_in_sentences(text: BaseText, tmp_path: Path) -> None:
    with pytest.raises(RolekitError, match="names no data"):
        built(text)
    with pytest.raises(RolekitError, match="There is no file or folder"):
        built(text, str(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(RolekitError, match=r"empty\.jsonl holds no row to train on"):
        built(text, str(tmp_path / "empty.jsonl"))
    with pytest.raises(RolekitError, match="holds no row to train on") as caught:
        built(text, written(tmp_path / "a.jsonl", [{"instruction": "Hi", "output": "Ho"}]))
    assert "no role: name it" in str(caught.value)
    with pytest.raises(RolekitError, match="no rows of 'Cleo'") as caught:
        built(text, written(tmp_path / "b.jsonl", [record("Zora", 1)]), roles=["Cleo"])
    assert "Its roles are Zora." in caught.value.what_to_do


def test_a_system_text_of_the_data_stands_where_there_is_no_profile(text: BaseText, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "You are Zed, a clockmaker."}, {"role": "user", "content": "Hi"},
             {"role": "assistant", "content": "Tick."}]  # fmt: skip
    path = written(
        tmp_path / "a.jsonl", [{"messages": turns}, {"messages": turns, "role": "Sherlock Holmes"}]
    )
    dataset = built(text, path)
    first = b"".join(map(text.vocabulary.piece, dataset.train[0].ids)).decode()
    assert "<|im_start|>system\nYou are Zed, a clockmaker.<|im_end|>" in first
    assert dataset.train[0].prefix_tokens > 5
    assert dataset.report.replaced_system_texts == 1
    assert b"clockmaker" not in b"".join(map(text.vocabulary.piece, dataset.train[1].ids))


def test_retrieval_shows_the_nearest_dialogues_and_never_the_answer(text: BaseText, tmp_path: Path) -> None:
    topics = [
        "the fog at night",
        "the broken lamp",
        "my brother Tom",
        "a cup of tea",
        "the old boat",
        "the cat",
    ]
    rows = [
        {"role": "Zora", "question": f"What about {topic}?", "generated": [f"Ah, {topic}!"]}
        for topic in topics
    ]
    rows.append(
        {"role": "Zora", "question": "What about the fog, night after night?", "generated": ["Fog again."]}
    )
    dataset = built(text, written(tmp_path / "a.jsonl", rows), condition="retrieval")
    shown = b"".join(map(text.vocabulary.piece, dataset.train[-1].ids)).decode()
    assert (
        "user\nWhat about the fog at night?<|im_end|>\n<|im_start|>assistant\nAh, the fog at night!" in shown
    )
    assert shown.count("Fog again.") == 1
    assert shown.count("<|im_start|>user") == 6
    assert sum(dataset.train[-1].supervised) == len(text.vocabulary.tokenize("Fog again.", special=False)) + 1
    assert len({example.ids[: example.prefix_tokens] for example in dataset.train}) == 1


def test_openings_without_any_pair_still_work() -> None:
    recipe = make_recipe({"condition": "retrieval"})
    dialogue = Dialogue("Nobody Known", "general", (Message("user", "Hi"), Message("assistant", "Ho")), "x:1")
    (system,) = Openings.of(recipe, []).before(dialogue)
    assert "Nobody Known" in system.text


def test_real_rolebench_rows(text: BaseText) -> None:
    path = ROLEBENCH / "rolebench-zh/role_specific/train.jsonl"
    if not path.exists():
        pytest.skip("RoleBench's rows are not beside the project (../shared/data/rolebench)")
    dataset = built(text, str(path), roles=["李白"], data={"eval_fraction": 0.1})
    rows = sum(json.loads(line)["role"] == "李白" for line in path.read_text("utf-8").splitlines())
    report = dataset.report
    assert report.rows_by_role == {"李白": len(dataset.train)}
    assert report.rows + report.held_out_rows + report.duplicates + report.too_long == rows
    assert report.other_roles == 1535 - rows
    assert report.faulty_rows == 0
