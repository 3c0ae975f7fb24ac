"""General instructions in the formats in which they are published, read into one shape.

    Alpaca, BELLE, COIG        {"instruction", "input"?, "output"}
    COIG exams                 {"textbox_q_instruction", "textbox_q_context", "textbox_question", "textbox_answer"}
    Super-NaturalInstructions  a task file: {"Definition", "Instances": [{"input", "output"}]}
    UltraChat                  {"data": [user, assistant, user, …]}, or {"prompt", "messages"}
    chat format                {"messages": [{"role", "content"}]}, ShareGPT's {"conversations": [{"from", "value"}]}
    RoleBench's own            {"question", "generated"} (with or without a role)
Every row is recognised by its keys, so a file may mix them. Files are JSON Lines or one JSON value; a folder is all its
.json and .jsonl files. Synthesis, training and RAW references use the same reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rolekit.errors import RolekitError
from rolekit.messages import Message, Speaker
from rolekit.rolebench.rows import Fault, Row, read_rows

_SPEAKERS: dict[str, Speaker] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """Something to ask anyone, and what was answered."""

    question: str
    """The first user turn; where the source parts instruction and input, they are joined by a newline."""
    answers: tuple[str, ...]
    """Each answers the question; empty where the source gives none."""
    turns: tuple[Message, ...]
    """The whole conversation, a system text first where there is one; the question and its first answer else."""
    origin: str
    """file:line, or file#number in a JSON array."""
    role: str = ""
    """Who answers, where the row names a role beside its turns."""
    kind: str = ""
    """What the row says it teaches, where it says so."""


@dataclass(frozen=True, slots=True)
class InstructionReading:
    """The instructions in order, and the rows that are none."""

    instructions: tuple[Instruction, ...]
    faults: tuple[Fault, ...]


def read_instructions(path: Path) -> InstructionReading:
    """The general instructions of a file or folder in any of the formats above.

    Raises RolekitError when there is no such path, nothing in it, or no row that is an instruction.
    """
    instructions: list[Instruction] = []
    faults: list[Fault] = []
    for file in _files(path):
        for row in _rows_of(file):
            found = row if isinstance(row, Fault) else _instructions(row)
            if isinstance(found, Fault):
                faults.append(found)
            else:
                instructions += found
    if not instructions:
        first = f" The first fault: {faults[0]}." if faults else ""
        raise RolekitError(
            f"{path} holds no general instructions.{first}",
            "Alpaca, BELLE, COIG, Super-NaturalInstructions, UltraChat and chat-format files can be read.",
        )
    return InstructionReading(tuple(instructions), tuple(faults))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise RolekitError(f"There is no file or folder {path}.", "Check the path.")
    return sorted(file for file in path.rglob("*") if file.suffix in (".json", ".jsonl") and file.is_file())


def _rows_of(file: Path) -> Iterator[Row | Fault]:
    """JSON Lines, else one JSON value: an array of rows, or a single row that spans lines."""
    with file.open("rb") as stream:
        head = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    first_line = head.splitlines()[0] if head else b""
    if head[:1] == b"[" or (head[:1] == b"{" and first_line.strip() == b"{") or file.suffix == ".json":
        whole = _whole(file)
        if whole is not None:
            yield from whole
            return
    yield from read_rows(file)


