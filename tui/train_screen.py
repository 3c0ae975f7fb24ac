"""F6: a role learns. The loss falls, the voice arrives; Ctrl+C saves, and Enter goes on."""

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

from rolekit.text import count, size
from rolekit.tui.help import HelpText
from rolekit.tui.ordering import Ordering, OrderInput, RunList, words_of
from rolekit.tui.plot import LossPlot, Series, smoothed
from rolekit.tui.run_folder import RunFolder, known_runs
from rolekit.tui.safe import content, line
from rolekit.tui.status import Hints, Notice, TitleLine, bar

_KEYS = (
    ("Enter", "start or go on"), ("^C", "save and stop"), ("^B", "runs and recipe"), ("Tab", "list"), ("F1", "help"),
    ("^P", "palette"), ("^Q", "quit"),
)  # fmt: skip
_EMPTY = (
    ("Nothing has been trained yet.\n\n", "bold"),
    ("A role learns from rows: questions, and answers in its voice. Write below, for example\n\n", ""),
    ("  --role \"Sherlock Holmes\" --data rows.jsonl\n", "$primary"),
    ("  recipe.toml --set run.epochs=3\n\n", "$primary"),
    (("and press Enter. It is what `rolekit train` takes on the command line: RoleBench rows, the output of synthesis "
     "or chat-format JSON Lines as data, the starter model as base where none is named. "
     "`rolekit train --example` prints a recipe with every key explained."), "$quiet"),
)  # fmt: skip


