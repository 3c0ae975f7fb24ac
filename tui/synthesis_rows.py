"""The rows of a synthesis run, newest first, as far as a filter lets them through; the keys of the audit."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from rolekit.synthesis.rows import Candidate
from rolekit.text import count
from rolekit.tui import synthesis_view as view
from rolekit.tui.help import HelpText
from rolekit.tui.synthesis_folder import SynthesisFolder

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

    def __init__(self) -> None:
        super().__init__(id="synth-rows", markup=False, compact=True)
        self._filter = "all"
        self._listed: dict[str, Candidate] = {}

    @property
    def any_listed(self) -> bool:
        """Whether there is a row to look at."""
        return bool(self._listed)

    @property
    def row(self) -> Candidate | None:
        """The highlighted row."""
        if self.highlighted is None or not self._listed:
            return None
        return self._listed.get(self.get_option_at_index(self.highlighted).id or "")

    def behind(self, row: Candidate) -> str:
        """The id of the row that follows a listed one; its own where it is the last."""
        ids = list(self._listed)
        return ids[min(ids.index(row.id) + 1, len(ids) - 1)]

    def turn_filter(self, run: SynthesisFolder | None, way: int) -> None:
        """Let other rows through from the next list_again on: by verdict, then by each reason that occurs."""
        known = [*_FILTERS, *(run.reasons if run else ())]
        at = known.index(self._filter) if self._filter in known else 0
        self._filter = known[(at + way) % len(known)]

    def list_again(self, run: SynthesisFolder | None, highlight: str | None = None) -> str:
        """List the rows anew; what they are and how many, as a title.

        The highlight stays on its row, or goes to the one whose id is given; where it is gone, to its place.
        """
        rows, at = self._let_through(run), self.highlighted
        before = highlight or (self.get_option_at_index(at).id if at is not None else None)
        known = run.decisions.by_id if run else {}
        self._listed = {row.id: row for row in rows[:_MOST_ROWS]}
        self.clear_options()
        self.add_options(
            [Option(view.row_line(row, decided=row.id in known), id=row.id) for row in self._listed.values()]
        )
        if before in self._listed:
            self.highlighted = list(self._listed).index(before)
        elif self._listed:
            self.highlighted = min(at or 0, len(self._listed) - 1)
        shown = f"the newest {_MOST_ROWS} of " if len(rows) > _MOST_ROWS else ""
        return f"{self._filter}: {shown}{count(len(rows))} rows"

    def _let_through(self, run: SynthesisFolder | None) -> list[Candidate]:
        if run is None:
            return []
        wanted, rows = self._filter, reversed(run.decided)
        if wanted in ("held", "accepted", "rejected"):
            return [row for row in rows if row.verdict == wanted]
        if wanted == "decided":
            return [row for row in rows if row.id in run.decisions.by_id]
        return [row for row in rows if wanted in ("all", row.reason)]
