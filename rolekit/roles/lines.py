"""On which line of a TOML text each key and list item stands: tomllib does not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Where = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']++|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'"
    r"|\#[^\n]*+|\n|[\[\]{},=]|[^\s\"'\#\[\]{},=]++",
    re.DOTALL,
)

_QUOTE = re.compile("[\"']")


@dataclass(slots=True)
class _Frame:
    """A table or list that is still open at this point of the text."""

    path: Where
    index: int = -1
    """Position of the current item; -1 marks a table."""
    key: Where = ()
    in_value: bool = False


class _Scan:
    """One pass over the tokens of a text that tomllib has accepted; never recursive."""

    def __init__(self) -> None:
        self.lines: dict[Where, int] = {}
        self.frames = [_Frame(())]
        self.header: list[str] | None = None
        self.tables: dict[Where, int] = {}

    def read(self, text: str) -> Mapping[Where, int]:
        line = 1
        for match in _TOKEN.finditer(text):
            token = match.group()
            if token == "\n":
                self.end_of_line()
            elif not token.startswith("#"):
                self.take(token, line)
            line += token.count("\n")
        return self.lines

    def take(self, token: str, line: int) -> None:
        frame = self.frames[-1]
        if self.header is not None:
            self.take_header(token, line)
        elif frame.index >= 0:
            self.take_item(frame, token, line)
        elif frame.in_value:
            self.take_value(frame, token, frame.path + frame.key)
        elif token == "[" and not frame.key:
            self.header = [token]
        elif token == "=":
            frame.in_value = True
        elif token == "}":
            self.close()
        elif token != ",":
            frame.key += _parts(token)
            self.lines.setdefault(frame.path + frame.key, line)

    def take_header(self, token: str, line: int) -> None:
        assert self.header is not None
        self.header.append(token)
        if token != "]" or self.header.count("]") > 1:
            return
        path: Where = sum((_parts(part) for part in self.header if part not in "[]"), ())
        self.lines.setdefault(path, line)
        if self.header[:2] == ["[", "["]:
            number = self.tables[path] = self.tables.get(path, -1) + 1
            path += (number,)
            self.lines[path] = line
        self.frames = [_Frame(path)]

    def take_item(self, frame: _Frame, token: str, line: int) -> None:
        if token == ",":
            frame.index += 1
        elif token == "]":
            self.close()
        else:
            path = (*frame.path, frame.index)
            self.lines.setdefault(path, line)
            self.take_value(frame, token, path)

    def take_value(self, frame: _Frame, token: str, path: Where) -> None:
        if token == "[":
            self.frames.append(_Frame(path, index=0))
        elif token == "{":
            self.frames.append(_Frame(path))
        elif frame.index < 0 and token == ",":
            frame.key, frame.in_value = (), False
        elif frame.index < 0 and token == "}":
            self.close()

    def close(self) -> None:
        if len(self.frames) > 1:
            self.frames.pop()

    def end_of_line(self) -> None:
        self.header = None
        if len(self.frames) == 1:
            self.frames[0].key, self.frames[0].in_value = (), False


def _parts(token: str) -> Where:
    if token[0] in "\"'":
        return (token.strip("\"'"),)
    return tuple(part for part in token.split(".") if part)


def key_lines(text: str) -> Mapping[Where, int]:
    """The line (from 1) of every key, table and list item: ("name",), ("facts", 2), ("examples", 0, "user").

    text must be TOML that tomllib accepts; keys with escapes in their quotes are found under their raw spelling.
    """
    return _Scan().read(text)


def open_quote(text: str) -> int | None:
    """The line of the first quote that is never closed; None where all are. text need not be TOML."""
    at = 0
    for match in _TOKEN.finditer(text):
        if _QUOTE.search(text, at, match.start()):
            break
        at = match.end()
    quote = _QUOTE.search(text, at)
    return text.count("\n", 0, quote.start()) + 1 if quote else None


def line_of(lines: Mapping[Where, int], where: Where) -> int:
    """The line of a place, or of the nearest thing around it; 1 where nothing is known."""
    for length in range(len(where), 0, -1):
        if (line := lines.get(where[:length])) is not None:
            return line
    return 1
