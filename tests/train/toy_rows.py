"""Rows to train on."""

from __future__ import annotations

import random

from rolekit.train.examples import Example


def toy_rows(
    count: int, *, vocabulary: int = 50, prefix: int = 9, seed: int = 0, roles: int = 1
) -> list[Example]:
    """Rows of one or more roles: a block that the role's rows share, then a question and an answer of their own."""
    chance = random.Random(seed)
    blocks = [tuple(chance.randrange(3, vocabulary) for _ in range(prefix)) for _ in range(roles)]
    rows = []
    for number in range(count):
        asked = tuple(chance.randrange(3, vocabulary) for _ in range(chance.randrange(2, 6)))
        answered = (*(chance.randrange(3, vocabulary) for _ in range(chance.randrange(1, 8))), 2)
        block = blocks[number % roles]
        ids = (*block, *asked, *answered)
        taught = (False,) * (len(block) + len(asked)) + (True,) * len(answered)
        rows.append(Example(ids, taught, len(block), f"role {number % roles}"))
    return rows
