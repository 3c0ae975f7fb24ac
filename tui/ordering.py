"""Ordering a rolekit command from a screen: the line it is typed in, the process that works, the list of its runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from rolekit.text import one_line
from rolekit.tui.safe import line
from rolekit.tui.status import Notice
from rolekit.tui.worker import Worker

_MOST_CHARACTERS = 2000


class Run(Protocol):
    """A run's folder, which another process writes."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def name(self) -> str:
        """What the list calls it."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do in it."""
        ...


R = TypeVar("R", bound=Run)


class OrderInput(Input):
    """What is handed to a command; what is pasted is cleaned and put on one line."""

    def __init__(self, placeholder: str, *, id: str) -> None:
        """placeholder: an order as an example."""
        super().__init__(placeholder=placeholder, id=id, compact=True, max_length=_MOST_CHARACTERS)

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_text_at_cursor(one_line(event.text[: 2 * _MOST_CHARACTERS], _MOST_CHARACTERS))


class RunList(OptionList, Generic[R]):
    """The runs of one kind: ● at work, ✓ finished, ‖ to be gone on with."""

    def __init__(
        self, known: Callable[[], list[R]], open_run: Callable[[Path], R], *, id: str, cells: int
    ) -> None:
        """known: the runs there are, the newest first; open_run: one that is not among them (yet)."""
        super().__init__(id=id, markup=False, compact=True)
        self._known, self._open_run, self._cells = known, open_run, cells
        self._runs: dict[str, R] = {}

    def list_again(self, wanted: Path | None, at_work: Callable[[Path], bool]) -> R | None:
        """List what there is by now and highlight the wanted run, else the newest: that one, None where none is."""
        runs = {str(run.path): run for run in self._known()}
        if wanted is not None and str(wanted) not in runs:
            runs = {str(wanted): self._open_run(wanted), **runs}
        self._runs = {path: self._runs.get(path, run) for path, run in runs.items()}
        self.clear_options()
        self.add_options(
            [Option(self._row(run, at_work(run.path)), id=path) for path, run in self._runs.items()]
        )
        chosen = str(wanted) if wanted else next(iter(self._runs), "")
        if chosen in self._runs:
            self.highlighted = self.get_option_index(chosen)
        return self._runs.get(chosen)

    def run_of(self, option: Option) -> R | None:
        """The run that a line of the list stands for; None where it is no longer listed."""
        return self._runs.get(option.id or "")

    def _row(self, run: R, working: bool) -> Content:
        sign = "●" if working else "✓" if run.finished else "‖"
        return Content.assemble((f"{sign} ", "$primary"), line(run.name, limit=self._cells))


class Ordering:
    """One command at a time, in a process of its own; what it says stands in the screen's notice."""

    def __init__(self, screen: Screen[None], command: str) -> None:
        """command: the word behind `rolekit`."""
        self._screen, self._command = screen, command
        self._last = ""
        self._notice: Notice
        self.worker: Worker | None = None
        self.folder: Path | None = None
        """Where the last order works: as it was ordered, then as the process has said; None before either."""

    @property
    def running(self) -> bool:
        """Whether a process is at work."""
        return self.worker is not None and self.worker.running

    def is_at(self, path: Path) -> bool:
        """Whether a process is at work in this folder."""
        return self.running and self.folder == path

    def moved(self) -> Path | None:
        """The folder where the process has said it works, once for each; None where there is nothing new."""
        said = self.worker.folder if self.worker else None
        if said is None or said == self.folder:
            return None
        self.folder = said
        return said

    def prepare(self, arguments: Sequence[str], folder: Path | None = None) -> None:
        """Take an order, to be carried out next; folder: where it will work, if the order says so."""
        # Held, not looked up again: what the process says last may come when the screen has gone.
        self._notice = self._screen.query_one(Notice)
        self._notice.say("starting")
        self.worker, self.folder = Worker([self._command, *arguments], self._tell), folder
        self._last = "the process ended without a word"

    @property
    def gone(self) -> bool:
        """Whether the app is ending: its widgets go one by one, and the screen's may be gone before the screen."""
        return not self._screen.app.is_running

    async def carry_out(self) -> int | None:
        """Work to the end of what was prepared; its exit code, or None where the app ends meanwhile.

        What went wrong stays in the notice.
        """
        assert self.worker is not None
        code = await self.worker.run()
        self.folder = self.worker.folder or self.folder
        if code not in (0, 130):
            self._notice.say(self._last, serious=True)
        return None if self.gone else code

    def _tell(self, text: str) -> None:
        self._last = one_line(text, 400)
        self._notice.say(self._last)

    def stop(self, saying: str) -> bool:
        """Let the process save and end, and say so; whether there was one at work."""
        if self.worker is None or not self.worker.running:
            return False
        self.worker.stop()
        self._screen.query_one(Notice).say(saying)
        return True

    async def settle(self) -> None:
        """Stop what is at work and wait until it has saved."""
        if self.worker is not None:
            await self.worker.settle()

    async def leave(self) -> None:
        """The screen goes: end its workers, and leave no process behind."""
        self._screen.workers.cancel_node(self._screen)
        await self.settle()


def words_of(order: str, notice: Notice) -> list[str] | None:
    """An order, cut into words as a shell does; None where a quote stays open, and the notice says so."""
    try:
        return shlex.split(order)
    except ValueError:
        notice.say("A quote is opened and never closed.", serious=True)
        return None
