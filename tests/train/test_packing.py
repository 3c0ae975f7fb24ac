"""Packs hold every row once, and each row sees exactly what it would see alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_rows import toy_rows

from rolekit.train.examples import Example
from rolekit.train.packing import (
    Batching,
    StepPlan,
    attention_mask,
    build_pack,
    input_tokens,
    order_epoch,
    plan_step,
)


def plans_of(rows: list[Example], batching: Batching, seed: int = 1, epoch: int = 0) -> list[StepPlan]:
    return [plan_step(rows, step, batching) for step in order_epoch(rows, batching, seed, epoch)]


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 9), st.integers(12, 200), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_an_epoch_has_every_row_once(count: int, roles: int, per_step: int, budget: int, run: int) -> None:
    rows = toy_rows(count, roles=roles)
    plans = plans_of(rows, Batching(per_step, pack_tokens=budget, run_rows=run))
    seen = [index for plan in plans for pack in plan.packs for index in pack]
    assert sorted(seen) == list(range(count))
    assert [plan.rows for plan in plans[:-1]] == [per_step] * (len(plans) - 1)
    assert sum(plan.supervised for plan in plans) == sum(sum(row.supervised) for row in rows)
    for plan in plans:
        for indices in plan.packs:
            assert len(indices) == 1 or build_pack(rows, indices).tokens <= budget


def test_as_few_packs_as_fit_are_as_even_as_they_can_be() -> None:
    rows = [Example((5,) * 30 + (2,), (False,) * 30 + (True,), 0) for _ in range(5)]
    rows.append(Example((5,) * 200 + (2,), (False,) * 200 + (True,), 0))
    sizes = [
        sum(len(rows[index].ids) - 1 for index in pack)
        for pack in plan_step(rows, range(5), Batching(pack_tokens=130)).packs
    ]
    assert sorted(sizes) == [60, 90]
    sizes = [len(pack) for pack in plan_step(rows, range(6), Batching(pack_tokens=130)).packs]
    assert sorted(sizes) == [1, 2, 3], "a row that is longer than a pack goes alone"


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    rows = toy_rows(30)

    def order(seed: int, epoch: int) -> list[tuple[tuple[int, ...], ...]]:
        return [plan.packs for plan in plans_of(rows, Batching(8, pack_tokens=100), seed, epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) != order(2, 1)


@pytest.mark.parametrize("window", [0, 5])
def test_each_row_sees_itself_and_its_prefix_only(window: int) -> None:
    rows = [*toy_rows(5, roles=2), Example((7, 8, 9, 2), (False, False, True, True), 0)]
    pack = build_pack(rows, range(len(rows)))
    mask = attention_mask(pack, window)
    for tree in pack.layout:
        at = tree.start + tree.prefix
        for length in tree.segments:
            path = [*range(tree.start, tree.start + tree.prefix), *range(at, at + length)]
            assert list(pack.positions[path]) == list(range(len(path)))
            for query in range(at, at + length):
                place = int(pack.positions[query])
                first = max(0, place - window + 1) if window else 0
                assert list(np.flatnonzero(mask[query])) == path[first : place + 1]
            at += length


def test_labels_are_the_rows_own() -> None:
    rows = toy_rows(6, roles=2)
    pack = build_pack(rows, range(6))
    for index, row in enumerate(rows):
        mine = pack.owners == index
        assert list(pack.labels[mine]) == [t for t, flag in zip(row.ids, row.supervised, strict=True) if flag]
        before = [row.ids[at - 1] for at, flag in enumerate(row.supervised) if flag]
        assert list(pack.ids[pack.sources[mine]]) == before


def test_what_is_shared_is_computed_once() -> None:
    rows = toy_rows(8)
    pack = build_pack(rows, range(8))
    own = sum(input_tokens(row) - pack.layout[0].prefix for row in rows)
    assert pack.layout[0].prefix >= 9
    assert pack.tokens == pack.layout[0].prefix + own
    assert len(set(pack.sources.tolist())) == pack.supervised  # no state predicts for two rows


def test_equal_rows_keep_a_part_of_their_own() -> None:
    rows = [toy_rows(1)[0]] * 3
    pack = build_pack(rows, range(3))
    assert len(pack.layout[0].segments) == 3
    assert pack.supervised == 3 * sum(rows[0].supervised)


def test_a_row_whose_first_id_is_supervised_is_refused() -> None:
    with pytest.raises(ValueError, match="predict"):
        build_pack([Example((3, 4), (True, True), 0)], [0])


def test_steps_are_filled_by_tokens_too() -> None:
    rows = toy_rows(30)
    steps = order_epoch(rows, Batching(tokens_per_step=60), 0, 0)
    sizes = [sum(len(rows[index].ids) for index in step) for step in steps]
    assert sorted(index for step in steps for index in step) == list(range(30))
    assert max(sizes) <= 60 < min(sizes[:-1]) + max(len(row.ids) for row in rows)


def test_without_sharing_every_row_stands_alone() -> None:
    rows = toy_rows(4)
    pack = build_pack(rows, range(4), shared_prefix=False)
    assert [tree.prefix for tree in pack.layout] == [0] * 4
    assert pack.tokens == sum(input_tokens(row) for row in rows)
