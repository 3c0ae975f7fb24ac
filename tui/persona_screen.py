"""Who the user is in this chat: the personas, one to pick, and a new one."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rolekit.chat.personas import load_personas, personas_file, save_persona
from rolekit.chat.state import Persona
from rolekit.errors import RolekitError
from rolekit.paths import write_text
from rolekit.tui.ask import AskScreen
from rolekit.tui.editing import open_editor
from rolekit.tui.help import HelpText
from rolekit.tui.safe import content, line, sentence

_TEMPLATE = '# The people you can be.\n\n[[personas]]\nname = "Mary"\ndescription = "{{user}} is a doctor."\n'


class PersonaScreen(ModalScreen[Persona | None]):
    """Gives the persona that was picked; Persona() is the user as such, None: nothing was picked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Leave it", show=False),
        Binding("n", "new", "New persona", show=False),
        Binding("e", "edit", "Edit the file", show=False),
    ]
    help_text = HelpText(
        "Personas",
        "A persona is who you are to the role: a name and what it should know of you. The chat remembers which.",
        (
            ("↑ ↓", "choose"),
            ("Enter", "be that person from the next message on"),
            ("n", "new persona"),
            ("e", "edit personas.toml in your editor"),
            ("Esc", "stay who you are"),
        ),
    )

    def __init__(self, current: Persona, user: str) -> None:
        """current: the one worn in this chat, marked in the list; user: the user's own name."""
        super().__init__()
        self._current, self._user = current, user
        self._personas: list[Persona] = []

    def compose(self) -> ComposeResult:
        """The list and the keys."""
        with Vertical(id="report"):
            yield Static(Content.styled("Who are you in this chat?", "bold $primary"), markup=False)
            yield OptionList(id="rows", markup=False)
            yield Static("", id="problem", markup=False)
            yield Static(
                Content.styled("Enter pick · n new · e edit · Esc stay · F1 help", "$quiet"), markup=False
            )

    def on_mount(self) -> None:
        """List them."""
        self._fill()
        self.query_one(OptionList).focus()

    def _fill(self, name: str = "") -> None:
        self.query_one("#problem", Static).update("")
        try:
            found = list(load_personas())
        except RolekitError as error:
            found = []
            self._complain(error)
        self._personas = [Persona(), *found]
        if self._current not in self._personas:  # a persona that came with the chat and is in no file
            self._personas.append(self._current)
        rows = self.query_one(OptionList)
        rows.clear_options()
        rows.add_options([Option(self._row(persona)) for persona in self._personas])
        names = [persona.name for persona in self._personas]
        rows.highlighted = names.index(name) if name in names else self._personas.index(self._current)

    def _row(self, persona: Persona) -> Content:
        mark = "› " if persona == self._current else "  "
        if not persona.name:
            return Content.assemble(
                (mark, "bold"), line(self._user, "bold", 40), ("  yourself, no persona", "dim")
            )
        about = persona.description or "no description"
        return Content.assemble((mark, "bold"), line(persona.name, "bold", 40), "  ", line(about, "dim", 200))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._personas[event.option_index])

    @work(group="ask", exclusive=True)
    async def action_new(self) -> None:
        """Ask for a name and a description, and keep them."""
        name = await self.app.push_screen_wait(AskScreen("What is the persona called?"))
        if not name:
            return
        about = await self.app.push_screen_wait(
            AskScreen(f"What should a role know about {name}? (may be empty)", limit=2000)
        )
        try:
            save_persona(Persona(name, about))
        except RolekitError as error:
            self._complain(error)
        else:
            self._fill(name)

    def action_edit(self) -> None:
        """Open personas.toml in the user's editor."""
        try:
            path = personas_file()
            if not path.exists():
                write_text(path, _TEMPLATE)
            open_editor(self.app, path)
            self._fill()
        except RolekitError as error:
            self._complain(error)

    def _complain(self, error: RolekitError) -> None:
        self.query_one("#problem", Static).update(content(sentence(error), "$error"))

    def action_leave(self) -> None:
        """Close without a choice."""
        self.dismiss(None)
