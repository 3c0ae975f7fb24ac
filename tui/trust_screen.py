"""The trust sheet: what a stranger's card would put into prompts, before it is taken in."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from rolekit.roles.cards.importing import Prospect
from rolekit.tui.help import HelpText
from rolekit.tui.safe import content, line


class TrustScreen(ModalScreen[bool]):
    """Shows a card's trust sheet; Enter takes the card in, Esc leaves it where it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "decide(True)", "Import", show=False),
        Binding("escape,n,q", "decide(False)", "Leave it", show=False),
    ]
    help_text = HelpText(
        "A card from outside",
        "This is all that the card would say to the model, and where it points. Nothing was fetched or run.",
        (
            ("Enter", "import it: the card becomes a role of yours, the original stays beside it"),
            ("Esc", "leave it"),
            ("↑ ↓", "scroll"),
        ),
    )

    def __init__(self, prospect: Prospect) -> None:
        """prospect: a card that was read and not yet taken in."""
        super().__init__()
        self._prospect = prospect

    def compose(self) -> ComposeResult:
        """What it is, the sheet, and the two ways out."""
        prospect = self._prospect
        with Vertical(id="report"):
            yield Static(line(f"Import {prospect.role.name}?", "bold $primary"), markup=False)
            yield Static(line(prospect.file.name, "$quiet", 200), markup=False)
            with VerticalScroll(id="lines"):
                yield Static(content("\n".join(prospect.lines)), markup=False)
                yield Static(content(_summary(prospect), "$quiet"), classes="lead", markup=False)
            replaces = "Enter replaces the role you have" if prospect.taken else "Enter imports"
            yield Static(Content.styled(f"{replaces} · Esc leaves it · F1 help", "$quiet"), markup=False)

    def on_mount(self) -> None:
        """Let the keys scroll at once."""
        self.query_one("#lines").focus()

    def action_decide(self, wanted: bool) -> None:
        """Close with the decision."""
        self.dismiss(wanted)


def _summary(prospect: Prospect) -> str:
    """What the sheet leaves unsaid where it is short."""
    sheet = prospect.sheet
    speaks = sheet.system_prompt or sheet.post_history or sheet.depth_prompt
    rows = [] if speaks else ["It gives the model no instructions of its own."]
    if not sheet.links:
        rows.append("It points to no address.")
    return "\n".join(rows)
