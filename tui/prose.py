"""A finished reply, dressed: the Markdown that characters use, as a few blocks of styled text.

Line breaks count, HTML is shown as it was written, nothing is dropped. Tables stay as typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.content import Content

from rolekit.tui.safe import plain

Kind = Literal["prose", "heading", "quote", "item", "code", "rule"]

_STYLES = {"em": "italic $foreground 85%", "strong": "bold", "s": "strike"}
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A run of text that is set in one way."""

    kind: Kind
    content: Content
    depth: int = 0
    marker: str = ""
    """The bullet or number of an item."""


def blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text; plain paragraphs that follow one another are one block."""
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(
        ["html_block", "html_inline", "reference", "autolink", "image", "link", "entity", "lheading", "code"]
    )
    parser.enable("strikethrough")
    clean = plain(text)
    return _merged(_blocks(parser.parse(clean))) or [Block("prose", Content(clean))]


def _blocks(tokens: list[Token]) -> list[Block]:
    found: list[Block] = []
    lists: list[list[str | int]] = []
    quotes = 0
    heading = False
    marker = ""
    for token in tokens:
        match token.type:
            case "bullet_list_open":
                lists.append(["•"])
            case "ordered_list_open":
                lists.append([int(token.attrGet("start") or 1)])
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
            case "list_item_open":
                marker = _next_marker(lists[-1])
            case "blockquote_open":
                quotes += 1
            case "blockquote_close":
                quotes -= 1
            case "heading_open" | "heading_close":
                heading = token.type == "heading_open"
            case "hr":
                found.append(Block("rule", Content("* * *")))
            case "fence" | "code_block":
                found.append(Block("code", Content(token.content.rstrip("\n")), len(lists)))
            case "inline":
                kind: Kind = "heading" if heading else "item" if lists else "quote" if quotes else "prose"
                depth = min(max(0, len(lists) - 1) + (quotes if lists else 0), _DEEPEST)
                found.append(Block(kind, _inline(token.children or []), depth, marker))
                marker = ""
    return found


def _next_marker(counter: list[str | int]) -> str:
    current = counter[0]
    if isinstance(current, int):
        counter[0] = current + 1
        return f"{current}."
    return current


def _inline(tokens: list[Token]) -> Content:
    parts: list[Content] = []
    open_styles: list[str] = []
    for token in tokens:
        name = token.type.removesuffix("_open").removesuffix("_close")
        if token.type in ("softbreak", "hardbreak"):
            parts.append(Content("\n"))
        elif token.type == "code_inline":
            parts.append(Content.styled(token.content, "bold $quiet"))
        elif token.type.endswith("_open"):
            open_styles.append(_STYLES.get(name, ""))
        elif token.type.endswith("_close"):
            open_styles.pop()
        elif token.content:
            piece = Content(token.content)
            for style in open_styles:
                piece = piece.stylize(style) if style else piece
            parts.append(piece)
    return Content("").join(parts)


def _merged(found: list[Block]) -> list[Block]:
    merged: list[Block] = []
    for block in found:
        last = merged[-1] if merged else None
        if last and block.kind in ("prose", "quote") and last.kind == block.kind:
            merged[-1] = Block(block.kind, Content("\n\n").join([last.content, block.content]))
        else:
            merged.append(block)
    return merged
