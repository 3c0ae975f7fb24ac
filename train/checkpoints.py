"""Checkpoints: all that decides how a run goes on, written whole or not at all, and checked when read.

A checkpoint is the folder step-00000120 with state.safetensors (adapter, optimizer) and checkpoint.json (where the
run stands, and the sha256 of the state). It is written as step-….part and renamed last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolekit.errors import RolekitError

State = dict[str, NDArray[Any]]
_NAME = re.compile(r"step-(\d{8})")
STATE_FILE = "state.safetensors"
STANDING_FILE = "checkpoint.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands after `step` optimizer steps; everything the loop itself remembers."""

    step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    stopped: bool = False
    """Early stopping has ended the run."""
    supervised_tokens: int = 0
    seconds: float = 0.0


class Checkpoints:
    """The checkpoints of one run folder.

    identity names everything that must not change within a run (recipe, data, base): a checkpoint of another
    identity is refused, never quietly used.
    """

    def __init__(self, folder: Path, identity: str, keep: int = 2) -> None:
        """folder: made with the first checkpoint; keep: how many of the newest stay, at least 1."""
        self._folder = folder
        self._identity = identity
        self._keep = max(keep, 1)

    def save(self, standing: Standing, state: Mapping[str, NDArray[Any]]) -> Path:
        """Write a checkpoint and remove the oldest ones.

        Raises RolekitError when the disk is full; the checkpoints that were there stay.
        """
        target = self.path(standing.step)
        part = target.with_name(target.name + ".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            body = _serialized(state)
            facts = {
                "identity": self._identity,
                "sha256": hashlib.sha256(body).hexdigest(),
                "standing": asdict(standing),
            }
            _write(part / STATE_FILE, body)
            _write(part / STANDING_FILE, json.dumps(facts, indent=1).encode())
            if target.exists():
                shutil.rmtree(target)
            part.rename(target)
            _sync_folder(self._folder)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise self._unwritable(standing.step, error) from error
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self.path(old), ignore_errors=True)
        return target

    def load(self, warn: Callable[[str], None]) -> tuple[Standing, State] | None:
        """The latest checkpoint that is whole; None where there is none.

        Damaged ones are passed over, and warn is told about each. Raises RolekitError for one of another run.
        """
        for step in reversed(self.steps()):
            try:
                return self._read(self.path(step))
            except (OSError, ValueError, KeyError, TypeError) as error:
                warn(f"The checkpoint {self.path(step)} is damaged ({error}); the one before it is used.")
        return None

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; leftovers of a killed write do not count."""
        if not self._folder.is_dir():
            return []
        return sorted(
            int(found[1]) for item in self._folder.iterdir() if (found := _NAME.fullmatch(item.name))
        )

    def path(self, step: int) -> Path:
        """Where the checkpoint of this step is or would be."""
        return self._folder / f"step-{step:08d}"

    def _read(self, folder: Path) -> tuple[Standing, State]:
        from safetensors.numpy import load

        facts = json.loads((folder / STANDING_FILE).read_text(encoding="utf-8"))
        body = (folder / STATE_FILE).read_bytes()
        if hashlib.sha256(body).hexdigest() != facts["sha256"]:
            raise ValueError("its checksum is wrong")
        if facts["identity"] != self._identity:
            raise RolekitError(
                f"{folder.parent.parent} holds a run with another recipe, data set or base.",
                "Choose another --out, or remove that folder to begin anew.",
            )
        return Standing(**facts["standing"]), load(body)

    def _unwritable(self, step: int, error: OSError) -> RolekitError:
        last = self.steps()
        stands = f"the run goes on from step {last[-1]}" if last else "the run begins anew"
        return RolekitError(
            f"The checkpoint of step {step} could not be written to {self._folder} "
            f"({error.strerror or error}).",
            f"Free some disk space and run the same command again: {stands}.",
        )


def write_folder(
    target: Path, fill: Callable[[Path], None], *, files: Mapping[str, str] | None = None
) -> None:
    """Let fill write a folder, add text files, and put it in target's place in one step.

    Raises RolekitError when the disk is full; what was at target is then still there.
    """
    part = target.with_name(target.name + ".part")
    old = target.with_name(target.name + ".old")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        fill(part)
        for name, text in (files or {}).items():
            _write(part / name, text.encode("utf-8"))
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        part.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):
            if old.exists() and not target.exists():
                old.rename(target)
        raise RolekitError(
            f"{target} could not be written ({error.strerror or error}).",
            "Free some disk space and run the same command again; the training itself is not lost.",
        ) from error


def _serialized(state: Mapping[str, NDArray[Any]]) -> bytes:
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(value) for name, value in sorted(state.items())}))


def _write(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
