"""One message in the transcript: who speaks, what they say, and a few small marks."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rolekit.chat.tree import Node
from rolekit.messages import Speaker
from rolekit.tui.prose import Block, blocks
from rolekit.tui.safe import cells, content, line

_CURSOR = "▌"


class Head(Widget):
    """The line above a message: the speaker, marks, and the versions at the right."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._speaker_name = name
        self._marks = ""
        self._versions = ""

    def show(self, marks: str, versions: str) -> None:
        """Replace what stands beside the name."""
        if (marks, versions) != (self._marks, self._versions):
            self._marks, self._versions = marks, versions
            self.refresh()

    def render(self) -> Content:
        """Name and marks at the left, versions at the right."""
        left = Content.assemble(line(self._speaker_name, "bold"), (self._marks, "$quiet"))
        gap = self.size.width - left.cell_length - cell_len(self._versions)
        return left + Content(" " * max(1, gap)) + Content.styled(self._versions, "$primary")


class Turn(Vertical):
    """A message. While it streams it is plain text that grows; once it is done it is set properly."""

    def __init__(self, speaker: Speaker, name: str, node: Node | None = None, *, seat: int = 0) -> None:
        """node: None for a reply that is to stream; seat: the role's place in a room, for its colour."""
        super().__init__(classes=f"-{speaker} -seat{seat}" if speaker == "assistant" else f"-{speaker}")
        self.speaker = speaker
        self.node = node
        self._head = Head(name)
        self._text = node.text if node else ""
        self._streaming = node is None

    @property
    def text(self) -> str:
        """What is said, as it was said (not cleaned)."""
        return self._text

    def compose(self) -> ComposeResult:
        """The head and the body."""
        yield self._head
        if self._streaming:
            yield Static(_CURSOR, classes="prose", markup=False)
        else:
            yield from _widgets(self._blocks())
        self._mark()

    def stream(self, text: str) -> None:
        """Show text as what has come so far, plainly."""
        self._text = text
        body = self.query_one(".prose", Static)
        body.update(content(text) + Content.styled(_CURSOR, "$primary"))

    async def begin_stream(self) -> None:
        """Go on streaming behind a finished text."""
        self._streaming = True
        await self._set_body([Block("prose", content(self._text))])
        self.stream(self._text)

    async def show(self, node: Node) -> None:
        """Show node, finished."""
        same = not self._streaming and node.text == self._text
        self.node, self._text, self._streaming = node, node.text, False
        self._mark()
        if not same:
            await self._set_body(self._blocks())

    def _blocks(self) -> list[Block]:
        return blocks(self._text) if self.speaker == "assistant" else [Block("prose", content(self._text))]

    async def _set_body(self, found: list[Block]) -> None:
        body = self.query(".block, .prose")
        if (
            len(body) == 1
            and len(found) == 1
            and found[0].kind == "prose"
            and isinstance(body.first(), Static)
        ):
            body.first(Static).update(found[0].content)
            return
        with self.app.batch_update():
            await body.remove()
            await self.mount_all(_widgets(found))

    def _mark(self) -> None:
        node = self.node
        if node is None:
            self._head.show("", "")
            return
        words = [
            word
            for word, wanted in (
                ("edited", node.edited),
                ("stopped", node.state == "stopped"),
                ("cut at the length limit", node.stop_reason == "length"),
                ("stopped by moderation", node.stop_reason == "moderated"),
                ("pinned", node.pinned),
            )
            if wanted
        ]
        versions = f"‹ {node.version} of {node.versions} ›" if node.versions > 1 else ""
        self._head.show("".join(f" · {word}" for word in words), versions)


def _widgets(found: list[Block]) -> Iterator[Widget]:
    """The blocks as widgets, a blank line between them except within a list."""
    before: Block | None = None
    for block in found:
        widget = _widget(block)
        widget.set_class(before is not None and (block.kind, before.kind) != ("item", "item"), "-spaced")
        yield widget
        before = block


def _widget(block: Block) -> Widget:
    if block.kind == "prose":
        return Static(block.content, classes="prose", markup=False)
    if block.kind != "item":
        return Static(block.content, classes=f"block -{block.kind}", markup=False)
    bullet = Static(cells(block.marker, max(2, cell_len(block.marker) + 1)), classes="bullet", markup=False)
    item = Horizontal(bullet, Static(block.content, classes="item", markup=False), classes="block -item")
    item.styles.padding = (0, 0, 0, 2 * block.depth)
    return item
