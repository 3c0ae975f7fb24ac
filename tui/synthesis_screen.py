"""F5: rows arrive, and a person has the last word. Pausing is safe at any time."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from rolekit.errors import RolekitError
from rolekit.paths import expanded, write_text
from rolekit.synthesis.audit import Verb, decide
from rolekit.synthesis.rows import Candidate
from rolekit.text import count, one_line
from rolekit.tui import synthesis_view as view
from rolekit.tui.answer_screen import AnswerScreen
from rolekit.tui.help import HelpText
from rolekit.tui.safe import content, line, sentence
from rolekit.tui.status import Hints, Notice, TitleLine
from rolekit.tui.synthesis_folder import ORDER, SynthesisFolder, known_syntheses, order_of
from rolekit.tui.worker import Worker

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
_MOST_ROWS = 300
_FILTERS = ("all", "held", "accepted", "rejected", "decided")


class RowList(OptionList):
    """The rows, newest first; the keys of the audit work while it has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "screen.decide('accept')", "Accept", show=False),
        Binding("e", "screen.edit", "Edit", show=False),
        Binding("x", "screen.decide('reject')", "Reject", show=False),
        Binding("u", "screen.decide('undo')", "Undo", show=False),
        Binding("f", "screen.filter(1)", "Filter", show=False),
        Binding("F", "screen.filter(-1)", "Filter", show=False),
        Binding("o", "screen.export", "Export", show=False),
        Binding("space", "screen.pause", "Pause", show=False),
    ]
    help_text = HelpText(
        "Synthesis",
        "Rows as they come, each with what the rules said (✓ taken, ✗ out, ? left to you). Your word counts more.",
        (
            ("a e x", "accept, edit (and accept), reject this row; the next one follows"),
            ("u", "take your decision back"),
            ("f F", "show other rows: held, accepted, rejected, decided, a single reason"),
            ("Space", "pause, or go on; nothing is lost and nothing is paid twice"),
            ("o", "export what is accepted: RoleBench's layout, chats, a data card"),
            ("Tab", "to the line at the bottom, which starts `rolekit synth`"),
        ),
    )


