"""The lines around the conversation: title above, keys and figures below, and what went wrong."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from rolekit.messages import Progress, Stats
from rolekit.text import count
from rolekit.tui.safe import content, line

_WIDE = 100
_BAR_CELLS = 8


def bar(part: float, width: int = _BAR_CELLS) -> str:
    """A bar that shows a share between 0 and 1: ▓▓▓░░░░░."""
    full = round(min(max(part, 0.0), 1.0) * width)
    return "▓" * full + "░" * (width - full)


def figures(stats: Stats, context_tokens: int, width: int) -> str:
    """What a reply cost, as long as width allows: evaluated, reused, first token, speed, context."""
    writing = stats.seconds - stats.ttft_seconds
    parts = [f"evaluated {count(stats.evaluated_tokens)}", f"reused {count(stats.reused_tokens)}"]
    if stats.generated_tokens:
        parts.append(f"first token {seconds(stats.ttft_seconds)}")
    if stats.generated_tokens > 1 and writing > 0:
        parts.append(f"{(stats.generated_tokens - 1) / writing:.0f} tok/s")
    if context_tokens:
        used = (stats.prompt_tokens + stats.generated_tokens) / context_tokens
        drawn = f"{bar(used)} " if width >= _WIDE else ""
        parts.append(f"context {drawn}{used:.0%}".replace("%", " %"))
    while len(parts) > 1 and cell_len(" · ".join(parts)) > width:
        parts.pop(0)
    return " · ".join(parts)


def seconds(value: float) -> str:
    """A short span of time, two digits: 0.04 s, 0.38 s, 2.4 s, 31 s."""
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


class StatusLine(Widget):
    """One line: what the model is doing, or what its last reply cost."""

    doing: reactive[str] = reactive("")
    """Something in progress; while empty the figures of the last reply stand here."""
    progress: reactive[Progress | None] = reactive(None)
    stats: reactive[Stats | None] = reactive(None)
    context_tokens: reactive[int] = reactive(0)

    def render(self) -> Content:
        """The line at the present width."""
        width = max(1, self.size.width)
        if self.progress is not None and self.progress.done_tokens < self.progress.total_tokens:
            part = self.progress.done_tokens / max(1, self.progress.total_tokens)
            done, total = count(self.progress.done_tokens), count(self.progress.total_tokens)
            return Content(f"reading {bar(part)} {done} of {total} tokens")
        if self.doing:
            return line(self.doing, limit=width)
        if self.stats is not None:
            return Content(figures(self.stats, self.context_tokens, width))
        return Content("ready")


class TitleLine(Widget):
    """The rule at the top: who one talks to at the left, with which model at the right."""

    left: reactive[str] = reactive("")
    right: reactive[str] = reactive("")

    def render(self) -> Content:
        """Both texts and the rule between them."""
        width = self.size.width
        left, right = line(self.left, "bold"), line(self.right, "$quiet")
        room = width - left.cell_length - 4
        if right.cell_length > room:
            right = right.truncate(max(0, room), ellipsis=True)
        rule = width - left.cell_length - right.cell_length - 4
        return Content.assemble(left, " ", ("─" * max(1, rule), "$rule"), " ", right, " ", ("─", "$rule"))


BUSY = "is still answering; Esc stops."
"""How a notice ends that is out of date once the answer is there."""


class Notice(Widget):
    """What went wrong and what to do next, right above the composer. Empty: not there at all."""

    text: reactive[str] = reactive("", layout=True)
    serious: reactive[bool] = reactive(True)

    def say(self, text: str, *, serious: bool = False) -> None:
        """Show a sentence; an empty one takes the line away."""
        self.text, self.serious = text, serious
        self.set_class(bool(text), "-shown")
        self.set_class(serious, "-serious")

    def answered(self) -> None:
        """Take a sentence away that only held while the role was answering."""
        if self.text.endswith(BUSY):
            self.say("")

    def render(self) -> Content:
        """The sentence behind its sign."""
        return content(f"{'!' if self.serious else '·'} {self.text}")


class Hints(Widget):
    """The few keys that matter here, cut where the terminal ends."""

    keys: reactive[tuple[tuple[str, str], ...]] = reactive(())

    def render(self) -> Content:
        """As many keys as fit, never half of one."""
        shown: list[Content] = []
        used = 0
        for key, meaning in self.keys:
            piece = Content.assemble((key, "$foreground"), f" {meaning}")
            if used + piece.cell_length + 3 > self.size.width + 3:
                break
            used += piece.cell_length + 3
            shown.append(piece)
        return Content.styled(" · ", "$rule").join(shown)
