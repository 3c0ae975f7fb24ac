"""F5: rows arrive, and a person has the last word. Pausing is safe at any time."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static

from rolekit.errors import RolekitError
from rolekit.synthesis.audit import Verb, decide
from rolekit.text import count, one_line
from rolekit.tui import synthesis_view as view
from rolekit.tui.answer_screen import AnswerScreen
from rolekit.tui.ordering import Ordering, OrderInput, RunList, words_of
from rolekit.tui.safe import content, sentence
from rolekit.tui.status import Hints, Notice, TitleLine
from rolekit.tui.synthesis_folder import (
    SynthesisFolder,
    cap_in,
    folder_in,
    keep_order,
    known_syntheses,
    order_of,
)
from rolekit.tui.synthesis_rows import RowList

_KEYS = (
    ("a e x", "accept, edit, reject"), ("u", "undo"), ("f", "filter"), ("Space", "pause"), ("o", "export"),
    ("Tab", "order"), ("^B", "runs"), ("F1", "help"), ("^Q", "quit"),
)  # fmt: skip
_EMPTY = (
    ("Nothing has been made of a text yet.\n\n", "bold"),
    (("A character comes out of a text in which it speaks: a story, a script, letters, subtitles. Write below, for "
      "example\n\n"), ""),
    ("  profile story.txt --role Ada --out runs/ada\n", "$primary"),
    ("  context-instruct --role Ada --out runs/ada\n", "$primary"),
    ("  rolegpt --role Ada --out runs/ada --model openai:gpt-4o --max-usd 2\n\n", "$primary"),
    (("and press Enter: it is what `rolekit synth` takes on the command line. Without --model the model in this "
     "program writes the rows, offline. They arrive here, each with the reason why it was taken or not, and you have "
     "the last word. `rolekit make` does all of it, training and measuring too."), "$quiet"),
)  # fmt: skip


class SynthesisScreen(Screen[None]):
    """The funnel of one run, its newest rows and what a person decides about them; all runs at the side."""

    AUTO_FOCUS = "#synth-order"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "pause", "Pause", show=False, priority=True),
        Binding("ctrl+b", "fold", "Runs", show=False, priority=True),
    ]
    help_text = RowList.help_text

    def __init__(self) -> None:
        super().__init__()
        self._ordering = Ordering(self, "synth")
        self._list = RunList(known_syntheses, SynthesisFolder, id="synth-runs", cells=30)
        self._rows = RowList()
        self._shown: SynthesisFolder | None = None
        self._orders: dict[Path, list[str]] = {}
        """What was ordered here, by the run's folder."""

    def compose(self) -> ComposeResult:
        """Funnel, figures, rows and one row in full at the left; runs at the right; the order at the bottom."""
        yield TitleLine()
        with Horizontal(id="mill"):
            yield Static(Content.assemble(*_EMPTY), id="synth-empty", markup=False)
            with Vertical(id="synth-main"):
                with Horizontal(id="funnel-line"):
                    yield Static(id="funnel", markup=False)
                    yield Static(id="reasons", markup=False)
                yield Static(id="synth-figures", markup=False)
                yield Static(id="rows-title", markup=False)
                yield self._rows
                with VerticalScroll(id="row-page", can_focus=False):
                    yield Static(id="row", markup=False)
            with Vertical(id="synth-side"):
                yield self._list
                yield Static(id="synth-recipe", markup=False)
        yield Notice()
        with Horizontal(id="synth-order-line"):
            yield Static("rolekit synth", id="synth-sign", markup=False)
            yield OrderInput("context-instruct --role NAME --out DIR", id="synth-order")
        yield Hints()

    def on_mount(self) -> None:
        """List the runs, and keep looking at the one that is shown."""
        self.query_one(Hints).keys = _KEYS
        self.list_runs()
        self.set_interval(0.5, self._look)

    async def on_unmount(self) -> None:
        """However the app ends, nothing stays at work behind it."""
        await self._ordering.leave()

    def on_screen_resume(self) -> None:
        """Runs that were made elsewhere meanwhile; the rows have the focus where there are any."""
        self.list_runs()
        if self._rows.any_listed and not self.query_one("#synth-order", Input).value:
            self._rows.focus()

    def list_runs(self, wanted: Path | None = None) -> None:
        """List the known runs, and show the wanted one, else the one that was shown, else the newest."""
        wanted = wanted or (self._shown.path if self._shown else None)
        self._show(self._list.list_again(wanted, self._ordering.is_at))

    @on(OptionList.OptionHighlighted, "#synth-runs")
    def _run_chosen(self, event: OptionList.OptionHighlighted) -> None:
        run = self._list.run_of(event.option)
        if run is not self._shown:
            self._show(run)

    def _show(self, run: SynthesisFolder | None) -> None:
        self._shown = run
        self.query_one("#synth-empty").display = run is None
        self.query_one("#synth-main").display = run is not None
        if run is not None:
            run.refresh(now=True)
        self._draw()
        self._list_rows()

    def _look(self) -> None:
        if self._ordering.gone:
            return
        if (folder := self._ordering.moved()) is not None:
            self.list_runs(folder)
        if self._shown and self._shown.refresh():
            self._draw()
            self._list_rows()

    def on_resize(self) -> None:
        """The bars are as long as there is room."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        run, title = self._shown, self.query_one(TitleLine)
        title.left = "Synthesis"
        if run is None:
            title.right = "no run yet"
            return
        state = "running" if self._ordering.is_at(run.path) else run.state
        title.right = f"{run.name} · {state}"
        drawn = self.query_one("#funnel", Static)
        drawn.update(view.funnel(run, drawn.size.width or 60))
        beside = self.query_one("#reasons", Static)
        beside.update(view.reasons(run, (beside.size.width or 34) - 2))
        cap = cap_in(self._orders.get(run.path) or order_of(run.path))
        self.query_one("#synth-figures", Static).update(view.figures(run, cap))
        self.query_one("#synth-recipe", Static).update(content(view.recipe(run), "$quiet"))
        if run.fault:
            self.query_one(Notice).say(one_line(run.fault, 400), serious=True)

    def _list_rows(self, highlight: str | None = None) -> None:
        title = self._rows.list_again(self._shown, highlight)
        self.query_one("#rows-title", Static).update(content(title, "$quiet"))
        self._show_row()

    @on(OptionList.OptionHighlighted, "#synth-rows")
    def _row_chosen(self) -> None:
        self._show_row()

    def _show_row(self) -> None:
        row = self._rows.row
        self.query_one("#row", Static).update(view.row_in_full(row) if row else "")
        self.query_one("#row-page", VerticalScroll).scroll_home(animate=False)

    def action_decide(self, verb: Verb, answer: str = "") -> None:
        """Write down what the person says about the row, and go to the next one."""
        row, run = self._rows.row, self._shown
        if row is None or run is None:
            return
        try:
            decide(run.path, row.id, verb, answer)
        except RolekitError as error:
            self.query_one(Notice).say(sentence(error), serious=True)
            return
        following = row.id if verb == "undo" else self._rows.behind(row)
        run.refresh(now=True)
        self._draw()
        self._list_rows(following)

    @work
    async def action_edit(self) -> None:
        """Ask for another answer to the row; it counts as accepted."""
        row = self._rows.row
        if row is None:
            return
        said = row.turns[-1] if row.turns else row.answers[0] if row.answers else ""
        answer = await self.app.push_screen_wait(AnswerScreen(row.question, said))
        if answer and (now := self._rows.row) is not None and now.id == row.id:
            self.action_decide("edit", answer)

    def action_filter(self, way: int) -> None:
        """Show other rows: by verdict, then by each reason that occurs."""
        self._rows.turn_filter(self._shown, way)
        self._list_rows()

    @work(exclusive=True, group="export")
    async def action_export(self) -> None:
        """Write the accepted rows for every other tool."""
        import asyncio

        from rolekit.synthesis.exporting import export

        run, notice = self._shown, self.query_one(Notice)
        if run is None:
            return
        notice.say("exporting …")
        try:
            made = await asyncio.to_thread(export, run.path)
        except RolekitError as error:
            notice.say(sentence(error), serious=True)
            return
        rows = made.rows.get(made.chat_file.name, 0)
        notice.say(one_line(f"{count(rows)} rows to train on are in {made.chat_file}", 400))

    @on(Input.Submitted, "#synth-order")
    def _ordered(self, event: Input.Submitted) -> None:
        notice = self.query_one(Notice)
        arguments = words_of(event.value, notice)
        if arguments is None:
            return
        if not arguments:
            self.action_pause()
        elif self._ordering.running:
            notice.say("A run is in progress; Space in the list pauses it.")
        else:
            self.query_one("#synth-order", Input).value = ""
            self._start(arguments)

    @work(exclusive=True, group="synthesis")
    async def _start(self, arguments: list[str]) -> None:
        order = self._ordering
        order.prepare(arguments, folder_in(arguments))
        if order.folder is not None:
            self._remember(order.folder, arguments)
            self.list_runs(order.folder)
            self._rows.focus()
        code = await order.carry_out()
        if order.folder is not None:
            self._remember(order.folder, arguments)
        if code is None:
            return
        if code == 130:
            self.query_one(Notice).say("Paused. Space goes on; what has arrived is kept.")
        self.list_runs(order.folder)

    def _remember(self, folder: Path, arguments: list[str]) -> None:
        """Keep the order, so that Space goes on with it now and another day."""
        self._orders[folder] = arguments
        keep_order(folder, arguments)

    def action_pause(self) -> None:
        """Pause what runs; go on with the run that is shown where nothing does."""
        if self._ordering.stop("pausing …"):
            return
        notice = self.query_one(Notice)
        if self._shown is None:
            notice.say(
                "Write what to make: profile, rolegpt, context-instruct or dialogues, with its options."
            )
            return
        order = self._orders.get(self._shown.path) or order_of(self._shown.path)
        if not order:
            notice.say("This run was begun elsewhere: the same command goes on with it.")
            return
        self._start(order)

    def action_fold(self) -> None:
        """Show or fold the runs."""
        self.toggle_class("-unfolded" if self.has_class("-narrow") else "-folded")

    async def settle(self) -> None:
        """Pause a run that is in progress and wait until it has saved."""
        await self._ordering.settle()
