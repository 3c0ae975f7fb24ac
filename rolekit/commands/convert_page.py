"""What a conversion's proof looks like in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rolekit.convert.proof import Proof, TensorError
from rolekit.text import sanitize

_WORST = 5
_STYLES = {"ok": "green", "not told": "yellow", "FAILED": "bold red"}


def print_proof(console: Console, proof: Proof) -> None:
    """The checks as a table, then fallbacks, the worst tensors, and what was not verified."""
    if proof.checks:
        compared = f"compared with {proof.reference}" if proof.reference else "compared in words only"
        console.print(f"verified in {proof.seconds:.1f} s, {compared}", markup=False)
        table = Table(box=None, pad_edge=False)
        for heading in ("check", "found", "limit", ""):
            table.add_column(heading, overflow="fold")
        for check in proof.checks:
            verdict = Text(check.verdict, _STYLES[check.verdict])
            table.add_row(*(Text(sanitize(text)) for text in (check.name, check.value, check.limit)), verdict)
            if check.note:
                table.add_row("", Text(sanitize(check.note)), "", "")
        console.print(table)
    _print_tensors(console, proof.tensors)
    for sentence in proof.notes:
        console.print(f"note: {sanitize(sentence)}", markup=False, soft_wrap=True)
    for sentence in proof.unverified:
        console.print(f"not verified: {sanitize(sentence)}", markup=False, style="yellow", soft_wrap=True)


def _print_tensors(console: Console, tensors: tuple[TensorError, ...]) -> None:
    fallen: dict[tuple[int, str, str], int] = {}
    for tensor in tensors:
        if tensor.fell_back:
            key = (tensor.columns, tensor.wanted, tensor.type_name)
            fallen[key] = fallen.get(key, 0) + 1
    for (columns, wanted, got), number in sorted(fallen.items()):
        console.print(
            f"{number} tensors have rows of {columns}, which cannot be {wanted}; they are {got}", markup=False
        )
    measured = sorted(
        (tensor for tensor in tensors if tensor.relative_error), key=lambda one: -(one.relative_error or 0.0)
    )
    if measured:
        worst = ", ".join(
            f"{sanitize(one.name)} {one.type_name} {one.relative_error:.2%}" for one in measured[:_WORST]
        )
        console.print(f"largest errors of tensors: {worst}", markup=False, soft_wrap=True)
