"""Words out of XHTML and HTML, in one pass that no input can slow down; nothing is fetched and no entity declared.

There is no XML parser here: a DTD is skipped like any other mark, so it can neither expand nor open anything.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

_MARK = re.compile(
    r"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<!DOCTYPE[^\[>]*(?:\[.*?(?:\]\s*>|\Z)|>|\Z)"
    r"|<[/?!]?[A-Za-z][^<>]{0,20000}>",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"</?\s*(?:[\w-]+:)?([A-Za-z][\w-]*)")
_ATTRIBUTE = re.compile(r"(?<![\w:.-])([\w:.-]++)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')")
_BLOCKS = {
    "p", "div", "br", "hr", "li", "ul", "ol", "dl", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6", "tr", "table",
    "blockquote", "section", "article", "body", "html", "pre", "figure", "header", "footer", "nav", "aside", "title",
}  # fmt: skip
_HIDDEN = {"script", "style", "head", "svg", "math", "template"}
_HEADINGS = {f"h{n}": "#" * n + " " for n in range(1, 7)}


def tags(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every opening tag with its attributes, namespaces cut off, names in lower case."""
    for mark in _MARK.finditer(text):
        found = _TAG.match(mark[0])
        if found and not mark[0].startswith("</"):
            pairs = _ATTRIBUTE.finditer(mark[0])
            yield found[1].lower(), {p[1].lower(): html.unescape(p[2] or p[3] or "") for p in pairs}


def block_lines(text: str) -> list[tuple[int, str]]:
    """The paragraphs of a document with the line each begins on, an empty one between; headings begin with #."""
    blocks: list[tuple[int, str]] = []
    pieces: list[str] = []
    heading, start, line, at, hidden = "", 0, 1, 0, ""

    def flush() -> None:
        nonlocal heading, start
        words = " ".join(html.unescape("".join(pieces)).split())
        if words:
            blocks.extend([(start, heading + words), (start, "")])
        pieces.clear()
        heading, start = "", 0

    for mark in [*_MARK.finditer(text), None]:
        end = mark.start() if mark else len(text)
        words = text[at:end]
        if words.strip() and not hidden:
            start = start or line + _newlines_before(words)
        if not hidden:
            pieces.append(words)
        line += words.count("\n")
        if mark is None:
            break
        at = mark.end()
        line += mark[0].count("\n")
        name = found[1].lower() if (found := _TAG.match(mark[0])) else ""
        closing = mark[0].startswith("</")
        if mark[0].startswith("<![CDATA[") and not hidden:
            pieces.append(html.escape(mark[0][9:].removesuffix("]]>")))
            start = start or line
        elif hidden:
            hidden = "" if closing and name == hidden else hidden
        elif name in _HIDDEN and not closing and not mark[0].endswith("/>"):
            hidden = name
        elif name in _BLOCKS:
            flush()
            heading = "" if closing else _HEADINGS.get(name, "- " if name == "li" else "")
    flush()
    return blocks


def _newlines_before(words: str) -> int:
    """How many lines down the first word stands."""
    return words[: len(words) - len(words.lstrip())].count("\n")


def plain_line(line: str) -> str:
    """One line without tags and with its entities read: subtitles carry <i> and {\\an8}."""
    return html.unescape(re.sub(r"</?[A-Za-z][^<>]{0,200}>|\{\\[^{}]{0,200}\}", "", line))
