"""What a make folder knows of its steps: make.jsonl, append-only, one event a line.

    begun     {"step", "inputs"}              what the step rests on, each input by its digest or value
    stopped   {"step", "seconds"}             an attempt that ended in an error or in Ctrl+C
    finished  {"step", "result", "seconds"}   what it made; files are named relative to the folder
    forgotten {"step"}                        its results were set aside

A killed process leaves a `begun` without an end, and at worst half a last line, which counts for nothing.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError

LOG = "make.jsonl"


@dataclass(slots=True)
class Record:
    """What is known of one step."""

    inputs: dict[str, Any] = field(default_factory=dict)
    """Of the last attempt; empty where there was none."""
    result: dict[str, Any] | None = None
    """What the step made; None until it is finished."""
    seconds: float = 0.0
    """Of all attempts that came to an end, whatever end it was."""
    attempts: int = 0

    def changed(self, inputs: dict[str, Any]) -> list[str]:
        """The names of the inputs that are not what they were; empty where nothing was begun yet."""
        if not self.attempts:
            return []
        return [
            name
            for name in dict.fromkeys([*self.inputs, *inputs])
            if self.inputs.get(name) != inputs.get(name)
        ]


class Log:
    """The events of a folder, read once and then appended to; each is on the disk before the next thing happens."""

    def __init__(self, folder: Path) -> None:
        """Raises RolekitError when the file is there and cannot be read."""
        self.path = folder / LOG
        self.records: dict[str, Record] = {}
        for event in _events(self.path):
            self._take(event)

    def of(self, step: str) -> Record:
        """What is known of the step."""
        return self.records.setdefault(step, Record())

    def begin(self, step: str, inputs: dict[str, Any]) -> None:
        """An attempt begins."""
        self._write({"event": "begun", "step": step, "inputs": inputs})

    def stop(self, step: str, seconds: float) -> None:
        """It came to nothing yet."""
        self._write({"event": "stopped", "step": step, "seconds": round(seconds, 3)})

    def finish(self, step: str, result: dict[str, Any], seconds: float) -> None:
        """The step is done."""
        self._write({"event": "finished", "step": step, "result": result, "seconds": round(seconds, 3)})

    def forget(self, step: str) -> None:
        """The step is to be done from its beginning."""
        self._write({"event": "forgotten", "step": step})

    def _write(self, event: dict[str, Any]) -> None:
        event = json.loads(json.dumps({**event, "time": round(time.time(), 3)}))
        line = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            with self.path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RolekitError(
                f"{self.path} cannot be written ({error.strerror or error}).",
                "Make room, then run the same command again.",
            ) from error
        self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        record, kind = self.of(event["step"]), event["event"]
        if kind == "begun":
            record.inputs, record.attempts = event["inputs"], record.attempts + 1
        elif kind == "forgotten":
            self.records[event["step"]] = Record()
        else:
            record.seconds += event["seconds"]
            record.result = event["result"] if kind == "finished" else record.result


def _events(path: Path) -> list[dict[str, Any]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read ({error.strerror or error}).", "Check its permissions."
        ) from error
    found = []
    for line in content.split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and _is_event(event):
            found.append(event)
    return found


def _is_event(event: dict[str, Any]) -> bool:
    wanted = {"begun": ("inputs", dict), "finished": ("result", dict), "stopped": ("seconds", (int, float))}
    kind = event.get("event")
    if not isinstance(event.get("step"), str) or (kind != "forgotten" and kind not in wanted):
        return False
    if kind == "forgotten":
        return True
    name, type_ = wanted[kind]
    timed = kind == "begun" or isinstance(event.get("seconds"), (int, float))
    return timed and isinstance(event.get(name), type_)  # type: ignore[arg-type]
