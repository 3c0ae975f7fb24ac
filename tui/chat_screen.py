"""F3: one conversation. What is typed goes to the session, what comes back grows in the transcript."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.worker import Worker

from rolekit.chat.session import Session
from rolekit.chat.slash import literal, parse
from rolekit.chat.state import Persona
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.errors import RolekitError
from rolekit.messages import Backend
from rolekit.roles.role import Role
from rolekit.text import count, one_line, size
from rolekit.tui import facts
from rolekit.tui.answering import Answering
from rolekit.tui.ask import AskScreen
from rolekit.tui.commands import act_on, run_command
from rolekit.tui.compose_box import LIST_KEYS, READING_KEYS, SEARCH_KEYS, ComposeBox
from rolekit.tui.composer import LONGEST_MESSAGE
from rolekit.tui.drafts import Drafts
from rolekit.tui.memory_panel import MemoryPanel
from rolekit.tui.model import Model
from rolekit.tui.room_line import RoomLine
from rolekit.tui.safe import sentence
from rolekit.tui.sessions import Sessions
from rolekit.tui.stage import Stage
from rolekit.tui.status import Notice, StatusLine, TitleLine
from rolekit.tui.transcript import Transcript, Voice
from rolekit.tui.welcome import Welcome, openers


class ChatScreen(Screen[None]):
    """The conversation, the composer and what is around them."""

    AUTO_FOCUS = "Composer"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "escape", "Stop", show=False),
        Binding("ctrl+r", "regenerate", "Answer again", show=False),
        Binding("ctrl+b", "sessions", "Conversations", show=False),
        Binding("ctrl+n", "next", "Let somebody speak", show=False),
    ]

    def __init__(self, store: Store, drafts: Drafts, model: Model) -> None:
        """Shows nothing until open() gives it a session; drafts: unsent text of all conversations."""
        super().__init__()
        self.session: Session | None = None
        self.role: Role | None = None
        self.store = store
        self._model = model
        self.transcript = Transcript(id="transcript")
        self.box = ComposeBox(drafts, self.show_error)
        self._status = StatusLine()
        self._stage = Stage(self.transcript, self._status, self.box, self.say)
        self._answering = Answering(self, model, self._stage)

    def compose(self) -> ComposeResult:
        """Title, transcript and conversations, notice, composer, keys, figures."""
        yield TitleLine()
        yield RoomLine()
        with Horizontal(id="middle"):
            yield self.transcript
            yield Sessions(self._conversations)
        yield Notice()
        yield self.box
        yield self._status

    def on_mount(self) -> None:
        """Begin empty: somebody has to be chosen first."""
        self.box.composer.invite("F2 chooses somebody to talk to")
        self.query_one(Sessions).show("", "")
        self.show_model()

    @property
    def replying(self) -> bool:
        """Whether a reply is on its way."""
        return self._answering.running

    @property
    def model_label(self) -> str:
        """The short name of the model that answers."""
        return self._model.label

    @property
    def role_name(self) -> str:
        """Who one talks to, safe to print; in a room everybody."""
        if self.session is not None and self.session.room is not None:
            return one_line(self.session.room.title, 60)
        return one_line(self.role.name, 40) if self.role else "rolekit"

    def say(self, text: str, *, serious: bool = False) -> None:
        """Put a sentence above the composer; an empty one clears it."""
        self.query_one(Notice).say(one_line(text, 400), serious=serious)

    def show_error(self, error: RolekitError, next_step: str = "") -> None:
        """Put what happened and what to do next above the composer."""
        self.say(f"{sentence(error)}{f' · {next_step}' if next_step else ''}", serious=True)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """What goes wrong within is shown above the composer."""
        try:
            yield
        except RolekitError as error:
            self.show_error(error)

    def _conversations(self, words: str) -> list[ConversationInfo]:
        with self.reporting():
            return self.store.conversations(search=words)
        return []

    async def open(self, session: Session, role: Role) -> None:
        """Show a conversation; what was being answered in the one before is stopped and kept."""
        await self.settle()
        self.session, self.role = session, role
        await self.transcript.show(session.path, self._voices(session))
        self.say(" ".join(session.notices))
        self._status.stats = session.last_stats
        self.box.open(session.id, f"Say something to {self.role_name}")
        await self._stage.show_fold(session)
        await self._show_around()
        self.show_model()
        self.box.composer.focus()

    @staticmethod
    def _voices(session: Session) -> Callable[[Node], Voice]:
        seats = {seat.slug: number for number, seat in enumerate(session.seats)} if session.room else {}
        user = session.state.persona.name or session.conversation.user
        return lambda node: Voice(
            user if node.speaker == "user" else session.name_of(node), seats.get(node.slug, 0)
        )

    def show_model(self) -> None:
        """Say how it stands with the model."""
        model = self._model
        self._status.doing = model.label if model.loading else ""
        if model.backend is not None:
            self._status.context_tokens = model.backend.context_tokens
            with self.reporting():
                self.take_backend(model.backend)
        if model.error is not None and model.backend is None:
            self.show_error(model.error, "Ctrl+R tries again")
            self._status.doing = "no model"
        elif model.error is not None:
            self.show_error(model.error, f"{model.label} stays")
        self._show_title()

    def take_backend(self, backend: Backend) -> None:
        """Let the model that is loaded answer from here on."""
        if self.session is not None and self.session.backend is not backend:
            self.session.set_backend(backend)

    async def sync(self) -> None:
        """Show the conversation as it now is."""
        if self.session is not None:
            await self.transcript.sync(self.session.path)
            await self._show_around()

    async def _show_around(self) -> None:
        session, role = self.session, self.role
        if session is None or role is None:
            return
        empty = not any(node.speaker == "user" for node in session.path)
        texts = openers(role) if empty else ()
        self.box.composer.openers = len(texts)
        await self.transcript.query(Welcome).remove()
        if texts:
            await self.transcript.mount(Welcome(texts))
        self.query_one(Sessions).show(session.id, session.slug)
        self.query_one(MemoryPanel).show(session)
        self.query_one(RoomLine).show(session)
        self._show_title()

    def _show_title(self) -> None:
        title = self.query_one(TitleLine)
        title.left = self.role_name
        seed = f" · seed {self.session.seed}" if self.session is not None else ""
        title.right = f"{self._model.label}{seed}"

    @on(facts.Submitted)
    async def _submitted(self, event: facts.Submitted) -> None:
        if self.box.editing is not None:
            await self._reworded(self.box.editing, event.text)
            return
        with self.reporting():
            command = parse(event.text)
            if command is not None:
                self.box.sent(event.text)
                try:
                    await run_command(self, command.name, command.argument)
                except RolekitError:
                    self.box.give_back(event.text)
                    raise
            elif self.session is None:
                self.say("Choose somebody to talk to first: F2.")
            else:
                self.send(literal(event.text), typed=event.text)

    async def run(self, name: str, argument: str = "") -> None:
        """Carry out a command; what goes wrong is shown."""
        with self.reporting():
            await run_command(self, name, argument)

    def send(self, text: str, typed: str = "") -> None:
        """Say text to the role; typed is how it stands in the composer."""
        if self.session is not None:
            self._answering.send(self.session, text, typed)

    def regenerate(self, node: Node | None = None) -> None:
        """Ask for another answer: the last one, or the one in place of node (to it, if the user said it)."""
        if self.session is not None:
            self._answering.regenerate(self.session, node)

    def next(self, who: str = "") -> None:
        """In a room: let somebody speak, by name or whose turn it is."""
        if self.session is not None:
            self._answering.next(self.session, who)

    def continue_last(self) -> None:
        """Let the last answer go on."""
        if self.session is not None:
            self._answering.continue_last(self.session)

    def be(self, session: Session, persona: Persona) -> None:
        """Be somebody else in this chat from the next message on."""
        if self._answering.may_change():
            with self.reporting():
                session.set_persona(persona)
                self.say(f"You are {one_line(session.user, 60)} from the next message on.")
                self.call_later(self._renamed, session)

    async def _renamed(self, session: Session) -> None:
        if self.session is session:
            await self.transcript.show(session.path, self._voices(session))
            await self._stage.show_fold(session)
            await self._show_around()

    @on(Worker.StateChanged)
    def _settled(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "reply" and event.worker.is_finished:
            self._answering.ended()

    async def settle(self) -> None:
        """Stop the reply that is on its way, keep what came, and wait until it is saved."""
        await self._answering.settle()

    def stop(self) -> None:
        """End the reply that is on its way; what came is kept."""
        self._answering.stop()

    def action_escape(self) -> None:
        """Stop the reply, or leave editing, or clear the notice."""
        if self.replying:
            self.stop()
        elif self.box.editing is not None:
            self.box.end_edit()
            self.say("")
        else:
            self.say("")
            self._left()

    def action_regenerate(self) -> None:
        """Answer again; where the model is missing, load it again."""
        if self._model.error is not None and self._model.backend is None:
            self.post_message(facts.ModelWanted())
        else:
            self.regenerate()

    def action_next(self) -> None:
        """In a room: let whoever is next speak."""
        self.next()

    def action_sessions(self) -> None:
        """Show or fold the conversations."""
        if self.query_one(Sessions).display:
            self.set_class(self.has_class("-wide"), "-folded")
            self._left()
        else:
            self.remove_class("-folded")
            self.add_class("-sessions")
            self.query_one("#find").focus()

    def on_descendant_focus(self) -> None:
        """Show the keys of what has the focus."""
        keys = {"transcript": READING_KEYS, "find": SEARCH_KEYS, "conversations": LIST_KEYS}
        self.box.show_keys(keys.get(self.focused.id or "") if self.focused else None)

    @on(facts.Left)
    def _left(self) -> None:
        self.remove_class("-sessions")
        self.box.composer.focus()

    @on(facts.Scrolled)
    async def _scrolled(self, event: facts.Scrolled) -> None:
        await self.transcript.move(event.where)

    @on(facts.Swiped)
    async def _swiped(self, event: facts.Swiped) -> None:
        await self.swipe(event.step)

    async def swipe(self, step: int, node: Node | None = None) -> None:
        """Show another version; one past the last answer asks for a new one."""
        if self.session is None or not self._answering.may_change() or not self.session.path:
            return
        with self.reporting():
            if self.session.swipe(step, node.id if node else None):
                await self.sync()
            elif step > 0 and node is None and self.session.path[-1].speaker == "assistant":
                self.regenerate()

    @on(facts.EditAsked)
    def _edit_last(self) -> None:
        said = [node for node in self.session.path if node.speaker == "user"] if self.session else []
        if said:
            self.begin_edit(said[-1])

    def begin_edit(self, node: Node) -> None:
        """Put a message into the composer to be reworded."""
        if self._answering.may_change():
            self.box.edit(node)
            self.say("Editing what you said." if node.speaker == "user" else "Editing the answer.")

    async def _reworded(self, node: Node, text: str) -> None:
        if self.session is None or not self._answering.may_change():
            return
        with self.reporting():
            fresh = self.session.edit(node.id, text)
            self.box.end_edit()
            self.say("")
            await self.sync()
            if fresh.speaker == "user" and fresh.id != node.id:
                self.regenerate(fresh)

    @on(Transcript.Acted)
    async def _acted(self, event: Transcript.Acted) -> None:
        if self._answering.may_change():
            with self.reporting():
                await act_on(self, event.node, event.action)

    @on(facts.OpenerChosen)
    def _opener_chosen(self, event: facts.OpenerChosen) -> None:
        texts = openers(self.role) if self.role is not None else ()
        if event.number < len(texts):
            self.send(texts[event.number])

    @on(facts.PasteRefused)
    def _paste_refused(self, event: facts.PasteRefused) -> None:
        self.say(
            f"That paste is {size(event.characters)} long; a message takes at most {count(LONGEST_MESSAGE)} "
            "characters. Nothing was pasted.",
            serious=True,
        )

    @on(Sessions.RenameAsked)
    def _rename_asked(self, event: Sessions.RenameAsked) -> None:
        self.ask_title(event.info)

    @work(group="ask", exclusive=True)
    async def ask_title(self, info: ConversationInfo) -> None:
        """Ask for another title and give it."""
        title = await self.app.push_screen_wait(AskScreen("What shall this chat be called?", info.title))
        if title:
            with self.reporting():
                self.store.rename(info.id, title)
                await self.sync()
