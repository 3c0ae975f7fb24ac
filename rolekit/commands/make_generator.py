"""Whoever writes for `rolekit make`: one model, one journal and one budget for profile and rows."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rolekit.commands.make_plan import Making, Wishes

if TYPE_CHECKING:
    from rolekit.synthesis.generator import Generator

FOLDER = "synthesis"
"""Where the journal lies."""


def generator_ref(wishes: Wishes) -> str:
    """REF of whoever writes: as it was typed, else the base where that can be chatted with, else the user's default."""
    from rolekit.config import load_config
    from rolekit.convert.bases import resolve_base

    if wishes.model:
        return wishes.model
    return load_config().model if resolve_base(wishes.base).is_dir() else wishes.base


def open_journalled(making: Making, folder: Path | None = None) -> Generator:
    """The model with its journal (in folder, else in the run's) and the budget that is left. Raises RolekitError."""
    from rolekit.synthesis.generator import open_generator

    wishes = making.wishes
    return open_generator(
        folder or making.folder / FOLDER, generator_ref(wishes), concurrency=wishes.concurrency,
        threads=wishes.threads, max_usd=wishes.max_usd, max_requests=wishes.max_requests,
    )  # fmt: skip


@contextmanager
def cancelled_by_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl+C sets within the block: what is under way is then waited for, and nothing is paid in vain."""
    cancel = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    before = signal.signal(signal.SIGINT, lambda *_: cancel.set())
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)
