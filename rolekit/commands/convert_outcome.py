"""What `rolekit convert` says at the end, and the files that it writes beside the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rolekit.commands.progress import advise
from rolekit.errors import RolekitError
from rolekit.text import one_line, sanitize, size

if TYPE_CHECKING:
    from rolekit.convert.job import Job, Produced
    from rolekit.convert.proof import Proof
    from rolekit.convert.provenance import Provenance


def say_what_is_lost(job: Job, proof: Proof) -> None:
    """For a merge onto weights that are quantized already: how much of the adapter the second rounding leaves."""
    found = {check.name: check.figure for check in proof.checks}
    share, divergence = found.get("adapter"), found.get("mean KL")
    if job.base.is_file() and share is not None and divergence is not None:
        advise(
            f"the base was quantized before the merge: {share:.0%} of the adapter's effect is left, at a mean KL"
            f" of {divergence:.3g}; the original weights as BASE lose less"
        )


def beside(job: Job, produced: Produced, origin: Provenance, proof: Proof | None) -> list[Path]:
    """The Modelfile and the card, written beside a file that has its name; a person's own texts are kept."""
    from rolekit.convert.beside import known_role, modelfile_of, write_new
    from rolekit.convert.model_card import model_card

    if proof and not proof.verified:
        return []
    target, role = produced.targets[0], known_role(origin.role)
    card = model_card(target, origin, produced.rows, job.type_name, role=role, proof=proof)
    texts = {target.with_suffix(".README.md"): card}
    try:
        texts[target.with_suffix(".Modelfile")] = modelfile_of(target, role, licence=origin.licence)
    except RolekitError as error:
        advise(f"no Modelfile was written: {error}")
    written, kept = write_new(texts)
    for path in kept:
        advise(f"{path.name} was there with another text and is kept as it is")
    return written


def report(
    job: Job, produced: Produced, proof: Proof | None, beside: list[Path], seconds: float, *, as_json: bool
) -> None:
    """Print what was made.

    Raises RolekitError where the proof failed, or could not be made: the file has kept its .part name then.
    """
    named = proof is None or proof.verified
    paths = produced.targets if named else produced.parts
    if as_json:
        row = {
            "out": str(paths[0]),
            "files": [str(path) for path in paths],
            "type": job.type_name,
            "bytes": sum(path.stat().st_size for path in paths),
            "tensors": len(produced.rows),
            "resumed_tensors": produced.resumed_tensors,
            "beside": [str(path) for path in beside],
            "seconds": round(seconds, 3),
            "proof": proof.as_json() if proof else None,
        }
        print(json.dumps(row, ensure_ascii=False))
    else:
        _print(produced, proof, paths, beside, seconds)
    if proof and not named:
        raise _refused(produced, proof)
    advise(
        f"talk to it: rolekit chat --model {paths[0]}" + (f' --role "{role}"' if (role := _role(job)) else "")
    )


def _refused(produced: Produced, proof: Proof) -> RolekitError:
    name, part = produced.targets[0].name, produced.parts[0]
    kept = (
        f"so it stays in {part.parent.name}." if part.name == name else f"so it keeps the name {part.name}."
    )
    if proof.failed:
        names = ", ".join(check.name for check in proof.failed)
        return RolekitError(
            f"{name} does not behave like what it was made of ({names}), {kept}",
            "Choose a larger --type, or take it as it is: the same command with --no-verify.",
        )
    return RolekitError(
        f"{name} is whole but not proved, {kept} {proof.unverified[0]}",
        "Run the same command again where it can be proved, or take it unproved: the same command with --no-verify.",
    )


def _print(
    produced: Produced, proof: Proof | None, paths: Sequence[Path], beside: list[Path], seconds: float
) -> None:
    from rolekit.commands.convert_page import print_proof
    from rolekit.commands.model_pages import console_of_stdout

    console = console_of_stdout()
    if proof:
        print_proof(console, proof)
    total = sum(path.stat().st_size for path in paths)
    for path in (*paths, *beside):
        console.print(sanitize(str(path)), markup=False, soft_wrap=True)
    console.print(f"{len(produced.rows)} tensors, {size(total)}, {seconds:.1f} s", markup=False)


def _role(job: Job) -> str:
    return one_line(str(job.metadata.get("rolekit.role", "")), 80)