class SynthInput(Input):
    """What is handed to `rolekit synth`; what is pasted is cleaned and put on one line."""

    def __init__(self) -> None:
        super().__init__(
            placeholder="context-instruct --role NAME --out DIR",
            id="synth-order",
            compact=True,
            max_length=2000,
        )

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_text_at_cursor(one_line(event.text[:4000], 2000))


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
        self._runs: dict[str, SynthesisFolder] = {}
        self._shown: SynthesisFolder | None = None
        self._worker: Worker | None = None
        self._followed: Path | None = None
        self._orders: dict[Path, list[str]] = {}
        self._filter = "all"
        self._listed: dict[str, Candidate] = {}

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
                yield RowList(id="synth-rows", markup=False, compact=True)
                with VerticalScroll(id="row-page", can_focus=False):
                    yield Static(id="row", markup=False)
            with Vertical(id="synth-side"):
                yield OptionList(id="synth-runs", markup=False, compact=True)
                yield Static(id="synth-recipe", markup=False)
        yield Notice()
        with Horizontal(id="synth-order-line"):
            yield Static("rolekit synth", id="synth-sign", markup=False)
            yield SynthInput()
        yield Hints()

    def on_mount(self) -> None:
        """List the runs, and keep looking at the one that is shown."""
        self.query_one(Hints).keys = _KEYS
        self.list_runs()
        self.set_interval(0.5, self._look)

    async def on_unmount(self) -> None:
        """However the app ends, nothing stays at work behind it."""
        self.workers.cancel_node(self)
        await self.settle()

    def on_screen_resume(self) -> None:
        """Runs that were made elsewhere meanwhile; the rows have the focus where there are any."""
        self.list_runs()
        if self._listed and not self.query_one("#synth-order", Input).value:
            self.query_one(RowList).focus()

    def list_runs(self, wanted: Path | None = None) -> None:
        """List the known runs, and show the wanted one, else the one that was shown, else the newest."""
        wanted = wanted or (self._shown.path if self._shown else None)
        runs = {str(run.path): run for run in known_syntheses()}
        if wanted is not None and str(wanted) not in runs:
            runs = {str(wanted): SynthesisFolder(wanted), **runs}
        self._runs = {path: self._runs.get(path, run) for path, run in runs.items()}
        listed = self.query_one("#synth-runs", OptionList)
        listed.clear_options()
        listed.add_options([Option(self._run_line(run), id=path) for path, run in self._runs.items()])
        shown = str(wanted) if wanted else next(iter(self._runs), "")
        if shown in self._runs:
            listed.highlighted = listed.get_option_index(shown)
        self._show(self._runs.get(shown))

    def _run_line(self, run: SynthesisFolder) -> Content:
        state = "●" if self._is_running(run) else "✓" if run.finished else "‖"
        return Content.assemble((f"{state} ", "$primary"), line(run.name, limit=30))

    def _is_running(self, run: SynthesisFolder) -> bool:
        return self._worker is not None and self._worker.running and self._followed == run.path

    @on(OptionList.OptionHighlighted, "#synth-runs")
    def _run_chosen(self, event: OptionList.OptionHighlighted) -> None:
        run = self._runs.get(event.option.id or "")
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
        worker = self._worker
        if worker and worker.folder and worker.folder != self._followed:
            self._followed = worker.folder
            self.list_runs(worker.folder)
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
        state = "running" if self._is_running(run) else run.state
        title.right = f"{run.name} · {state}"
        drawn = self.query_one("#funnel", Static)
        drawn.update(view.funnel(run, drawn.size.width or 60))
        beside = self.query_one("#reasons", Static)
        beside.update(view.reasons(run, (beside.size.width or 34) - 2))
        cap = _cap(self._orders.get(run.path) or order_of(run.path))
        self.query_one("#synth-figures", Static).update(view.figures(run, cap))
        self.query_one("#synth-recipe", Static).update(content(view.recipe(run), "$quiet"))
        if run.fault:
            self.query_one(Notice).say(one_line(run.fault, 400), serious=True)

    def _rows(self) -> list[Candidate]:
        """The rows that the filter lets through, newest first."""
        run, wanted = self._shown, self._filter
        if run is None:
            return []
        rows = reversed(run.decided)
        if wanted in ("held", "accepted", "rejected"):
            return [row for row in rows if row.verdict == wanted]
        if wanted == "decided":
            return [row for row in rows if row.id in run.decisions.by_id]
        return [row for row in rows if wanted in ("all", row.reason)]

    def _list_rows(self, highlight: str | None = None) -> None:
        """List the rows anew; the highlight stays on its row, or goes to the one that is named."""
        listed, rows = self.query_one(RowList), self._rows()
        at = listed.highlighted
        before = highlight or (listed.get_option_at_index(at).id if at is not None else None)
        known = self._shown.decisions.by_id if self._shown else {}
        self._listed = {row.id: row for row in rows[:_MOST_ROWS]}
        listed.clear_options()
        listed.add_options(
            [Option(view.row_line(row, decided=row.id in known), id=row.id) for row in self._listed.values()]
        )
        if self._listed:
            place = (
                list(self._listed).index(before)
                if before in self._listed
                else min(at or 0, len(self._listed) - 1)
            )
            listed.highlighted = place
        shown = f"the newest {_MOST_ROWS} of " if len(rows) > _MOST_ROWS else ""
        title = f"{self._filter}: {shown}{count(len(rows))} rows"
        self.query_one("#rows-title", Static).update(content(title, "$quiet"))
        self._show_row()

    @on(OptionList.OptionHighlighted, "#synth-rows")
    def _row_chosen(self) -> None:
        self._show_row()

    def _row(self) -> Candidate | None:
        listed = self.query_one(RowList)
        if listed.highlighted is None or not self._listed:
            return None
        return self._listed.get(listed.get_option_at_index(listed.highlighted).id or "")

    def _show_row(self) -> None:
        row = self._row()
        self.query_one("#row", Static).update(view.row_in_full(row) if row else "")
        self.query_one("#row-page", VerticalScroll).scroll_home(animate=False)

    def action_decide(self, verb: Verb, answer: str = "") -> None:
        """Write down what the person says about the row, and go to the next one."""
        row, run = self._row(), self._shown
        if row is None or run is None:
            return
        try:
            decide(run.path, row.id, verb, answer)
        except RolekitError as error:
            self.query_one(Notice).say(sentence(error), serious=True)
            return
        ids = list(self._listed)
        place = ids.index(row.id)
        following = row.id if verb == "undo" or place + 1 >= len(ids) else ids[place + 1]
        run.refresh(now=True)
        self._draw()
        self._list_rows(following)

    @work
    async def action_edit(self) -> None:
        """Ask for another answer to the row; it counts as accepted."""
        row = self._row()
        if row is None:
            return
        said = row.turns[-1] if row.turns else row.answers[0] if row.answers else ""
        answer = await self.app.push_screen_wait(AnswerScreen(row.question, said))
        if answer and (now := self._row()) is not None and now.id == row.id:
            self.action_decide("edit", answer)

    def action_filter(self, way: int) -> None:
        """Show other rows: by verdict, then by each reason that occurs."""
        known = [*_FILTERS, *(self._shown.reasons if self._shown else ())]
        at = known.index(self._filter) if self._filter in known else 0
        self._filter = known[(at + way) % len(known)]
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
        try:
            arguments = shlex.split(event.value)
        except ValueError:
            notice.say("A quote is opened and never closed.", serious=True)
            return
        if not arguments:
            self.action_pause()
            return
        if self._worker is not None and self._worker.running:
            notice.say("A run is in progress; Space in the list pauses it.")
            return
        self.query_one("#synth-order", Input).value = ""
        self._start(arguments)

    @work(exclusive=True, group="synthesis")
    async def _start(self, arguments: list[str]) -> None:
        notice, lines = self.query_one(Notice), list[str]()

        def tell(text: str) -> None:
            lines.append(text)
            notice.say(one_line(text, 400))

        notice.say("starting")
        folder = _out(arguments)
        self._worker, self._followed = Worker(["synth", *arguments], tell), folder
        if folder is not None:
            self._remember(folder, arguments)
            self.list_runs(folder)
            self.query_one(RowList).focus()
        code = await self._worker.run()
        if (folder := self._worker.folder or folder) is not None:
            self._remember(folder, arguments)
        last = lines[-1] if lines else "the process ended without a word"
        if code not in (0, 130):
            notice.say(one_line(last, 400), serious=True)
        elif code == 130:
            notice.say("Paused. Space goes on; what has arrived is kept.")
        self.list_runs(folder)

    def _remember(self, folder: Path, arguments: list[str]) -> None:
        """Keep the order beside the run, so that Space goes on with it another day."""
        self._orders[folder] = arguments
        if folder.is_dir():
            with suppress(RolekitError):  # without the note one types the order again
                write_text(folder / ORDER, json.dumps(arguments, ensure_ascii=False) + "\n")

    def action_pause(self) -> None:
        """Pause what runs; go on with the run that is shown where nothing does."""
        notice = self.query_one(Notice)
        if self._worker is not None and self._worker.running:
            self._worker.stop()
            notice.say("pausing …")
            return
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
        if self._worker is not None:
            await self._worker.settle()


def _out(arguments: list[str]) -> Path | None:
    """The folder that an order names."""
    for place, word in enumerate(arguments):
        if word == "--out" and place + 1 < len(arguments):
            return expanded(arguments[place + 1]).absolute()
        if word.startswith("--out="):
            return expanded(word.removeprefix("--out=")).absolute()
    return None


def _cap(arguments: list[str]) -> float | None:
    """The budget that an order names."""
    with suppress(ValueError, IndexError):
        return float(arguments[arguments.index("--max-usd") + 1])
    return None
