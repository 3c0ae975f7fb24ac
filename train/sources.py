"""The rows of a recipe's files as dialogues: RoleBench records and everything that rolebench.sources can read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.messages import Message
from rolekit.rolebench.records import Record, language_of, read_records
from rolekit.rolebench.rows import Fault, Row, read_rows
from rolekit.rolebench.sources import Instruction, read_instructions
from rolekit.text import one_line
from rolekit.train.examples import KINDS, Kind, example_key
from rolekit.train.recipe import Source

_MOST_SHOWN = 20
_LOOKED_AT = 4096


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What somebody says to a role and what it answers, over one or more turns."""

    role: str
    kind: Kind
    turns: tuple[Message, ...]
    """User and assistant in turn; system messages of the data stand where it has them."""
    origin: str
    language: str = "en"
    system: str = ""
    """The data's own system text; it stands for the role block where the role has no profile."""

    @property
    def question(self) -> str:
        """The first thing that the user says."""
        return next((turn.text for turn in self.turns if turn.speaker == "user"), "")

    @property
    def key(self) -> str:
        """The same for the same question to the same role."""
        return example_key(self.role, self.question)


@dataclass(frozen=True, slots=True)
class SourceReading:
    """A file's dialogues, and the rows that are none."""

    dialogues: tuple[Dialogue, ...]
    faults: tuple[Fault, ...]


def read_source(source: Source, references: str = "first", role: str = "") -> SourceReading:
    """The dialogues of one source; references "all" makes one of each answer that a record has.

    role is whose rows they are where neither the row nor the source says so.

    Raises RolekitError when it cannot be read, is empty, or holds no usable row (its faults are then listed).
    """
    path = Path(source.path)
    if path.is_dir() or _is_records(path):
        reading = read_records(path, "train" if path.is_dir() else "")
        found = [
            dialogue for record in reading.records for dialogue in _of_record(record, source, references)
        ]
        faults = reading.faults
    elif _is_empty(path):
        raise _no_row(path, ())
    else:
        instructions = read_instructions(path)
        found, faults = [], instructions.faults
        for instruction in instructions.instructions:
            dialogue = _of_instruction(instruction, source, role)
            if isinstance(dialogue, Fault):
                faults += (dialogue,)
            else:
                found.append(dialogue)
    if not found:
        raise _no_row(path, faults)
    return SourceReading(tuple(found), faults)


def _no_row(path: Path, faults: tuple[Fault, ...]) -> RolekitError:
    listed = "".join(f"\n  {fault}" for fault in faults[:_MOST_SHOWN])
    return RolekitError(
        f"{one_line(str(path), 200)} holds no row to train on.",
        f'A row is {{"role", "question", "generated"}} or {{"messages": [...]}}.{listed}',
    )


def _is_empty(path: Path) -> bool:
    """Whether there is nothing in the file but white space, and not much of that."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return not file.read(_LOOKED_AT).strip() and not file.read(1)


def _is_records(path: Path) -> bool:
    """Whether the file's first sound row is a RoleBench record."""
    if path.suffix == ".json" or not path.is_file():
        return False
    first = next((row for row in read_rows(path) if isinstance(row, Row)), None)
    return first is not None and {"role", "question", "generated"} <= set(first.value)


def _of_record(record: Record, source: Source, references: str) -> Iterator[Dialogue]:
    kind: Kind = record.kind if source.kind == "auto" else source.kind
    answers = record.references if references == "all" else record.references[:1]
    for answer in answers:
        turns = (Message("user", record.question.strip()), Message("assistant", answer.strip()))
        yield Dialogue(record.role.strip(), kind, turns, record.origin, record.language)


def _of_instruction(instruction: Instruction, source: Source, default: str) -> Dialogue | Fault:
    turns = _joined(instruction.turns)
    system = "\n\n".join(turn.text for turn in turns if turn.speaker == "system" and turn is turns[0])
    spoken = tuple(turn for turn in turns if not (system and turn is turns[0]))
    origin, role = instruction.origin, instruction.role.strip() or source.role or default
    if not any(turn.speaker == "assistant" and turn.text for turn in spoken):
        return Fault(origin, "no answer to learn", instruction.question)
    if not role and not system:
        return Fault(origin, "no role: name it in the row or beside the path", instruction.question)
    given = instruction.kind if source.kind == "auto" else source.kind
    kind = next((known for known in KINDS if known == given), None if given else KINDS[0])
    if kind is None:
        return Fault(
            origin, f"the kind {one_line(given, 40)!r} is none of {', '.join(KINDS)}", instruction.question
        )
    language = language_of(instruction.question)
    return Dialogue(role, kind, spoken, origin, language, system)


def _joined(turns: tuple[Message, ...]) -> list[Message]:
    """Turns of one speaker in a row as one."""
    joined: list[Message] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker:
            joined[-1] = Message(turn.speaker, f"{joined[-1].text}\n\n{turn.text}".strip())
        else:
            joined.append(turn)
    return joined
