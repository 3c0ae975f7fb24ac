"""F4: measure a model. Choose at the left, watch answers arrive at the right."""

from __future__ import annotations

import asyncio
import re
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rolekit.endpoints.address import is_endpoint, parse_endpoint
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.paths import data_dir, home
from rolekit.text import one_line
from rolekit.tui.ask import AskScreen
from rolekit.tui.bench_judging import judge_runs, verdict_text
from rolekit.tui.bench_run import BenchRun, planned
from rolekit.tui.bench_view import RunState, empty_page, page
from rolekit.tui.bench_wishes import CHOICES, MAY_BE_EMPTY, QUESTIONS, ROWS, Wanted
from rolekit.tui.bench_work import blind_session, report_of
from rolekit.tui.blind_screen import BlindScreen
from rolekit.tui.help import HelpText
from rolekit.tui.model import Model
from rolekit.tui.safe import cells, sentence
from rolekit.tui.status import Hints, TitleLine

_LABEL_CELLS, _VALUE_CELLS = 11, 20
_DOLLARS = re.compile(r"\d{1,6}(\.\d+)?")
_KEYS = (
    ("Enter", "change"), ("s", "start/stop"), ("b", "blind A/B"), ("o", "report"), ("j", "judge"), ("F1", "help"),
    ("^P", "palette"), ("^Q", "quit"),
)  # fmt: skip


