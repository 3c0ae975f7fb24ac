"""/context: what the model reads, row by row, with what each costs."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rolekit.chat.events import ContextReport, ContextRow
from rolekit.text import count
from rolekit.tui.safe import cells
from rolekit.tui.status import bar

_LABEL_CELLS = 58


class ContextScreen(ModalScreen[None]):
    """The rows of the prompt: kept or folded, and their tokens."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1", "dismiss", "Close", show=False)]

    def __init__(self, report: ContextReport) -> None:
        """report: of the prompt as it was when the screen was opened."""
        super().__init__()
        self._report = report

    def compose(self) -> ComposeResult:
        """A summary line and the list."""
        report = self._report
        total = report.context_tokens
        share = report.used_tokens / total if total else 0.0
        room = f" of {count(total)} · {share:.0%}".replace("%", " %") if total else ""
        with Vertical(id="report"):
            yield Static(
                Content.assemble(
                    ("What the model reads", "bold $primary"),
                    f"   {bar(share, 16)} {count(report.used_tokens)} tokens{room}",
                ),
                markup=False,
            )
            yield OptionList(
                *(Option(_row(row)) for row in report.rows), id="rows", markup=False, compact=True
            )
            yield Static(
                Content.styled("✓ read word for word   – folded, only in memory   Esc closes", "$quiet"),
                markup=False,
            )

    def on_mount(self) -> None:
        """Begin at the newest row."""
        rows = self.query_one("#rows", OptionList)
        rows.highlighted = max(0, rows.option_count - 1)


def _row(row: ContextRow) -> Content:
    mark = "✓ " if row.kept else "– "
    tokens = f"{count(row.tokens):>8}"
    style = "" if row.kept else "$quiet"
    return Content.styled(f"{mark}{cells(row.label, _LABEL_CELLS)}{tokens}", style)
