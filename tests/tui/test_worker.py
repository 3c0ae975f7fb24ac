"""A command in a process of its own ends with the screen that ordered it, however that one ends."""

from __future__ import annotations

import asyncio
import os

import pytest

from rolekit.tui.worker import Worker


@pytest.mark.parametrize(
    ("key", "order"), [("f6", "no-such-recipe.toml"), ("f5", "profile no-such-book.txt")]
)
async def test_an_app_that_ends_leaves_no_process_behind(make_app, drive, key: str, order: str) -> None:
    async with drive(make_app(), size=(120, 40)) as hand:
        await hand.settle()
        await hand.press(key)
        await hand.press(*order, "enter")
        screen = hand.app.screen
        await hand.until(lambda: worker_of(screen) is not None and worker_of(screen)._process is not None)
        process = worker_of(screen)._process
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def worker_of(screen) -> Worker | None:
    """What the train or the synthesis screen has ordered."""
    return screen._ordering.worker


async def test_what_is_stopped_before_it_has_begun_ends_too() -> None:
    worker = Worker(["train", "no-such-recipe.toml"], print)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    running.cancel()
    await worker.settle()
    assert not worker.running
    assert worker._process is not None
    assert worker._process.returncode is not None


async def test_the_last_word_and_the_code_arrive() -> None:
    said: list[str] = []
    assert await Worker(["train", "no-such-recipe.toml"], said.append).run() == 1
    assert "no-such-recipe.toml cannot be read" in said[-1]


@pytest.mark.parametrize(
    ("key", "order"), [("f6", "no-such-recipe.toml"), ("f5", "profile no-such-book.txt")]
)
async def test_a_process_that_ends_while_the_app_does_disturbs_nothing(
    make_app, drive, monkeypatch: pytest.MonkeyPatch, key: str, order: str
) -> None:
    """The screen's widgets are gone by then; what would list the runs anew must not look for them."""
    ended = asyncio.Event()

    async def run(self: Worker) -> int:
        await ended.wait()
        return 1

    async def settle(self: Worker) -> None:
        ended.set()
        for _ in range(3):
            await asyncio.sleep(0)

    monkeypatch.setattr(Worker, "run", run)
    monkeypatch.setattr(Worker, "settle", settle)
    monkeypatch.setattr("textual.worker_manager.WorkerManager.cancel_node", lambda *_: [])
    async with drive(make_app(), size=(120, 40)) as hand:
        await hand.settle()
        await hand.press(key)
        await hand.press(*order, "enter")
        await hand.until(lambda: hand.app.screen._ordering.worker is not None)
