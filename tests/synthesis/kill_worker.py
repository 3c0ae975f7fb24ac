"""Lives of a synthesis run, one fork each, so that a life costs no imports. A line on stdin begins the next one.

Arguments: role file, REF, candidates, concurrency. A line `FOLDER` runs there; the child's pid is printed before it begins, and
`ended STATUS` when it is over.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rolekit.roles.toml import load_role
from rolekit.synthesis.generator import open_generator
from rolekit.synthesis.recipe import ContextInstruct, Recipe
from rolekit.synthesis.running import run


async def live(recipe: Recipe, ref: str, concurrency: int) -> bool:
    generator = open_generator(recipe.folder, ref, concurrency=concurrency)
    outcome = await run(recipe, generator)
    await generator.close()
    return outcome.finished


def main() -> None:
    role_file, ref, candidates, concurrency = sys.argv[1:]
    role = load_role(Path(role_file))
    task = ContextInstruct(int(candidates), per_call=1, not_knowing=0, refusal=0)
    with (
        tempfile.TemporaryDirectory() as place
    ):  # a first life in this process imports what all the others need
        first = replace(task, candidates=1)
        asyncio.run(live(Recipe(Path(place), role, first), ref, int(concurrency)))
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            finished = asyncio.run(live(Recipe(Path(line.strip()), role, task), ref, int(concurrency)))
            os._exit(0 if finished else 1)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print("ended", status, flush=True)


main()
