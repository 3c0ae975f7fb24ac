"""A model card in the form that Hugging Face reads: what the file is, where it comes from, what was proved."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rolekit.convert.job import TensorRow
from rolekit.convert.proof import Proof
from rolekit.convert.provenance import Provenance
from rolekit.roles.role import Role
from rolekit.text import one_line, sanitize, size


def model_card(
    file: Path,
    origin: Provenance,
    rows: tuple[TensorRow, ...],
    type_name: str,
    *,
    role: Role | None = None,
    proof: Proof | None = None,
) -> str:
    """The card's Markdown, with the YAML that the hub wants in front."""
    title = f"{role.name if role else origin.role or origin.base or file.stem}"
    parts = [
        "\n".join(_front(origin, role)),
        f"# {one_line(title)} · {type_name} (GGUF)",
        _about(origin, role, type_name),
        _use(file, origin, role),
        "\n".join(_made(origin, rows)),
    ]
    if proof:
        parts.append("\n".join(_proved(proof)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(origin: Provenance, role: Role | None) -> Iterator[str]:
    yield "---"
    if origin.is_on_the_hub:
        yield f"base_model: {json.dumps(origin.base)}"
    if origin.licence:
        yield f"license: {json.dumps(origin.licence)}"
    if role:
        yield f"language: [{json.dumps(role.language)}]"
    yield "library_name: gguf"
    yield "pipeline_tag: text-generation"
    yield "tags: [gguf, role-play, rolekit]"
    yield "---"


def _about(origin: Provenance, role: Role | None, type_name: str) -> str:
    base = f"`{one_line(origin.base)}`" if origin.base else "its base model"
    if role:
        who = f"This model plays **{one_line(role.name)}**: {one_line(role.description, 400)}"
        return f"{who}\n\nIt is {base} with a trained adapter merged in, quantized to {type_name}."
    return f"This is {base}, quantized to {type_name}."


def _use(file: Path, origin: Provenance, role: Role | None) -> str:
    name = one_line(role.name if role else origin.role, 80)
    chosen = f' --role "{name}"' if name else ""
    return f"## Use\n\n    rolekit chat --model {file.name}{chosen}\n    llama-cli -m {file.name}"


def _made(origin: Provenance, rows: tuple[TensorRow, ...]) -> Iterator[str]:
    yield "## How it was made\n"
    yield "Merged in fp32 and quantized once, in one pass, by `rolekit convert`.\n"
    for label, value in (
        ("Recipe", origin.recipe_hash),
        ("Training data", origin.data_hash),
        ("Chat template", origin.template),
    ):
        if value:
            yield f"- {label}: `{one_line(value, 120)}`"
    bytes_: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for row in rows:
        bytes_[row.type_name] += row.size_bytes
        count[row.type_name] += 1
    yield "\n| type | tensors | size |\n|---|---|---|"
    for type_name, total in bytes_.most_common():
        yield f"| {type_name} | {count[type_name]} | {size(total)} |"


def _proved(proof: Proof) -> Iterator[str]:
    yield "## Verified\n"
    if proof.reference:
        yield f"Compared with {proof.reference} on role conversations:\n"
    yield "| check | found | limit | |\n|---|---|---|---|"
    for check in proof.checks:
        cells = (sanitize(text).replace("|", "\\|") for text in (check.name, check.value, check.limit))
        yield f"| {' | '.join(cells)} | {check.verdict} |"
    for sentence in proof.notes:
        yield f"\n{one_line(sentence, 300)}"