class BenchScreen(Screen[None]):
    """What to ask at the left, the run at the right."""

    AUTO_FOCUS = "#wishes"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start or stop", show=False),
        Binding("b", "blind", "Blind A/B", show=False),
        Binding("o", "report", "Open the report", show=False),
        Binding("j", "judge", "Judge", show=False),
    ]
    help_text = HelpText(
        "Bench",
        "Ask a model RoleBench's questions and see what its answers are worth. Stopping is safe: the same run goes on.",
        (
            ("Enter", "change the chosen line"),
            ("s", "start the run, or stop it"),
            ("b", "blind A/B: two runs, two anonymous answers, you choose"),
            ("o", "open the run's report in the browser"),
            ("j", "let a model judge this run against another; the cost has a cap"),
        ),
    )

    def __init__(self, model: Model, open_other: Callable[[str], Backend] | None) -> None:
        """model: the one that chats; open_other: None where there is no other."""
        super().__init__()
        self._model, self._open_other = model, open_other
        default = data_dir() / "rolebench"
        self.wanted = Wanted(data=str(default) if default.is_dir() else "")
        self._state = RunState()
        self._stop: asyncio.Event | None = None

    def compose(self) -> ComposeResult:
        """Wishes at the left, the run at the right."""
        yield TitleLine()
        with Horizontal(id="bench"):
            with Vertical(id="choice"):
                yield OptionList(id="wishes", markup=False, compact=True)
                yield Static(id="expectation", markup=False)
            with VerticalScroll(id="live", can_focus=False):
                yield Static(id="run", markup=False)
        yield Hints()

    def on_mount(self) -> None:
        """Draw what is wanted."""
        title = self.query_one(TitleLine)
        title.left, title.right = "Bench", "how good is it?"
        self.query_one(Hints).keys = _KEYS
        self._list()

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self._stop is not None

    async def settle(self) -> None:
        """Stop a run that is going on, and wait until its model is free."""
        if self._stop is not None:
            self._stop.set()
            self.workers.cancel_group(self, "bench")
        while self._stop is not None:
            await asyncio.sleep(0.02)

    def _list(self) -> None:
        listed = self.query_one("#wishes", OptionList)
        chosen = listed.highlighted or 0
        listed.clear_options()
        listed.add_options([Option(self._row(key, label), id=key) for key, label in ROWS])
        listed.highlighted = chosen
        self._draw()
        self._expect()

    def _row(self, key: str, label: str) -> Content:
        return Content.assemble(cells(label, _LABEL_CELLS), cells(self.wanted.shown(key), _VALUE_CELLS))

    def _draw(self) -> None:
        run = self.query_one("#run", Static)
        if not self._state.total and not self._state.ended:
            problem = (
                ""
                if self.wanted.data
                else "There is no data yet: rolekit data pull rolebench, or choose a file."
            )
            run.update(empty_page(self.wanted.command, problem))
        else:
            run.update(page(self._state, max(20, self.query_one("#live").size.width - 3)))

    @work(exclusive=True, group="expect", thread=True)
    def _expect(self) -> None:
        """How many questions that makes, and how far their figures can be trusted."""
        from rolekit.rolebench.sampling import expected_half_width

        if not self.wanted.data:
            text = ""
        else:
            try:
                records = planned(self.wanted).records
                width = expected_half_width(records)
                text = f"{len(records)} questions\n±{width:.3f} to expect"
            except RolekitError as error:
                text = error.what_happened
        self.app.call_from_thread(
            self.query_one("#expectation", Static).update,
            Content(one_line(text, 160) if "\n" not in text else text),
        )

    @on(OptionList.OptionSelected, "#wishes")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        key = event.option.id or ""
        if self.busy:
            self._report(RolekitError("The run is going on.", "Press s to stop it first."))
        elif key in CHOICES:
            known = CHOICES[key]
            value = known[(known.index(getattr(self.wanted, key)) + 1) % len(known)]
            self._want(key, value)
        else:
            self._ask(key)

    @work(group="ask", exclusive=True)
    async def _ask(self, key: str) -> None:
        before = str(getattr(self.wanted, key))
        value = await self.app.push_screen_wait(AskScreen(QUESTIONS[key], before))
        if not value and key not in MAY_BE_EMPTY:
            return
        if key in ("per_role", "max_tokens"):
            if not value.isdigit() or (key == "max_tokens" and int(value) < 1) or len(value) > 6:
                self._report(RolekitError(f"{value} is no such number.", "Type a whole number."))
                return
            self._want(key, int(value))
        elif key == "name" and (Path(value).name != value or value in (".", "..")):
            self._report(RolekitError("That is no name for a folder.", "Leave out slashes."))
        else:
            self._want(key, value)

    def _want(self, key: str, value: str | int) -> None:
        change: dict[str, Any] = {key: value}
        self.wanted = replace(self.wanted, **change)
        if key != "max_tokens":
            self._state = RunState()
        self._list()

    def action_start(self) -> None:
        """Start the run, or stop the one that is going on."""
        if self._stop is not None:
            self._stop.set()
            return
        self._stop = asyncio.Event()
        self._go()

    @work(exclusive=True, group="bench")
    async def _go(self) -> None:
        stop = self._stop
        assert stop is not None
        try:
            goes_on, max_usd = await self._cap()
            if goes_on:
                run = BenchRun(self.wanted, self._model, self._open_other, self._show)
                await run.go(stop, max_usd)
        except RolekitError as error:
            self._state = replace(self._state, ended=str(error))
            self._report(error)
        finally:
            self._stop = None
            self._draw()

    def _show(self, state: RunState) -> None:
        self._state = state
        self._draw()

    async def _cap(self) -> tuple[bool, float | None]:
        """Whether to go on, and what a server elsewhere may cost at most; None where nobody is paid."""
        ref = self.wanted.model
        if not is_endpoint(ref) or parse_endpoint(ref).on_this_machine:
            return True, None
        typed = await self.app.push_screen_wait(AskScreen("How many US dollars may it cost at most?", "1.00"))
        return (True, float(typed)) if _DOLLARS.fullmatch(typed) else (False, None)

    def action_report(self) -> None:
        """Write the run's report and open it."""
        self._open_report()

    @work(group="report", exclusive=True, thread=True)
    def _open_report(self) -> None:
        try:
            target = report_of(self.wanted.folder)
        except RolekitError as error:
            self.app.call_from_thread(self._report, error)
            return
        opened = webbrowser.open(target.as_uri())
        said = f"The report is in {target}" + ("." if opened else "; no browser could be opened.")
        self.app.call_from_thread(self.notify, one_line(said, 300), markup=False)

    @work(group="bench", exclusive=True)
    async def action_judge(self) -> None:
        """Let a model judge this run against another."""
        if self.busy or (other := await self._other_run()) is None:
            return
        ref = await self.app.push_screen_wait(
            AskScreen("Who judges? A REF; nothing is paid twice", "openai:gpt-4o")
        )
        cap = await self.app.push_screen_wait(AskScreen("How many US dollars may it cost at most?", "1.00"))
        if not ref or not _DOLLARS.fullmatch(cap):
            return
        self._stop = asyncio.Event()
        try:
            await self._judge(other, ref, float(cap), self._stop)
        except RolekitError as error:
            self._state = RunState(ended=str(error))
            self._report(error)
        finally:
            self._stop = None
            self._draw()

    async def _judge(self, other: Path, ref: str, max_usd: float, stop: asyncio.Event) -> None:
        def show(done: int, total: int) -> None:
            self._show(RunState(done, total))

        folder = self.wanted.folder
        judging = asyncio.create_task(judge_runs(folder, other, ref, max_usd, self._open_other, show))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([judging, stopping], return_when=asyncio.FIRST_COMPLETED)
            if judging.done():
                self._state = RunState(ended=verdict_text(await judging))
            else:
                self._state = RunState(ended="Stopped; j goes on, what was answered is kept.")
        finally:
            for task in (judging, stopping):
                task.cancel()
            await asyncio.wait([judging, stopping])

    @work(group="ask", exclusive=True)
    async def action_blind(self) -> None:
        """Choose another run, then compare the two, blind."""
        other = await self._other_run()
        if other is None:
            return
        try:
            session = await asyncio.to_thread(blind_session, self.wanted.folder, other)
            self.app.push_screen(BlindScreen(session))
        except RolekitError as error:
            self._report(error)

    async def _other_run(self) -> Path | None:
        """The run that somebody wants to compare this one with; None where there is none."""
        runs = sorted(
            path.name for path in (home() / "runs").glob("*/") if (path / "answers.jsonl").is_file()
        )
        others = [name for name in runs if name != self.wanted.name]
        if self.wanted.name not in runs or not others:
            self._report(
                RolekitError(
                    "A comparison needs two runs with answers.", "Run another one under another name."
                )
            )
            return None
        other = await self.app.push_screen_wait(
            AskScreen(f"Against which run? {', '.join(others[:6])}", others[-1])
        )
        return home() / "runs" / other if other else None

    def _report(self, error: RolekitError) -> None:
        self.notify(sentence(error), severity="error", markup=False, timeout=12)
