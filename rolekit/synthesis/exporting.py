"""A run as training data: RoleBench's layout, which every tool of rolekit reads, chat JSONL, and a data card.

    rolebench-eng/instruction-generalization/{general,role_specific}/{train,test,rolegpt_baseline}.jsonl
    rolebench-zh/{general,role_specific}/…          also rolebench-xx for any other language
    chat.jsonl  chat-test.jsonl                      every accepted row as messages, dialogues too
    data_card.md                                     written last

Which side a question falls on depends on its words alone: never on the step, the run or the order of rows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir, write_text
from rolekit.rolebench.rows import write_rows
from rolekit.roles.block import role_block
from rolekit.roles.names import fold
from rolekit.roles.role import Role
from rolekit.synthesis.audit import after, read_decisions
from rolekit.synthesis.card import card_text
from rolekit.synthesis.recipe import role_of
from rolekit.synthesis.rows import Candidate, Step, read_rows

EXPORT = "export"
CARD = "data_card.md"
TEST_SHARE = 0.1
Split = Literal["train", "test"]
_KINDS: dict[Step, str] = {
    "rolegpt": "general",
    "script-agnostic": "role_specific",
    "script-based": "role_specific",
    "dialogue": "role_specific",
    "not-knowing": "unknown",
    "refusal": "refusal",
}
"""What a row teaches, in training's words."""
_TYPES: dict[Step, str] = {"script-agnostic": "script_agnostic", "script-based": "script_based"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and where."""

    folder: Path
    rows: dict[str, int]
    """Rows a file, by its path below the folder."""

    @property
    def chat_file(self) -> Path:
        """The rows to train on."""
        return self.folder / "chat.jsonl"


def split_of(question: str, test_share: float = TEST_SHARE) -> Split:
    """The side of a question: the same whatever its case, accents and punctuation, in every run."""
    words = fold(question) or question.strip()
    rank = int.from_bytes(hashlib.sha256(words.encode("utf-8", "replace")).digest()[:8], "big")
    return "test" if rank < test_share * 2**64 else "train"


def export(run: Path, out: Path | None = None, *, test_share: float = TEST_SHARE) -> Exported:
    """Write the run's accepted rows, after every decision of the audit, into out (else RUN/export).

    The same run gives the same files byte for byte. Raises RolekitError when no row is accepted.
    """
    rows, decisions = read_rows(run), read_decisions(run)
    kept = [row for row in after(rows, decisions) if row.verdict == "accepted"]
    if not kept:
        raise RolekitError(
            f"No row of {run} is accepted.",
            "Look at the reasons in rows.jsonl, or accept some in the audit (F5).",
        )
    role, folder = role_of(run), ensure_dir(out or run / EXPORT)
    files = {**_rolebench(kept, test_share), **_chat(kept, role, test_share)}
    for stale in folder.rglob("*.jsonl"):
        if str(stale.relative_to(folder)) not in files:
            stale.unlink()
    for name, lines in files.items():
        write_rows(folder / name, lines)
    counts = {name: len(lines) for name, lines in files.items()}
    write_text(folder / CARD, card_text(run, role, rows, decisions, counts, test_share))
    return Exported(folder, counts)


def _rolebench(rows: Iterable[Candidate], test_share: float) -> dict[str, list[dict[str, Any]]]:
    """RoleBench's files by their path. Dialogues and rows that do not know or will not are none of RoleBench's."""
    files: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.step != "rolegpt" and row.step not in _TYPES:
            continue
        place = f"{_place(row.language)}/{'general' if row.step == 'rolegpt' else 'role_specific'}"
        value: dict[str, Any] = {"role": row.role, "question": row.question, "generated": list(row.answers)}
        if row.step in _TYPES:
            value["type"] = [_TYPES[row.step]]
        if row.raw:
            value["raw"] = list(row.raw)
        if _main(row.language) not in ("en", "zh"):
            value["language"] = row.language
        files[f"{place}/{split_of(row.question, test_share)}.jsonl"].append(value)
        if row.baseline:
            baseline = {"role": row.role, "question": row.question, "generated": [row.baseline]}
            files[f"{place}/rolegpt_baseline.jsonl"].append(baseline)
    return dict(files)


def _chat(rows: Iterable[Candidate], role: Role, test_share: float) -> dict[str, list[dict[str, Any]]]:
    """Every row as messages under the role's block; one line for each answer."""
    files: dict[str, list[dict[str, Any]]] = {"chat.jsonl": []}
    system = {"role": "system", "content": role_block(role, "")}
    for row in rows:
        name = "chat.jsonl" if split_of(row.question, test_share) == "train" else "chat-test.jsonl"
        spoken = [row.turns] if row.turns else [(row.question, answer) for answer in row.answers]
        for turns in spoken:
            messages = [
                {"role": "assistant" if place % 2 else "user", "content": text}
                for place, text in enumerate(turns)
            ]
            line: dict[str, Any] = {
                "messages": [system, *messages],
                "role": row.role,
                "kind": _KINDS[row.step],
            }
            grounds = {"id": row.id, "segment": row.segment, "quote": row.quote}
            files.setdefault(name, []).append(line | {key: text for key, text in grounds.items() if text})
    return files


def _place(language: str) -> str:
    main = _main(language)
    if main == "en":
        return "rolebench-eng/instruction-generalization"
    return f"rolebench-{main}"


def _main(language: str) -> str:
    return language.split("-")[0].lower()
