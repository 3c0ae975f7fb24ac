"""tokenizer.model, SentencePiece's own file: a protobuf message that is read directly (sentencepiece_model.proto).

ModelProto { repeated SentencePiece pieces = 1; TrainerSpec trainer_spec = 2; NormalizerSpec normalizer_spec = 3; }
SentencePiece { string piece = 1; float score = 2; Type type = 3; }
NormalizerSpec { bool add_dummy_prefix = 3; }
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rolekit.convert.vocabulary.tokens import Token, TokenType
from rolekit.errors import RolekitError

_KINDS = {
    1: TokenType.NORMAL,
    2: TokenType.UNKNOWN,
    3: TokenType.CONTROL,
    4: TokenType.USER_DEFINED,
    5: TokenType.UNUSED,
    6: TokenType.BYTE,
}


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """The pieces in the order of their ids, and whether text begins with a space."""

    pieces: tuple[Token, ...]
    dummy_prefix: bool


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """The vocabulary in a SentencePiece file.

    Raises RolekitError when it is none.
    """
    try:
        data = path.read_bytes()
        pieces, dummy_prefix = [], True
        for field, value in _fields(data):
            if field == 1:
                pieces.append(_piece(_bytes(value)))
            elif field == 3:
                for inner, number in _fields(_bytes(value)):
                    dummy_prefix = bool(number) if inner == 3 else dummy_prefix
    except (ValueError, TypeError, IndexError, KeyError, struct.error) as error:
        raise _unreadable(path) from error
    except OSError as error:
        raise RolekitError(
            f"{path} could not be read ({error.strerror}).", "Check its permissions."
        ) from error
    if not pieces:
        raise _unreadable(path)
    return SentencePieceModel(tuple(pieces), dummy_prefix)


def _unreadable(path: Path) -> RolekitError:
    return RolekitError(
        f"{path.name} is no SentencePiece model.",
        "Put the model's tokenizer.json into the folder (transformers' save_pretrained writes it).",
    )


def _piece(data: bytes) -> Token:
    text, score, kind = "", 0.0, TokenType.NORMAL
    for field, value in _fields(data):
        if field == 1:
            text = _bytes(value).decode("utf-8")
        elif field == 2:
            score = struct.unpack("<f", _bytes(value))[0]
        elif field == 3:
            kind = _KINDS[int(value)]
    if kind is TokenType.USER_DEFINED:
        text = text.replace("\u2581", " ")
    return Token(text, kind, score)


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number where bytes should be")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protobuf message: whole numbers, or the bytes of everything else."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            number, position = _varint(data, position)
            yield tag >> 3, number
            continue
        if kind == 2:
            length, position = _varint(data, position)
        else:
            length = {1: 8, 5: 4}[kind]
        if position + length > len(data):
            raise ValueError("cut off")
        yield tag >> 3, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise ValueError("a number without an end")