class TrainScreen(Screen[None]):
    """The runs, the loss of one of them, what its model says now, and its recipe."""

    AUTO_FOCUS = "#order"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "stop", "Save and stop", show=False, priority=True),
        Binding("ctrl+b", "fold", "Runs and recipe", show=False, priority=True),
    ]
    help_text = HelpText(
        "Training",
        "What stands in the line at the bottom is handed to `rolekit train`; left empty, the run that is shown goes on.",
        (
            ("Enter", "start; with an empty line: go on with the run that is shown"),
            ("Ctrl+C", "save and stop; nothing is lost"),
            ("Ctrl+B", "show or fold the runs and the recipe"),
            ("Tab ↑ ↓", "choose a run in the list"),
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self._ordering = Ordering(self, "train")
        self._list = RunList(known_runs, RunFolder, id="runs", cells=34)
        self._shown: RunFolder | None = None

    def compose(self) -> ComposeResult:
        """Plot, figures and voice at the left; runs and recipe at the right; the order at the bottom."""
        yield TitleLine()
        with Horizontal(id="workshop"):
            yield Static(Content.assemble(*_EMPTY), id="empty", markup=False)
            with Vertical(id="progress"):
                yield LossPlot(id="loss")
                yield Static(id="figures", markup=False)
                yield Static(id="voice", markup=False)
            with Vertical(id="bench-side"):
                yield self._list
                with VerticalScroll(id="recipe-page", can_focus=False):
                    yield Static(id="recipe", markup=False)
        yield Notice()
        with Horizontal(id="order-line"):
            yield Static("rolekit train", id="order-sign", markup=False)
            yield OrderInput("recipe.toml, or --role NAME --data FILE", id="order")
        yield Hints()

    def on_mount(self) -> None:
        """List the runs and keep looking at the one that is shown."""
        self.query_one(Hints).keys = _KEYS
        self.list_runs()
        self.set_interval(0.5, self._look)

    async def on_unmount(self) -> None:
        """However the app ends, nothing stays at work behind it."""
        await self._ordering.leave()

    def on_screen_resume(self) -> None:
        """Runs that were made elsewhere meanwhile."""
        self.list_runs()

    def list_runs(self, wanted: Path | None = None) -> None:
        """List the known runs, and show the wanted one, else the one that was shown, else the newest."""
        wanted = wanted or (self._shown.path if self._shown else None)
        self._show(self._list.list_again(wanted, self._ordering.is_at))

    @on(OptionList.OptionHighlighted, "#runs")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._show(self._list.run_of(event.option))

    def _show(self, run: RunFolder | None) -> None:
        self._shown = run
        self.query_one("#empty").display = run is None
        self.query_one("#progress").display = run is not None
        if run is None:
            self.query_one("#recipe", Static).update("")
        else:
            run.refresh()
            self.query_one("#recipe", Static).update(content(run.recipe, "$quiet"))
        self._draw()

    def _look(self) -> None:
        if self._ordering.gone:
            return
        if (folder := self._ordering.moved()) is not None:
            self.list_runs(folder)
        if self._shown and self._shown.refresh():
            if not self.query_one("#recipe", Static).content:
                self.query_one("#recipe", Static).update(content(self._shown.recipe, "$quiet"))
            self._draw()

    def _draw(self) -> None:
        run, title = self._shown, self.query_one(TitleLine)
        title.left = "Train"
        if run is None:
            title.right = "no run yet"
            return
        state = "training" if self._ordering.is_at(run.path) else "finished" if run.finished else "stopped"
        title.right = f"{run.name} · {state}"
        last = run.last
        plot = self.query_one(LossPlot)
        loss = run.points("loss")
        plot.total = int(last.get("total_steps") or 0)
        plot.series = (
            Series(smoothed(loss), "$primary"),
            Series(run.points("eval_loss"), "$success", marked=True),
        )
        self.query_one("#figures", Static).update(_figures(run))
        self.query_one("#voice", Static).update(_voice(run))

    @on(Input.Submitted, "#order")
    def _ordered(self, event: Input.Submitted) -> None:
        notice = self.query_one(Notice)
        if self._ordering.running:
            notice.say("A run is in progress; Ctrl+C saves and stops it.")
            return
        arguments = words_of(event.value, notice)
        if arguments is None:
            return
        if not arguments:
            if self._shown is None or not self._shown.recipe:
                notice.say("Write what to train: a recipe, or --role NAME --data FILE.")
                return
            arguments = [str(self._shown.path / "recipe.toml"), "--out", str(self._shown.path)]
        self.query_one("#order", Input).value = ""
        self._start(arguments)

    @work(exclusive=True, group="training")
    async def _start(self, arguments: list[str]) -> None:
        self._ordering.prepare([*arguments, "--plain"])
        if await self._ordering.carry_out() is not None:
            self.list_runs(self._ordering.folder)

    def action_stop(self) -> None:
        """Let the run save and end."""
        self._ordering.stop("saving behind this step …")

    def action_fold(self) -> None:
        """Show or fold the runs and the recipe."""
        self.toggle_class("-unfolded" if self.has_class("-narrow") else "-folded")

    async def settle(self) -> None:
        """Stop a run that is in progress and wait until it has saved."""
        await self._ordering.settle()


def _figures(run: RunFolder) -> Content:
    """Where the run stands, what was learned and what it costs: a line each, none wider than 70 cells."""
    last = run.last
    if not last:
        return Content.styled("the first step is on its way", "$quiet")
    total, step = int(last.get("total_steps") or 0), int(last["step"])
    where = [f"step {count(step)} of {count(total)} {bar(step / total)}" if total else f"step {count(step)}"]
    left = run.seconds_left
    if left and not run.finished:
        where.append(f"{_span(left)} left")
    losses, held = run.points("loss"), run.points("eval_loss")
    found = [f"loss {smoothed(losses)[-1][1]:.3f}" if losses else "loss ?"]
    if held:
        best = min(held, key=lambda point: point[1])
        found.append(f"held-out {held[-1][1]:.3f} (best {best[1]:.3f} at {best[0]:.0f})")
    cost = [f"{count(round(float(last.get('tokens_per_second') or 0)))} tok/s"]
    if last.get("peak_fraction"):
        cost.append(f"{float(last['peak_fraction']):.0%} of peak".replace("%", " %"))
    cost.append(size(int(last.get("memory_bytes") or 0)))
    return content("\n".join(" · ".join(parts) for parts in (where, found, cost)))


def _span(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min" if whole < 7200 else f"{whole / 3600:.1f} h"


def _voice(run: RunFolder) -> Content:
    """The first answer and the last ones: how the voice has changed."""
    samples = run.samples
    chosen = samples if len(samples) <= 2 else [samples[0], samples[-1]]
    pieces: list[Content] = []
    for step, text in chosen:
        label = Content.styled(f"after step {step}  ", "$quiet")
        pieces.append(Content.assemble(label, line(text, limit=300)))
    return Content("\n").join(pieces)
