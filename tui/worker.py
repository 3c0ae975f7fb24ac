"""A rolekit command in a process of its own, so that a screen may be left, and a crash there is none here."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_FOLDER = "rolekit: the run's folder is "
_PATIENCE_SECONDS = 60.0


class Worker:
    """One process. tell is called with each of its lines on stderr; folder is known once it has said so."""

    def __init__(self, arguments: Sequence[str], tell: Callable[[str], None]) -> None:
        """arguments: what follows `rolekit`, the command's name first."""
        self._arguments = list(arguments)
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._work: asyncio.Task[int] | None = None
        self._stopped = False
        self.folder: Path | None = None

    @property
    def running(self) -> bool:
        """Whether the process is at work."""
        return self._work is not None and not self._work.done()

    async def run(self) -> int:
        """Work to the end; the exit code: 0 done, 130 stopped and saved, else its last line says what was wrong.

        Who is cancelled in here leaves the process at work: settle() ends it.
        """
        self._work = asyncio.create_task(self._follow())
        return await asyncio.shield(self._work)

    async def _follow(self) -> int:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rolekit", *self._arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env=environment, start_new_session=True,
        )  # fmt: skip
        if self._stopped:
            self._interrupt()
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if line.startswith(_FOLDER):
                self.folder = Path(line.removeprefix(_FOLDER))
            elif line:
                self._tell(line.removeprefix("rolekit: "))
        return await self._process.wait()

    def stop(self) -> None:
        """Let it save and end, as Ctrl+C does."""
        self._stopped = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def settle(self) -> None:
        """Stop it, and wait until it has saved and is gone; where it does not end, it is killed."""
        if self._work is None or self._work.done():
            return
        if not self._stopped:
            self.stop()
        try:
            await asyncio.wait_for(asyncio.shield(self._work), _PATIENCE_SECONDS)
        except TimeoutError:
            if self._process is not None:
                self._process.kill()
            await self._work
