"""Bytes to text, strictly: UTF-8, UTF-16 or GB18030, or the lines that are none of them."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.text import one_line, size

MAX_BYTES = 64 << 20
"""A novel has one or two MiB; nothing anybody has in mind is larger than this."""
_MOST_SHOWN = 20
_BINARY = {
    b"%PDF": "a PDF", b"PK\x03\x04": "a zip archive (a .docx?)", b"\xd0\xcf\x11\xe0": "an old Word file",
    b"{\\rtf": "an RTF file", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture",
}  # fmt: skip
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HAN = re.compile(r"[\u00b7\u2010-\u2027\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
_HAN_RUN = re.compile(r"[\u00b7\u2010-\u2027\u3000-\u303f\u3400-\u9fff\uff00-\uffef]{2,}")


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file of at most limit. Raises RolekitError where there is no such file or it is too large."""
    shown = one_line(str(path), 300)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RolekitError(f"{shown} cannot be read ({one_line(reason)}).", "Check its name.") from error
    if len(data) > limit:
        raise RolekitError(f"{shown} is larger than {size(limit)}.", "Cut it into parts, and name them all.")
    return data


def decode(data: bytes, source: str) -> str:
    """The text of data, line ends as newlines.

    A byte order mark decides; else it is UTF-8, else UTF-16 by its zero bytes, else GB18030 where that gives running
    Chinese. Raises RolekitError naming every line (source:line) that is none of these, or what kind of file it is.
    """
    for head, what in _BINARY.items():
        if data.startswith(head):
            raise RolekitError(f"{source} is {what}, not text.", "Save it as .txt (UTF-8) or .epub.")
    encoding, skip = _encoding(data, source)
    text = _strictly(data[skip:], encoding, source)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise RolekitError(
            f"{source}:{line}: a zero byte; this is not a text file.", "Save it as .txt (UTF-8)."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(data: bytes, source: str) -> tuple[str, int]:
    """The encoding that fits, and the length of the mark in front."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name, len(mark)
    sample = data[: 1 << 16]
    if sample.count(0) > len(sample) // 50:
        even, odd = sample[::2].count(0), sample[1::2].count(0)
        if max(even, odd) > 20 * min(even, odd):
            return ("utf-16-le" if odd > even else "utf-16-be"), 0
    utf8 = _bad_lines(data, "utf-8")
    if not utf8:
        return "utf-8", 0
    gb18030 = _bad_lines(data, "gb18030")
    if not gb18030 and _is_running_chinese(data.decode("gb18030")):
        return "gb18030", 0
    lines_beyond_ascii = sum(not line.isascii() for line in data.split(b"\n"))
    if gb18030 and len(gb18030) < len(utf8) and len(gb18030) * 10 < lines_beyond_ascii:
        raise _unreadable(source, gb18030, "it is GB18030 but for")
    if len(utf8) * 2 < lines_beyond_ascii:
        raise _unreadable(source, utf8, "it is UTF-8 but for")
    raise _unreadable(source, utf8, "it is neither UTF-8 nor UTF-16 nor GB18030, by")


def _bad_lines(data: bytes, encoding: str) -> list[int]:
    """The numbers of the lines that are not in the encoding. Neither uses the byte of a newline within a character."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        pass
    else:
        return []
    bad: list[int] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            bad.append(number)
    return bad


def _is_running_chinese(text: str) -> bool:
    """Whether characters beyond ASCII are Chinese, in runs: Latin-1 read as GB18030 gives single ones in words."""
    beyond = sum(not char.isascii() for char in text)
    return len("".join(_HAN_RUN.findall(text))) >= 0.8 * beyond and len(_HAN.findall(text)) >= 0.9 * beyond


def _strictly(data: bytes, encoding: str, source: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-16"):
            line = data[: error.start].decode(encoding, "replace").count("\n") + 1
            raise RolekitError(
                f"{source}:{line}: not UTF-16 ({error.reason}).", "Save it as UTF-8."
            ) from error
        raise _unreadable(source, _bad_lines(data, encoding), "it is UTF-8 but for") from error


def _unreadable(source: str, lines: list[int], but_for: str) -> RolekitError:
    shown = ", ".join(f"{source}:{number}" for number in lines[:_MOST_SHOWN])
    more = f" and {len(lines) - _MOST_SHOWN} more" if len(lines) > _MOST_SHOWN else ""
    return RolekitError(
        f"{source} cannot be read: {but_for} {shown}{more}.",
        "Mend these lines, or save the file as UTF-8 (`iconv -f OLD -t UTF-8`).",
    )
