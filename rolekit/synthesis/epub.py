"""EPUB: a zip archive whose spine names its documents in reading order. Any archive is a stranger's: all is bounded."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from rolekit.errors import RolekitError
from rolekit.synthesis.decoding import decode
from rolekit.synthesis.markup import block_lines, tags
from rolekit.text import one_line, size

MAX_ARCHIVE_BYTES = 512 << 20
MAX_DOCUMENT_BYTES = 8 << 20
MAX_WORDS_BYTES = 64 << 20
MAX_FILES = 10_000
_MAX_DIRECTORY_BYTES = 4 << 20
_MAX_RATIO = 200
_SMALL_BYTES = 1 << 20
_ADVICE = "Do not use it, or get the book again from where it comes from."


def read_epub(path: Path, source: str) -> list[tuple[str, list[tuple[int, str]]]]:
    """The documents of a book in reading order: the name in the archive, and its paragraphs with their lines.

    Nothing is unpacked to disk and nothing outside the archive is opened. Raises RolekitError when it is no EPUB, is
    damaged or encrypted, or unpacks to more than it should.
    """
    try:
        _check_size(path, source)
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_FILES:
                raise RolekitError(f"{source} has more than {MAX_FILES} files in it.", _ADVICE)
            book = _Book(archive, source)
            return [(name, block_lines(book.text(name))) for name in book.spine()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise RolekitError(
            f"{source} cannot be read as an EPUB ({one_line(what, 100)}).", "Get the file again."
        ) from error


def _check_size(path: Path, source: str) -> None:
    """Refuse what zipfile would choke on: the directory at the end makes an object of each of a million names."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        if end > MAX_ARCHIVE_BYTES:
            raise RolekitError(f"{source} is larger than {size(MAX_ARCHIVE_BYTES)}.", _ADVICE)
        file.seek(max(0, end - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at >= 0 and int.from_bytes(tail[at + 12 : at + 16], "little") > _MAX_DIRECTORY_BYTES:
        raise RolekitError(f"{source} has a list of files that is far too long.", _ADVICE)


class _Book:
    """An open archive, and how many bytes of words it may still give."""

    def __init__(self, archive: zipfile.ZipFile, source: str) -> None:
        self._archive, self._source = archive, source
        self._infos = {info.filename: info for info in archive.infolist()}
        self._left = MAX_WORDS_BYTES

    def spine(self) -> list[str]:
        """The names of the documents, in reading order, each once."""
        container = self.text("META-INF/container.xml")
        package = next((a.get("full-path", "") for name, a in tags(container) if name == "rootfile"), "")
        if package not in self._infos:
            raise RolekitError(f"{self._source} does not say where its book begins.", _ADVICE)
        hrefs: dict[str, str] = {}
        order: list[str] = []
        for name, attributes in tags(self.text(package)):
            if name == "item" and "html" in attributes.get("media-type", ""):
                hrefs[attributes.get("id", "")] = attributes.get("href", "")
            elif name == "itemref" and attributes.get("linear") != "no":
                order.append(attributes.get("idref", ""))
        names = [_inside(package, hrefs[ref]) for ref in order if ref in hrefs]
        names = [name for name in dict.fromkeys(names) if name]
        if missing := [name for name in names if name not in self._infos]:
            raise RolekitError(
                f"{self._source} names documents that are not in it: {', '.join(map(one_line, missing[:5]))}.",
                _ADVICE,
            )
        if not names:
            raise RolekitError(f"{self._source} has no documents to read.", _ADVICE)
        return names

    def text(self, name: str) -> str:
        """One file's text, never more than it may have."""
        info = self._infos.get(name)
        shown = f"{self._source}!{one_line(name, 100)}"
        if info is None:
            raise RolekitError(f"{self._source} is no EPUB: it has no {one_line(name, 100)}.", _ADVICE)
        if info.flag_bits & 1:
            raise RolekitError(f"{shown} is encrypted.", "Use a copy without copy protection.")
        limit = min(MAX_DOCUMENT_BYTES, self._left)
        ratio = info.file_size / max(info.compress_size, 1)
        if info.file_size > limit or (info.file_size > _SMALL_BYTES and ratio > _MAX_RATIO):
            raise RolekitError(f"{shown} unpacks to {size(info.file_size)}.", _ADVICE)
        try:
            with self._archive.open(info) as file:
                data = file.read(limit + 1)
        except (RuntimeError, zlib.error, EOFError) as error:
            raise RolekitError(f"{shown} is damaged ({one_line(str(error), 80)}).", _ADVICE) from error
        if len(data) > limit:
            raise RolekitError(f"{shown} is longer than it says.", _ADVICE)
        self._left -= len(data)
        return decode(data, shown)


def _inside(package: str, href: str) -> str:
    """The archive's name for what a package document calls href; empty where that leads out of the archive."""
    parts: list[str] = []
    target = unquote(href.partition("#")[0])
    if not target or ":" in target or target.startswith(("/", "\\")):
        return ""
    for part in (PurePosixPath(package).parent / target).parts:
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
