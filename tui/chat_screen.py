"""F3: one conversation. What is typed goes to the session, what comes back grows in the transcript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.worker import Worker

from rolekit.chat.events import SessionEvent
from rolekit.chat.session import Session
from rolekit.chat.slash import literal, parse
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.errors import RolekitError
from rolekit.messages import Backend, Speaker
from rolekit.roles.role import Role
from rolekit.text import count, one_line, size
from rolekit.tui import facts
from rolekit.tui.ask import AskScreen
from rolekit.tui.commands import act_on, run_command
from rolekit.tui.compose_box import LIST_KEYS, READING_KEYS, SEARCH_KEYS, ComposeBox
from rolekit.tui.composer import LONGEST_MESSAGE
from rolekit.tui.drafts import Drafts
from rolekit.tui.model import Model
from rolekit.tui.safe import sentence
from rolekit.tui.sessions import Sessions
from rolekit.tui.stage import Stage
from rolekit.tui.status import BUSY, Notice, StatusLine, TitleLine
from rolekit.tui.transcript import Transcript
from rolekit.tui.welcome import Welcome, openers

Begin = Callable[[], AsyncGenerator[SessionEvent, None]]


class ChatScreen(Screen[None]):
    """The conversation, the composer and what is around them."""

    AUTO_FOCUS = "Composer"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "escape", "Stop", show=False),
        Binding("ctrl+r", "regenerate", "Answer again", show=False),
        Binding("ctrl+b", "sessions", "Conversations", show=False),
    ]

    def __init__(self, store: Store, drafts: Drafts, model: Model) -> None:
        super().__init__()
        self.session: Session | None = None
        self.role: Role | None = None
        self.store = store
        self._model = model
        self._idle = asyncio.Event()
        self._idle.set()
        self.transcript = Transcript(id="transcript")
        self.box = ComposeBox(drafts, self.show_error)
        self._status = StatusLine()
        self._stage = Stage(self.transcript, self._status, self.box, self.say)

    def compose(self) -> ComposeResult:
        """Title, transcript and conversations, notice, composer, keys, figures."""
        yield TitleLine()
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
        return not self._idle.is_set()

    @property
    def model_label(self) -> str:
        """The short name of the model that answers."""
        return self._model.label

    @property
    def role_name(self) -> str:
        """Who one talks to, safe to print."""
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
        names: dict[Speaker, str] = {"assistant": role.name, "user": session.user, "system": "Note"}
        await self.transcript.show(session.path, names)
        self.say("")
        self._status.stats = session.last_stats
        self.box.open(session.id, f"Say something to {self.role_name}")
        await self._stage.show_fold(session)
        await self._show_around()
        self.show_model()
        self.box.composer.focus()

    def show_model(self) -> None:
        """Say how it stands with the model."""
        model = self._model
        self._status.doing = model.label if model.loading else ""
        if model.backend is not None:
            self._status.context_tokens = model.backend.context_tokens
            with self.reporting():
                self._take_backend(model.backend)
        if model.error is not None and model.backend is None:
            self.show_error(model.error, "Ctrl+R tries again")
            self._status.doing = "no model"
        elif model.error is not None:
            self.show_error(model.error, f"{model.label} stays")
        self._show_title()

    def _take_backend(self, backend: Backend) -> None:
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
        session = self.session
        if session is not None and self._may_change():
            self._reply(lambda: session.say(text), typed or text)

    def regenerate(self, node: Node | None = None) -> None:
        """Ask for another answer: the last one, or the one in place of node (to it, if the user said it)."""
        session = self.session
        if session is None or not self._may_change():
            return
        path = session.path
        if not any(part.speaker == "user" for part in path):
            self.say("There is nothing to answer yet.")
            return
        target = node or path[-1]
        index = next((i for i, part in enumerate(path) if part.id == target.id), len(path) - 1)
        shown = path[: index + (target.speaker == "user")]
        self._reply(lambda: session.regenerate(target.id), shown=shown)

    def continue_last(self) -> None:
        """Let the last answer go on."""
        session = self.session
        if session is None or not self._may_change():
            return
        if session.path and session.path[-1].speaker == "assistant":
            self._reply(session.continue_last, continuing=True)
        else:
            self.regenerate()

    def _may_change(self) -> bool:
        if self.replying:
            self.say(f"{self.role_name} {BUSY}")
        return not self.replying

    def _reply(
        self, begin: Begin, typed: str = "", *, shown: list[Node] | None = None, continuing: bool = False
    ) -> None:
        self._idle.clear()
        self._stage.stopping = False
        self._receive(begin, typed, shown, continuing)

    @work(exclusive=True, group="reply")
    async def _receive(self, begin: Begin, typed: str, shown: list[Node] | None, continuing: bool) -> None:
        session = self.session
        assert session is not None
        try:
            await self._load_first()
            if shown is not None:
                await self.transcript.sync(shown)
                await self.transcript.begin_reply(self.role_name)
            elif continuing:
                await self.transcript.continue_reply()
            else:
                await self.transcript.query(Welcome).remove()
                self.box.composer.openers = 0
            await self._stage.play(session, begin(), name=self.role_name, typed=typed)
        except RolekitError as error:
            await self.transcript.end_reply(None)
            self.box.give_back(typed)
            self.show_error(error, "Enter sends it again" if typed else "")
        with self.reporting():
            await self.sync()

    async def _load_first(self) -> None:
        if self._model.loading:
            self.say("This goes out as soon as the model is loaded.")
        self._take_backend(await self._model.ready())
        self.say("")

    @on(Worker.StateChanged)
    def _settled(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "reply" and event.worker.is_finished:
            self._idle.set()
            self.query_one(Notice).answered()

    async def settle(self) -> None:
        """Stop the reply that is on its way, keep what came, and wait until it is saved."""
        self.stop()
        await self._idle.wait()

    def stop(self) -> None:
        """End the reply that is on its way; what came is kept."""
        if self.replying and self._model.loading:
            self.workers.cancel_group(self, "reply")
        elif self.session is not None and self.replying:
            self._stage.stopping = True
            self.session.stop()

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
        if self.session is None or not self._may_change() or not self.session.path:
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
        if self._may_change():
            self.box.edit(node)
            self.say("Editing what you said." if node.speaker == "user" else "Editing the answer.")

    async def _reworded(self, node: Node, text: str) -> None:
        if self.session is None or not self._may_change():
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
        if self._may_change():
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
