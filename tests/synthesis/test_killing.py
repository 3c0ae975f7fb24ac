"""kill -9 at a hundred random moments: no answer is lost, nothing is paid twice, and the rows are the same."""

from __future__ import annotations

import asyncio
import os

import pytest

from rolekit.roles.writing import to_toml
from rolekit.synthesis.generator import open_generator
from rolekit.synthesis.recipe import ContextInstruct, Recipe
from rolekit.synthesis.running import run

KILLS, CANDIDATES = 100, 300


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL and fork")
def test_kill_9_at_a_hundred_moments(api, author, author_module, killing_module, tmp_path):
    role_file = tmp_path / "mira.toml"
    role_file.write_text(to_toml(author_module.MIRA))
    api.seconds = 0.01
    books = killing_module.killed_often(api, role_file, tmp_path, KILLS, CANDIDATES, longest_seconds=0.15)
    assert books.kills == KILLS
    assert books.again > 0  # some kills did hit requests under way
    assert books.lost == 0
    assert books.paid_twice == 0
    assert books.most_again <= killing_module.CONCURRENCY
    assert books.again <= killing_module.CONCURRENCY * KILLS
    assert books.different == CANDIDATES * len(books.runs)

    async def undisturbed():
        generator = open_generator(tmp_path / "whole", api.ref)
        task = ContextInstruct(CANDIDATES, per_call=1, not_knowing=0, refusal=0)
        await run(Recipe(tmp_path / "whole", author_module.MIRA, task), generator)
        await generator.close()

    api.seconds = 0.0
    asyncio.run(undisturbed())
    for folder in books.runs:
        assert (folder / "rows.jsonl").read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()