def _whole(file: Path) -> list[Row | Fault] | None:
    """The rows of a file that is one JSON value; None when it is not one, and may be JSON Lines."""
    try:
        value = json.loads(file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        return [Row(f"{file}:1", value, "")]
    if not isinstance(value, list):
        return [Fault(f"{file}:1", "neither an object nor an array of objects", str(value)[:200])]
    return [
        Row(f"{file}#{number}", item, json.dumps(item, ensure_ascii=False)[:2000])
        if isinstance(item, dict)
        else Fault(f"{file}#{number}", "not an object", str(item)[:200])
        for number, item in enumerate(value, start=1)
    ]


def _instructions(row: Row) -> list[Instruction] | Fault:
    for keys, read in _FORMATS:
        if all(key in row.value for key in keys):
            try:
                found = read(row)
            except _Unreadable as error:
                return Fault(row.origin, str(error), row.raw)
            role, kind = (
                text if isinstance(text := row.value.get(key), str) else "" for key in ("role", "kind")
            )
            return [replace(item, role=role, kind=kind) for item in found]
    return Fault(row.origin, f"no known format (keys: {', '.join(map(str, row.value))[:120]})", row.raw)


class _Unreadable(ValueError):
    """The row has a format's keys, and not its content."""


def _alpaca(row: Row) -> list[Instruction]:
    value = row.value
    return [
        _pair(
            row.origin,
            [_text(value, "instruction"), _text(value, "input", needed=False)],
            [_text(value, "output", needed=False)],
        )
    ]


def _exam(row: Row) -> list[Instruction]:
    keys = ("textbox_q_instruction", "textbox_q_context", "textbox_question")
    answers = [_text(row.value, "textbox_answer", needed=False)]
    return [_pair(row.origin, [_text(row.value, key, needed=False) for key in keys], answers)]


def _natural_instructions(row: Row) -> list[Instruction]:
    definition = row.value["Definition"]
    head = "\n".join(_texts(definition, "Definition")) if not isinstance(definition, str) else definition
    instances = row.value["Instances"]
    if not isinstance(instances, list):
        raise _Unreadable("`Instances` is not a list")
    found = []
    for number, instance in enumerate(instances, start=1):
        if not isinstance(instance, dict):
            raise _Unreadable(f"instance {number} is not an object")
        output = instance.get("output", [])
        answers = [output] if isinstance(output, str) else _texts(output, "output")
        found.append(_pair(f"{row.origin}#{number}", [head, _text(instance, "input")], answers))
    return found


def _ultrachat(row: Row) -> list[Instruction]:
    texts = _texts(row.value["data"], "data")
    speakers: tuple[Speaker, Speaker] = ("user", "assistant")
    return [_conversation(row.origin, [Message(speakers[i % 2], t.strip()) for i, t in enumerate(texts)])]


def _chat(row: Row) -> list[Instruction]:
    return [_conversation(row.origin, _messages(row.value["messages"], "role", "content"))]


def _sharegpt(row: Row) -> list[Instruction]:
    return [_conversation(row.origin, _messages(row.value["conversations"], "from", "value"))]


def _rolebench(row: Row) -> list[Instruction]:
    generated = row.value["generated"]
    answers = [generated] if isinstance(generated, str) else _texts(generated, "generated")
    return [_pair(row.origin, [_text(row.value, "question")], answers)]


_FORMATS: tuple[tuple[tuple[str, ...], Callable[[Row], list[Instruction]]], ...] = (
    (("messages",), _chat),
    (("conversations",), _sharegpt),
    (("Definition", "Instances"), _natural_instructions),
    (("instruction",), _alpaca),
    (("textbox_question",), _exam),
    (("question", "generated"), _rolebench),
    (("data",), _ultrachat),
)


def _pair(origin: str, parts: list[str], answers: list[str]) -> Instruction:
    question = "\n".join(part.strip() for part in parts if part.strip())
    if not question:
        raise _Unreadable("the instruction is empty")
    given = tuple(answer.strip() for answer in answers if answer.strip())
    turns = [Message("user", question), *(Message("assistant", answer) for answer in given[:1])]
    return Instruction(question, given, tuple(turns), origin)


def _conversation(origin: str, turns: list[Message]) -> Instruction:
    first = next((place for place, turn in enumerate(turns) if turn.speaker == "user"), None)
    if first is None or not turns[first].text:
        raise _Unreadable("the conversation has no user turn")
    follows = turns[first + 1 : first + 2]
    answers = tuple(turn.text for turn in follows if turn.speaker == "assistant" and turn.text)
    return Instruction(turns[first].text, answers, tuple(turns), origin)


def _messages(value: Any, speaker_key: str, text_key: str) -> list[Message]:
    if not isinstance(value, list):
        raise _Unreadable("the conversation is not a list")
    turns = []
    for number, turn in enumerate(value, start=1):
        speaker = _SPEAKERS.get(str(turn.get(speaker_key)).lower()) if isinstance(turn, dict) else None
        if speaker is None or not isinstance(turn.get(text_key), str):
            raise _Unreadable(f"turn {number} has no `{speaker_key}` that is known, or no `{text_key}`")
        turns.append(Message(speaker, turn[text_key].strip()))
    return turns


def _text(value: dict[str, Any], key: str, needed: bool = True) -> str:
    text = value.get(key)
    if text is None and not needed:
        return ""
    if not isinstance(text, str):
        raise _Unreadable(f"`{key}` is not a text")
    return text


def _texts(value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Unreadable(f"`{key}` is not a list of texts")
    return value
