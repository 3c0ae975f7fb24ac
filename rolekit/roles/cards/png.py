"""PNG and APNG files as chunks: the texts are read, the pixels are only copied."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rolekit.errors import RolekitError
from rolekit.roles.cards.card import MAX_ASSET_BYTES, MAX_CARD_BYTES
from rolekit.text import size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MAX_CHUNKS = 200_000
_MAX_TEXT_CHUNK = MAX_ASSET_BYTES * 4 // 3 + 4096
"""An embedded file in base64 is the largest text there is."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's kind, and where its data stands in the file."""

    kind: bytes
    offset: int
    length: int


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Every chunk of an open PNG, also behind IEND; stops where the file is cut off. Only headers are read."""
    file.seek(0, 2)
    end = file.tell()
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or not header[4:].isalpha():
            return
        length = int.from_bytes(header[:4], "big")
        if length > end - position - 8:
            return
        yield Chunk(header[4:], position + 8, length)
        position += length + 12


def text_keyword(file: BinaryIO, chunk: Chunk) -> str:
    """The keyword of a text chunk, as written; empty for other chunks."""
    if chunk.kind not in _TEXTS:
        return ""
    file.seek(chunk.offset)
    head = file.read(min(chunk.length, 512))
    name, separator, _ = head.partition(b"\0")
    return name.decode("latin-1") if separator else ""


def text_value(file: BinaryIO, chunk: Chunk, limit: int = MAX_CARD_BYTES * 4 // 3 + 4096) -> bytes:
    """The text of a text chunk, inflated where it is compressed.

    Raises RolekitError when it is longer than limit, or the compressed data are damaged.
    """
    if chunk.length > min(limit, _MAX_TEXT_CHUNK):
        raise RolekitError(
            f"A text in this picture has {size(chunk.length)}; {size(limit)} is the limit.",
            "Make the card smaller, or export it again from the program that made it.",
        )
    file.seek(chunk.offset)
    data = file.read(chunk.length).partition(b"\0")[2]
    if chunk.kind == b"tEXt":
        return data
    if chunk.kind == b"zTXt":
        return _inflated(data[1:], limit)
    compressed, rest = data[:1] == b"\1", data[2:]
    text = rest.partition(b"\0")[2].partition(b"\0")[2]
    return _inflated(text, limit) if compressed else text


def _inflated(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, limit)
    except zlib.error as error:
        raise RolekitError(
            "A compressed text in this picture is damaged.",
            "Get the file again, or another copy of the card.",
        ) from error
    if inflater.unconsumed_tail:
        raise RolekitError(
            f"A compressed text in this picture is longer than {size(limit)} when unpacked.",
            "This is no ordinary card; do not use it.",
        )
    return text


def text_chunk(keyword: str, text: bytes) -> bytes:
    """A whole tEXt chunk: length, kind, keyword, text, CRC."""
    data = keyword.encode("latin-1") + b"\0" + text
    body = b"tEXt" + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def copy_with_texts(source: BinaryIO, target: BinaryIO, drop: Iterable[str], texts: Iterable[bytes]) -> None:
    """Copy a PNG, leaving out text chunks whose lower-cased keyword is in drop, with texts put in front of IEND.

    A keyword in drop that ends with `*` stands for all that begin so. What lies behind IEND is left out.
    """
    exact = {name for name in drop if not name.endswith("*")}
    starts = tuple(name[:-1] for name in drop if name.endswith("*"))
    target.write(SIGNATURE)
    for chunk in chunks(source):
        if chunk.kind == b"IEND":
            break
        keyword = text_keyword(source, chunk).lower()
        if keyword and (keyword in exact or (starts and keyword.startswith(starts))):
            continue
        _copy(source, target, chunk)
    target.writelines(texts)
    target.write(b"\0\0\0\0IEND\xaeB`\x82")


def _copy(source: BinaryIO, target: BinaryIO, chunk: Chunk) -> None:
    source.seek(chunk.offset - 8)
    left = chunk.length + 12
    while left and (data := source.read(min(left, 1 << 20))):
        target.write(data)
        left -= len(data)


def plain_png(width: int = 400, height: int = 600, rgb: tuple[int, int, int] = (70, 78, 96)) -> bytes:
    """A picture of one colour, for a card that has none."""
    rows = (b"\0" + bytes(rgb) * width) * height

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def read_at(path: Path, chunk: Chunk, limit: int) -> bytes:
    """The text of a chunk of the file at path, opened for this one read. Raises RolekitError as text_value does."""
    try:
        with path.open("rb") as file:
            return text_value(file, chunk, limit)
    except OSError as error:
        raise RolekitError(
            f"{path} cannot be read any more ({error.strerror}).", "Put the file back."
        ) from error
