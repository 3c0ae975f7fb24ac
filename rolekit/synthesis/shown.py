"""What RoleGPT shows of a role: its examples, and every exchange that the profile found in the texts."""

from __future__ import annotations

from pathlib import Path

from rolekit.errors import RolekitError
from rolekit.rolebench.records import Record
from rolekit.rolebench.retrieval import Pairs
from rolekit.rolebench.rows import Fault, read_rows
from rolekit.roles.role import Role
from rolekit.synthesis.examples import example_pairs
from rolekit.synthesis.turns import Turn

DIALOGUE = "dialogue.jsonl"
_MOST = 400


def pairs_of(role: Role, folder: Path) -> Pairs:
    """The pairs that the nearest five to a question are chosen from.

    Raises RolekitError when the folder's dialogue.jsonl is damaged.
    """
    own = {example.reply for example in role.examples}
    found = example_pairs(_turns(folder / DIALOGUE), role.name, lambda turn: turn.place, most=_MOST)
    records = [
        Record(role.name, pair.asked, (pair.answer,), "role_specific", origin=str(pair.place))
        for pair in found
        if pair.answer not in own
    ]
    return Pairs(records, ())


def _turns(path: Path) -> list[Turn]:
    """The turns that `synth profile` wrote; none where there is no profile."""
    if not path.is_file():
        return []
    turns: list[Turn] = []
    for row in read_rows(path):
        turn = None if isinstance(row, Fault) else _turn(row.value)
        if turn is None:
            raise RolekitError(
                f"A row of {path} is no turn of a dialogue: {row if isinstance(row, Fault) else row.origin}.",
                "Make the profile again with `rolekit synth profile`.",
            )
        turns.append(turn)
    return turns


def _turn(value: dict[str, object]) -> Turn | None:
    match value:
        case {
            "kind": ("speech" | "narration" | "scene") as kind, "text": str(text), "source": str(source),
            "line": int(line),
        }:  # fmt: skip
            speaker, addressee = str(value.get("speaker", "")), str(value.get("addressee", ""))
            return Turn(kind, text, source, line, line, speaker, addressee)
    return None
