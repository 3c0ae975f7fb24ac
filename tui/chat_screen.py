"""F3: one conversation. What is typed goes to the session, what comes back grows in the transcript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static, TextArea

from rolekit.chat.events import Finished, Folded, SessionEvent, UserSaved
from rolekit.chat.memory import turns_of
from rolekit.chat.session import Session
from rolekit.chat.slash import literal, parse
from rolekit.chat.store import Store
from rolekit.chat.tree import ConversationInfo, Node
from rolekit.errors import RolekitError
from rolekit.messages import Piece, Progress, Speaker
from rolekit.roles.role import Role
from rolekit.text import count, one_line, sanitize, size
from rolekit.tui import facts
from rolekit.tui.ask import AskScreen
from rolekit.tui.commands import run_command
from rolekit.tui.composer import LONGEST_MESSAGE, Composer
from rolekit.tui.drafts import Drafts
from rolekit.tui.model import Model
from rolekit.tui.safe import sentence
from rolekit.tui.sessions import Sessions
from rolekit.tui.status import Hints, Notice, StatusLine, TitleLine
from rolekit.tui.transcript import Transcript
from rolekit.tui.welcome import Welcome, openers

Begin = Callable[[], AsyncGenerator[SessionEvent, None]]

_KEYS = (
    ("Enter", "send"), ("Esc", "stop"), ("^R", "again"), ("←→", "versions"), ("/", "commands"), ("F1", "help"),
    ("↑", "edit"), ("^J", "newline"), ("F2", "roles"), ("^B", "chats"),
)  # fmt: skip
_EDIT_KEYS = (("Enter", "keep as a new version"), ("Esc", "leave it as it was"), ("^J", "newline"))
_DRAFT_SECONDS = 0.5


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
        self._drafts = drafts
        self._model = model
        self._editing: Node | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._draft_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """Title, transcript and conversations, notice, composer, keys, figures."""
        yield TitleLine()
        with Horizontal(id="middle"):
            yield Transcript(id="transcript")
            yield Sessions(lambda text: self.store.conversations(search=text))
        yield Notice()
        with Vertical(id="compose"), Horizontal(id="line"):
            yield Static("›", id="prompt", markup=False)
            yield Composer(id="composer")
        yield Hints()
        yield StatusLine()

    def on_mount(self) -> None:
        """Begin empty: somebody has to be chosen first."""
        self.query_one(Hints).keys = _KEYS
        self.query_one(TitleLine).left = "rolekit"
        self.query_one(Composer).invite("F2 chooses somebody to talk to")
        self.show_model()

    @property
    def replying(self) -> bool:
        """Whether a reply is on its way."""
        return not self._idle.is_set()

    def say(self, text: str, *, serious: bool = False) -> None:
        """Put a sentence above the composer; an empty one clears it."""
        self.query_one(Notice).say(one_line(text, 400), serious=serious)

    def show_error(self, error: RolekitError, next_step: str = "") -> None:
        """Put what happened and what to do next above the composer."""
        self.say(f"{sentence(error)}{f' · {next_step}' if next_step else ''}", serious=True)

    async def open(self, session: Session, role: Role) -> None:
        """Show a conversation; what was being answered in the one before is stopped and kept."""
        await self.settle()
        self.keep_draft()
        self.session, self.role, self._editing = session, role, None
        names: dict[Speaker, str] = {
            "assistant": role.name,
            "user": session.conversation.user,
            "system": "Note",
        }
        await self.transcript.show(session.path, names)
        self.say("")
        self.query_one(StatusLine).stats = session.last_stats
        composer = self.query_one(Composer)
        composer.put(self._drafts.get(session.conversation.id))
        composer.invite(f"Say something to {one_line(role.name, 40)}")
        self._set_hints()
        await self._show_fold()
        await self._refresh_around()
        composer.focus()

    def show_model(self) -> None:
        """Say how it stands with the model."""
        model, status = self._model, self.query_one(StatusLine)
        status.doing = model.label if model.loading else ""
        if model.backend is not None:
            status.context_tokens = model.backend.context_tokens
            if self.session is not None and self.session.backend is not model.backend:
                self.session.set_backend(model.backend)
        if model.error is not None:
            self.show_error(model.error, "Ctrl+R tries again")
            status.doing = "no model"
        self._show_title()

    async def settle(self) -> None:
        """Stop the reply that is on its way, keep what came, and wait until it is saved."""
        self.stop()
        await self._idle.wait()

    def stop(self) -> None:
        """End the reply that is on its way; what came is kept."""
        if self.replying and self._model.loading:
            self.workers.cancel_group(self, "reply")
        elif self.session is not None and self.replying:
            self.session.stop()

    def keep_draft(self) -> None:
        """Put what is typed on disk."""
        if self.session is None or self._editing is not None:
            return
        try:
            self._drafts.put(self.session.conversation.id, self.query_one(Composer).text)
        except RolekitError as error:
            self.show_error(error)

    @property
    def model_label(self) -> str:
        """The short name of the model that answers."""
        return self._model.label

    @property
    def transcript(self) -> Transcript:
        """The messages."""
        return self.query_one(Transcript)

    # What happens to a message

    @on(facts.Submitted)
    async def _submitted(self, event: facts.Submitted) -> None:
        text = event.text
        if self._editing is not None:
            await self._edited(self._editing, text)
            return
        try:
            command = parse(text)
        except RolekitError as error:
            self.show_error(error)
            return
        if command is not None:
            self.query_one(Composer).put("")
            await self.run(command.name, command.argument)
        elif self.session is None:
            self.say("Choose somebody to talk to first: F2.")
        else:
            self.send(literal(text), typed=text)

    async def run(self, name: str, argument: str = "") -> None:
        """Carry out a command; what goes wrong is shown."""
        try:
            await run_command(self, name, argument)
        except RolekitError as error:
            self.show_error(error)

    def send(self, text: str, typed: str = "") -> None:
        """Say text to the role."""
        session = self.session
        if session is not None and self._may_reply():
            self._reply(lambda: session.say(text), typed)

    def regenerate(self, node: Node | None = None) -> None:
        """Ask for another answer: the last, or the one to or in place of node."""
        session = self.session
        if session is None or not self._may_reply():
            return
        path = session.path
        if not any(part.speaker == "user" for part in path):
            self.say("There is nothing to answer yet.")
            return
        target = node or path[-1]
        index = next((i for i, part in enumerate(path) if part.id == target.id), len(path) - 1)
        shown = path[: index + (target.speaker == "user")]
        node_id = target.id
        self._reply(lambda: session.regenerate(node_id), shown=shown)

    def continue_last(self) -> None:
        """Let the last answer go on."""
        session = self.session
        if session is not None and self._may_reply():
            if session.path and session.path[-1].speaker == "assistant":
                self._reply(session.continue_last, continuing=True)
            else:
                self.regenerate()

    def _may_reply(self) -> bool:
        if self.replying:
            self.say(f"{self._role_name} is still answering; Esc stops.")
        return not self.replying

    @property
    def _role_name(self) -> str:
        return one_line(self.role.name, 40) if self.role else "rolekit"

    @work(exclusive=True, group="reply")
    async def _reply(
        self, begin: Begin, typed: str = "", *, shown: list[Node] | None = None, continuing: bool = False
    ) -> None:
        session = self.session
        assert session is not None
        self._idle.clear()
        try:
            await self._receive(session, begin, typed, shown, continuing)
        except RolekitError as error:
            await self.transcript.end_reply(None)
            composer = self.query_one(Composer)
            if typed and not composer.text:
                composer.put(typed)
            self.show_error(error, "Enter sends it again" if typed else "")
        finally:
            self._idle.set()
        await self.sync()

    async def _receive(
        self, session: Session, begin: Begin, typed: str, shown: list[Node] | None, continuing: bool
    ) -> None:
        status = self.query_one(StatusLine)
        if self._model.loading:
            self.say("Your message goes out as soon as the model is loaded.")
        backend = await self._model.ready()
        if session.backend is not backend:
            session.set_backend(backend)
        self.say("")
        if shown is not None:
            await self.transcript.sync(shown)
        if continuing:
            await self.transcript.continue_reply()
        elif not typed:
            await self.transcript.begin_reply(self._role_name)
        status.doing = "reading …"
        try:
            async with aclosing(begin()) as events:
                async for event in events:
                    await self._take(event, typed)
        finally:
            status.doing, status.progress = "", None

    async def _take(self, event: SessionEvent, typed: str) -> None:
        status = self.query_one(StatusLine)
        match event:
            case UserSaved():
                await self._saved(event.node, typed)
            case Folded():
                await self._folded(event.turns)
            case Progress():
                status.progress = event
            case Piece():
                status.progress = None
                status.doing = f"{self._role_name} is writing · Esc stops"
                self.transcript.hear(event.text)
            case Finished():
                await self.transcript.end_reply(event.node)
                status.stats = event.reply.stats

    async def _saved(self, node: Node, typed: str) -> None:
        composer = self.query_one(Composer)
        if composer.text == typed:
            composer.put("")
            self.keep_draft()
        await self.query(Welcome).remove()
        composer.openers = 0
        assert self.session is not None
        await self.transcript.sync(self.session.path)
        if typed:
            await self.transcript.begin_reply(self._role_name)

    async def _folded(self, turns: int) -> None:
        noun = "turn" if turns == 1 else "turns"
        self.say(
            f"The context was full: {count(turns)} earlier {noun} folded into memory; /context shows it."
        )
        await self._show_fold()

    async def _show_fold(self) -> None:
        """Draw the line between folded and kept turns."""
        assert self.session is not None
        path, last = self.session.path, self.store.row(self.session.id)["fold_node"]
        index = next((i for i, node in enumerate(path) if node.id == last), -1)
        folded = [turn for turn in turns_of(path[: index + 1], "") if not turn.pinned]
        if index + 1 < len(path):
            await self.transcript.set_fold(len(folded), path[index + 1].id)

    async def sync(self) -> None:
        """Show the conversation as it now is."""
        if self.session is not None:
            await self.transcript.sync(self.session.path)
            await self._refresh_around()

    async def _refresh_around(self) -> None:
        session, role = self.session, self.role
        if session is None or role is None:
            return
        empty = not any(node.speaker == "user" for node in session.path)
        texts = openers(role) if empty else ()
        self.query_one(Composer).openers = len(texts)
        await self.query(Welcome).remove()
        if texts:
            await self.transcript.mount(Welcome(texts))
        self.query_one(Sessions).show(session.conversation.id, session.conversation.role_slug)
        self._show_title()

    def _show_title(self) -> None:
        title = self.query_one(TitleLine)
        title.left = self._role_name
        right = [self._model.label]
        if self.session is not None:
            right.append(f"seed {self.session.seed}")
        title.right = " · ".join(right)

    # Keys

    def action_escape(self) -> None:
        """Stop the reply, or leave editing, or clear the notice."""
        if self.replying:
            self.stop()
        elif self._editing is not None:
            self._end_edit()
        else:
            self.say("")
            self._fold_narrow()
            self.query_one(Composer).focus()

    async def action_regenerate(self) -> None:
        """Answer again; where the model is missing, load it again."""
        if self._model.error is not None and self._model.backend is None:
            self.post_message(facts.ModelWanted())
        else:
            self.regenerate()

    def action_sessions(self) -> None:
        """Show or fold the conversations."""
        sessions = self.query_one(Sessions)
        if sessions.display:
            self.set_class(self.has_class("-wide"), "-folded")
            self.remove_class("-sessions")
            self.query_one(Composer).focus()
        else:
            self.remove_class("-folded")
            self.add_class("-sessions")
            self.query_one("#find").focus()

    def _fold_narrow(self) -> None:
        self.remove_class("-sessions")

    @on(facts.Left)
    def _left(self) -> None:
        self._fold_narrow()
        self.query_one(Composer).focus()

    @on(facts.Scrolled)
    async def _scrolled(self, event: facts.Scrolled) -> None:
        transcript = self.transcript
        match event.where:
            case "page_up":
                transcript.scroll_page_up(animate=False)
            case "page_down":
                transcript.scroll_page_down(animate=False)
            case "home":
                await transcript.action_first()
            case _:
                await transcript.follow()

    @on(facts.Swiped)
    async def _swiped(self, event: facts.Swiped) -> None:
        await self.swipe(event.step)

    async def swipe(self, step: int, node: Node | None = None) -> None:
        """Show another version; one past the last answer asks for a new one."""
        if self.session is None or not self._may_reply():
            return
        if self.session.swipe(step, node.id if node else None):
            await self.sync()
        elif step > 0 and node is None and self.session.path and self.session.path[-1].speaker == "assistant":
            self.regenerate()

    @on(facts.EditAsked)
    def _edit_last(self) -> None:
        said = [node for node in self.session.path if node.speaker == "user"] if self.session else []
        if said and self._may_reply():
            self.begin_edit(said[-1])

    def begin_edit(self, node: Node) -> None:
        """Put a message into the composer to be reworded."""
        self.keep_draft()
        self._editing = node
        composer = self.query_one(Composer)
        composer.put(node.text)
        composer.focus()
        self.say(
            "Editing your message." if node.speaker == "user" else f"Editing what {self._role_name} said."
        )
        self._set_hints()

    def _end_edit(self) -> None:
        self._editing = None
        composer = self.query_one(Composer)
        composer.put(self._drafts.get(self.session.conversation.id) if self.session else "")
        self.say("")
        self._set_hints()

    def _set_hints(self) -> None:
        self.query_one(Hints).keys = _EDIT_KEYS if self._editing is not None else _KEYS

    async def _edited(self, node: Node, text: str) -> None:
        if self.session is None or not self._may_reply():
            return
        try:
            fresh = self.session.edit(node.id, text)
        except RolekitError as error:
            self.show_error(error)
            return
        self._end_edit()
        await self.sync()
        if fresh.speaker == "user":
            self.regenerate(fresh)

    @on(facts.OpenerChosen)
    def _opener_chosen(self, event: facts.OpenerChosen) -> None:
        if self.role is not None:
            texts = openers(self.role)
            if event.number < len(texts):
                self.send(texts[event.number], typed=texts[event.number])

    @on(facts.PasteRefused)
    def _paste_refused(self, event: facts.PasteRefused) -> None:
        self.say(
            f"That paste is {size(event.characters)} long; a message takes at most {count(LONGEST_MESSAGE)} "
            "characters. Nothing was pasted.",
            serious=True,
        )

    @on(TextArea.Changed)
    def _typed(self) -> None:
        if self._draft_timer is not None:
            self._draft_timer.stop()
        self._draft_timer = self.set_timer(_DRAFT_SECONDS, self.keep_draft)

    @on(Transcript.Acted)
    async def _acted(self, event: Transcript.Acted) -> None:
        if self.session is None or not self._may_reply():
            return
        node = event.node
        try:
            match event.action:
                case "edit":
                    self.begin_edit(node)
                case "regenerate":
                    self.regenerate(node)
                case "before" | "after":
                    await self.swipe(1 if event.action == "after" else -1, node)
                case "copy":
                    self.app.copy_to_clipboard(sanitize(node.text))
                    self.say("Copied.")
                case "pin":
                    self.session.pin(node.id, not node.pinned)
                    await self.sync()
                case _:
                    self.session.delete(node.id)
                    await self.sync()
                    self.say("Deleted; /undo brings it back.")
        except RolekitError as error:
            self.show_error(error)

    @on(Sessions.NewAsked)
    def _new_asked(self) -> None:
        if self.session is not None:
            self.post_message(facts.RoleChosen(self.session.slug, new=True))

    @on(Sessions.RenameAsked)
    def _rename_asked(self, event: Sessions.RenameAsked) -> None:
        self.ask_title(event.info)

    @work(group="ask", exclusive=True)
    async def ask_title(self, info: ConversationInfo) -> None:
        """Ask for another title and give it."""
        title = await self.app.push_screen_wait(AskScreen("What shall this chat be called?", info.title))
        if title:
            try:
                self.store.rename(info.id, title)
                await self.sync()
            except RolekitError as error:
                self.show_error(error)
