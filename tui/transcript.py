"""The conversation on the screen: a window of live messages over a path that may be thousands long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.layout import DockArrangeResult
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from rolekit.chat.tree import Node
from rolekit.text import sanitize
from rolekit.tui.facts import Left
from rolekit.tui.help import HelpText
from rolekit.tui.turn import Turn

LIVE_TURNS = 60
"""More widgets than this make scrolling and resizing slow."""
FIRST_TURNS = 24
PAGE_TURNS = 16
FRAME_SECONDS = 1 / 16
"""Drawing costs about 15 ms, and the model needs the processor too."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: the name above the message, and which of a room's roles it is, by number."""

    name: str
    seat: int = 0


class Fold(Static):
    """The line between what the model still reads word for word and what it does not."""

    def __init__(self, turns: int) -> None:
        """turns: how many are folded into memory above the line."""
        super().__init__("", markup=False)
        self.turns = turns

    def on_mount(self) -> None:
        """Say how much was folded."""
        noun = "turn" if self.turns == 1 else "turns"
        self.update(f"── {self.turns} earlier {noun} folded into memory ──")


class Transcript(VerticalScroll):
    """Shows the active path. Follows the newest message while the reader is at the bottom."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "Message above", show=False),
        Binding("down,j", "choose(1)", "Message below", show=False),
        Binding("home", "first", "Oldest", show=False),
        Binding("end", "follow", "Newest", show=False),
        Binding("e", "act('edit')", "Edit", show=False),
        Binding("r,ctrl+r", "act('regenerate')", "Answer again", show=False),
        Binding("left", "act('before')", "Version before", show=False),
        Binding("right", "act('after')", "Version after", show=False),
        Binding("p", "act('pin')", "Pin", show=False),
        Binding("d", "act('delete')", "Delete", show=False),
        Binding("y", "act('copy')", "Copy", show=False),
        Binding("escape", "leave", "Back to the composer", show=False),
    ]
    help_text = HelpText(
        "The conversation",
        "Everything that was said, the newest at the bottom. A version that was replaced is never lost.",
        (
            ("↑ ↓", "choose a message"),
            ("PgUp PgDn Home End", "scroll; End follows the newest again"),
            ("← →", "look at other versions of the chosen message"),
            ("e", "edit it (the old wording stays as a version)"),
            ("r", "answer again from here"),
            ("p", "pin it: it is never folded out of the context"),
            ("d", "delete it; /undo brings it back"),
            ("y", "copy its text"),
            ("Esc", "back to the composer"),
        ),
    )

    @dataclass
    class Acted(Message):
        """Something is to be done with a message."""

        action: str
        node: Node

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._messages: list[Node] = []
        self._first = 0
        self._voice_of: Callable[[Node], Voice] = lambda node: Voice("")
        self._fold: tuple[int, int] | None = None
        self._reply: Turn | None = None
        self._heard: list[str] = []
        self._frame: Timer | None = None
        self._keep: tuple[Turn, int] | None = None
        self._following = True
        self._change = asyncio.Lock()
        self._chosen: Turn | None = None

    @property
    def turns(self) -> list[Turn]:
        """The live messages, oldest first."""
        return [child for child in self.children if isinstance(child, Turn)]

    @property
    def _last(self) -> int:
        return self._first + len([turn for turn in self.turns if turn is not self._reply])

    async def show(self, nodes: Sequence[Node], voice_of: Callable[[Node], Voice]) -> None:
        """Show another conversation, at its end."""
        self._drop_frame()
        self._voice_of, self._fold, self._reply, self._chosen = voice_of, None, None, None
        async with self._change:
            self._messages = list(nodes)
            await self._mount_window(max(0, len(nodes) - FIRST_TURNS))
        self._follow_on()

    async def sync(self, nodes: Sequence[Node]) -> None:
        """Show the path as it is now, touching only what has changed."""
        async with self._change:
            await self._sync(nodes)
        if self.has_focus and self._chosen is None and self.turns:
            self._choose(self.turns[-1])

    async def _sync(self, nodes: Sequence[Node]) -> None:
        live = [turn for turn in self.turns if turn is not self._reply]
        at_end = self._first + len(live) >= len(self._messages)
        self._messages = list(nodes)
        self._first = min(self._first, max(0, len(nodes) - 1))
        wanted = (
            self._messages[self._first :] if at_end else self._messages[self._first : self._first + len(live)]
        )
        same = 0
        for turn, node in zip(live, wanted, strict=False):
            if turn.node is None or turn.node.id != node.id:
                break
            same += 1
        with self.app.batch_update():
            await self._remove(live[same:])
            for turn, node in zip(live, wanted[:same], strict=False):
                if turn.node != node:
                    await turn.show(node)
            fresh = wanted[same:][-FIRST_TURNS:]
            if len(fresh) < len(wanted) - same:
                await self._remove(live[:same])
                self._first = len(nodes) - len(fresh)
            await self.mount_all(map(self._turn, fresh), before=self._reply)
            await self._trim_top()
            await self._place_fold()

    async def set_fold(self, turns: int, before: int) -> None:
        """Draw the fold line above the message with id before; 0 turns take it away."""
        self._fold = (turns, before) if turns else None
        await self._place_fold()

    async def begin_reply(self, voice: Voice) -> None:
        """Put a growing reply at the bottom and follow it; one that has said nothing yet makes room for it."""
        if self._reply is not None:
            await self.end_reply(None)
        await self.follow()
        self._reply = Turn("assistant", voice.name, seat=voice.seat)
        await self.mount(self._reply)
        await self._trim_top()

    async def continue_reply(self) -> None:
        """Let the last message grow on."""
        await self.follow()
        self._reply = self.turns[-1]
        self._heard = [sanitize(self._reply.text)]
        await self._reply.begin_stream()

    def hear(self, text: str) -> None:
        """Take the next piece of the growing reply; it is drawn a few times a second."""
        self._heard.append(sanitize(text))
        if self._frame is None:
            self._frame = self.set_timer(FRAME_SECONDS, self._draw)

    async def end_reply(self, node: Node | None) -> None:
        """The reply has become node; None: nothing came of it."""
        self._drop_frame()
        reply, self._reply = self._reply, None
        if reply is None:
            return
        if node is not None:
            await reply.show(node)
            if self.has_focus:
                self._choose(reply)
        elif reply.node is not None:
            await reply.show(reply.node)
        else:
            await reply.remove()

    async def follow(self) -> None:
        """Go to the newest message and stay there."""
        if self._last < len(self._messages) and self._reply is None:
            async with self._change:
                await self._mount_window(max(0, len(self._messages) - FIRST_TURNS))
        self._follow_on()

    async def move(self, where: str) -> None:
        """Go where facts.Scrolled says."""
        match where:
            case "page_up":
                self.scroll_page_up(animate=False)
            case "page_down":
                self.scroll_page_down(animate=False)
            case "home":
                await self.action_first()
            case _:
                await self.follow()

    @property
    def following(self) -> bool:
        """Whether the newest text is kept in view."""
        return self._following

    def _follow_on(self) -> None:
        self._following = True
        self.refresh(layout=True)
        self.call_after_refresh(self._release)

    async def _mount_window(self, first: int) -> None:
        """Throw the live messages away and put others there, from first on."""
        self._first = first
        with self.app.batch_update():
            await self.remove_children()
            await self.mount_all(map(self._turn, self._messages[first : first + FIRST_TURNS]))
            await self._place_fold()

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """The layout, scrolled so that the end, or else what the reader is reading, stays in view.

        Done here because the scroll offset is read right after: no frame shows the wrong place.
        """
        result = super().arrange(size, optimal)
        if optimal:
            return result
        if self._keep is not None:
            turn, offset = self._keep
            for placement in result.placements:
                if placement.widget is turn:
                    self._place(placement.region.y - offset)
        elif self._following:
            self._place(result.spatial_map.total_region.bottom - size.height)
        return result

    def _place(self, top: int) -> None:
        self.set_reactive(Widget.scroll_y, float(max(0, top)))
        self.set_reactive(Widget.scroll_target_y, float(max(0, top)))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Bring in more messages where the reader is about to run out of them."""
        super().watch_scroll_y(old_value, new_value)
        if self._keep is not None or not self._messages:
            return
        complete = self._last >= len(self._messages)
        self._following = complete and new_value >= self.max_scroll_y
        if new_value < old_value and new_value < self.size.height and self._first > 0:
            self._page_older()
        elif new_value > old_value and not complete and new_value > self.max_scroll_y - self.size.height:
            self._page_newer()

    @work(group="page")
    async def _page_older(self) -> None:
        async with self._change:
            begin = max(0, self._first - PAGE_TURNS)
            fresh, self._first = self._messages[begin : self._first], begin
            self._hold()
            with self.app.batch_update():
                await self.mount_all(map(self._turn, fresh), before=self.turns[0])
                if self._reply is None:
                    await self._remove(self.turns[LIVE_TURNS:])
                await self._place_fold()
        self.call_after_refresh(self._release)

    @work(group="page")
    async def _page_newer(self) -> None:
        async with self._change:
            begin = self._last
            fresh = self._messages[begin : begin + PAGE_TURNS]
            self._hold()
            with self.app.batch_update():
                await self.mount_all(map(self._turn, fresh), before=self._reply)
                await self._trim_top()
                await self._place_fold()
        self.call_after_refresh(self._release)

    def _hold(self) -> None:
        """Keep the topmost visible message where it is through the next layout."""
        top = self.scroll_offset.y
        visible = [turn for turn in self.turns if turn.virtual_region.bottom > top]
        if visible:
            self._keep = (visible[0], visible[0].virtual_region.y - top)

    def _release(self) -> None:
        """Once the layout is done: scroll freely again, and let the scrollbar know."""
        self._keep = None
        self.vertical_scrollbar.position = self.scroll_y

    def _turn(self, node: Node) -> Turn:
        voice = self._voice_of(node)
        return Turn(node.speaker, voice.name, node, seat=voice.seat)

    async def _remove(self, turns: Sequence[Turn]) -> None:
        if self._chosen in turns:
            self._chosen = None
        if turns:
            await self.remove_children(turns)

    async def _trim_top(self) -> None:
        surplus = self.turns[: max(0, len(self.turns) - LIVE_TURNS)]
        self._first += len(surplus)
        await self._remove(surplus)

    async def _place_fold(self) -> None:
        await self.query(Fold).remove()
        if self._fold is None:
            return
        turns, before = self._fold
        for turn in self.turns:
            if turn.node is not None and turn.node.id == before:
                await self.mount(Fold(turns), before=turn)

    def _draw(self) -> None:
        self._frame = None
        if self._reply is not None:
            self._reply.stream("".join(self._heard))

    def _drop_frame(self) -> None:
        self._heard.clear()
        if self._frame is not None:
            self._frame.stop()
            self._frame = None

    def on_focus(self, event: events.Focus) -> None:
        """Begin with the newest message chosen."""
        if self._chosen is None and self.turns:
            self._choose(self.turns[-1])

    def on_blur(self, event: events.Blur) -> None:
        """No message is chosen any more."""
        self._choose(None)

    def _choose(self, turn: Turn | None) -> None:
        if self._chosen is not None:
            self._chosen.remove_class("-chosen")
        self._chosen = turn
        if turn is not None:
            turn.add_class("-chosen")
            self.scroll_to_widget(turn, animate=False)

    def on_click(self, event: events.Click) -> None:
        """Choose the message that was clicked."""
        for widget in event.widget.ancestors_with_self if event.widget else ():
            if isinstance(widget, Turn):
                self._choose(widget)

    def action_choose(self, step: int) -> None:
        """Choose the message above or below."""
        turns = self.turns
        if not turns:
            return
        here = turns.index(self._chosen) if self._chosen in turns else len(turns)
        self._choose(turns[min(max(here + step, 0), len(turns) - 1)])

    def action_act(self, action: str) -> None:
        """Ask for something to be done with the chosen message."""
        if self._chosen is not None and self._chosen.node is not None:
            self.post_message(self.Acted(action, self._chosen.node))

    async def action_first(self) -> None:
        """Go to the oldest message."""
        self._following = False
        if self._first > 0 and self._reply is None:
            async with self._change:
                await self._mount_window(0)
        self.scroll_home(animate=False)

    async def action_follow(self) -> None:
        """Go to the newest message."""
        await self.follow()

    def action_leave(self) -> None:
        """Go back to the composer."""
        self.post_message(Left())
