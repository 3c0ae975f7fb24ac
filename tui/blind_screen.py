"""Blind A/B: one question, two anonymous answers, one key. Who is who is told at the end."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from rolekit.errors import RolekitError
from rolekit.rolebench.preferences import BlindSession, bradley_terry
from rolekit.tui.help import HelpText
from rolekit.tui.safe import content, line, sentence
from rolekit.tui.status import Hints, TitleLine, bar

_KEYS = (
    ("1", "first"),
    ("2", "second"),
    ("0", "neither"),
    ("u", "take back"),
    ("Esc", "leave, goes on later"),
    ("F1", "help"),
)


class BlindScreen(Screen[None]):
    """Which of two answers plays the role better?"""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "choose(1)", "First", show=False),
        Binding("2", "choose(2)", "Second", show=False),
        Binding("0", "choose(0)", "Neither", show=False),
        Binding("u", "undo", "Take back", show=False),
        Binding("escape", "leave", "Leave", show=False),
    ]
    help_text = HelpText(
        "Blind A/B",
        "Two answers to the same question; nobody says whose they are. Every choice is saved at once.",
        (
            ("1 2", "the first, the second answer plays the role better"),
            ("0", "neither does"),
            ("u", "take the last choice back"),
            ("Esc", "leave; the same two runs go on where you stopped"),
        ),
    )

    def __init__(self, session: BlindSession) -> None:
        """session: the pairs in their blind order; choices are kept in its file as they are made."""
        super().__init__()
        self._session = session

    def compose(self) -> ComposeResult:
        """The question, the two answers, the keys."""
        yield TitleLine()
        yield Static(id="asked", markup=False)
        with Container(id="answers"):
            with VerticalScroll(classes="answer", can_focus=False):
                yield Static(id="first", markup=False)
            with VerticalScroll(classes="answer", can_focus=False):
                yield Static(id="second", markup=False)
        yield Hints()

    def on_mount(self) -> None:
        """Show the first open comparison."""
        self.query_one(TitleLine).left = "Blind A/B"
        self.query_one(Hints).keys = _KEYS
        self._show()

    def _show(self) -> None:
        session = self._session
        total, blind = len(session.blinds), session.current
        asked, first, second = (self.query_one(f"#{name}", Static) for name in ("asked", "first", "second"))
        drawn = bar(session.place / max(1, total), 12)
        self.query_one(TitleLine).right = f"{drawn} {session.place} of {total}"
        self.set_class(blind is None, "-done")
        if blind is None:
            asked.update(summary(session))
            first.update("")
            second.update("")
            return
        record = blind.comparison.record
        asked.update(
            Content.assemble(line(record.role, "bold $primary", 60), "\n", content(record.question.strip()))
        )
        for number, (widget, text) in enumerate(zip((first, second), blind.texts, strict=True), start=1):
            widget.update(Content.assemble((f"{number}\n", "bold"), content(text.strip() or "(empty)")))

    def action_choose(self, choice: int) -> None:
        """Decide, and go to the next."""
        try:
            self._session.choose(choice)
        except RolekitError as error:
            self.notify(sentence(error), severity="error", markup=False)
        self._show()

    def action_undo(self) -> None:
        """Take the last choice back."""
        if not self._session.undo():
            self.notify("Nothing has been chosen yet.", markup=False)
        self._show()

    def action_leave(self) -> None:
        """Back to the bench."""
        self.app.pop_screen()


def summary(session: BlindSession) -> Content:
    """Who is who, at the end: the chance of being preferred, with its interval."""
    parts: list[Content | str] = [Content.styled("All decided.\n\n", "bold $primary")]
    for one in bradley_terry(session.outcomes()):
        parts += [
            line(f"{one.system}", "bold", 40),
            f"\n  preferred {one.share:.0%}, 95 % interval {one.low:.0%} to {one.high:.0%}   {bar(one.share, 16)}\n",
            Content.styled(f"  won {one.wins}, neither {one.ties}, lost {one.losses}\n\n", "$quiet"),
        ]
    parts.append(
        Content.styled(
            "Bradley-Terry, a tie is half a win for each; resampled by role. Your eyes, one desk.", "$quiet"
        )
    )
    return Content.assemble(*parts)
