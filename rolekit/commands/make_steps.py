"""One step after the other: what is done is skipped, what is half done goes on, what rests on something else is redone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.commands.make_log import Log
from rolekit.commands.make_plan import STEPS, Making
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir

ASIDE = "aside"
"""Where the results of a step go that is done again; nothing is deleted."""
Advise = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it rests on, and how it is done."""

    name: str
    inputs: Callable[[Making], dict[str, Any]]
    """By name; another value of any of them means another result."""
    carry_out: Callable[[Making], dict[str, Any]]
    """What it made, as JSON; `made` lists its files relative to the folder. Goes on with what its folder holds."""
    keeps: tuple[str, ...] = ()
    """Files of its folder that a new beginning takes along: what was paid for, and what a person decided."""


def walk(making: Making, steps: Sequence[Step], log: Log, first: str, advise: Advise) -> None:
    """Do what is to be done, in order; making.results holds every step's result at the end.

    first: from this step on everything is done again; empty goes on where the folder stands.
    Raises RolekitError (or KeyboardInterrupt) where a step cannot be finished; the next walk goes on there.
    """
    _check_first(log, first)
    again = False
    for number, step in enumerate(steps, start=1):
        again = again or step.name == first
        _recover(making, step)
        record, inputs = log.of(step.name), step.inputs(making)
        changed = record.changed(inputs)
        label = f"{number}/{len(steps)} {step.name}"
        if record.result is not None and not changed and not again:
            missing = [name for name in record.result.get("made", []) if not making.path(name).exists()]
            if not missing:
                advise(f"{label}: done")
                making.results[step.name] = record.result
                continue
            advise(f"{label}: {missing[0]} is gone, so it is done again")
        elif again and record.attempts:
            _begin_anew(making, step, log)
            advise(f"{label}: from the beginning")
        elif changed:
            aside = _begin_anew(making, step, log)
            where = f"; what was there is in {aside}" if aside else ""
            advise(f"{label}: {' and '.join(changed)} changed{where}")
        else:
            advise(f"{label}: {'goes on' if record.attempts else 'begins'}")
        making.results[step.name] = _carried_out(making, step, log, inputs)


def standing(making: Making, steps: Sequence[Step], log: Log) -> dict[str, str]:
    """Every step's state: done, begun or to do; the inputs of later steps are not known before they are reached."""
    states = {}
    for step in steps:
        record = log.of(step.name)
        states[step.name] = "done" if record.result is not None else "begun" if record.attempts else "to do"
    return states


def _check_first(log: Log, first: str) -> None:
    if not first:
        return
    for name in STEPS[: STEPS.index(first)]:
        if log.of(name).result is None:
            raise RolekitError(
                f"--from {first} needs the steps before it, and {name} is not finished.",
                "Leave --from out: what is finished is skipped anyway.",
            )


def _carried_out(making: Making, step: Step, log: Log, inputs: dict[str, Any]) -> dict[str, Any]:
    log.begin(step.name, inputs)
    start = time.perf_counter()
    try:
        result = step.carry_out(making)
    except BaseException:
        log.stop(step.name, time.perf_counter() - start)
        raise
    log.finish(step.name, result, time.perf_counter() - start)
    return result


def _begin_anew(making: Making, step: Step, log: Log) -> str:
    """Put what the step's folder holds aside, but for what it keeps; the name of that place, empty without one."""
    folder, fresh, aside = making.folder / step.name, making.folder / f"{step.name}.part", ""
    if folder.is_dir() and any(folder.iterdir()):
        shelf = ensure_dir(making.folder / ASIDE)
        number = 1 + sum(path.name.startswith(f"{step.name}-") for path in shelf.iterdir())
        aside = f"{ASIDE}/{step.name}-{number}"
        for name in step.keeps:
            if (folder / name).exists():
                (folder / name).rename(ensure_dir(fresh) / name)
        folder.rename(making.folder / aside)
        if fresh.is_dir():
            fresh.rename(folder)
    log.forget(step.name)
    return aside


def _recover(making: Making, step: Step) -> None:
    """What a new beginning that was killed half-way took along goes back to its place."""
    folder, fresh = making.folder / step.name, making.folder / f"{step.name}.part"
    if not fresh.is_dir():
        return
    ensure_dir(folder)
    for path in fresh.iterdir():
        path.rename(folder / path.name)
    fresh.rmdir()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within the block no other process makes this character. Raises RolekitError when one does already."""
    from filelock import FileLock, Timeout

    lock = FileLock(ensure_dir(folder) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RolekitError(
            f"Another process is at work in {folder}.", "Wait for it, or choose another folder with --out."
        ) from error
    try:
        yield
    finally:
        lock.release()
