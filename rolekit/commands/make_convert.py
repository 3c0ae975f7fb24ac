"""The conversion step of `rolekit make`: an adapter to switch at run time, a merged file where one is wanted, both proved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekit.commands.make_plan import Making, digest_of_folder, model_stamp
from rolekit.commands.progress import advise, progress
from rolekit.errors import RolekitError
from rolekit.paths import ensure_dir

if TYPE_CHECKING:
    from rolekit.convert.job import Job
    from rolekit.convert.proof import Proof
    from rolekit.convert.verify import Candidate

FOLDER = "convert"
_BASE_TYPE = "Q8_0"
"""What a base that comes as a Hugging Face folder is chatted with."""


def inputs(making: Making) -> dict[str, Any]:
    """What the files rest on."""
    from rolekit.convert.bases import resolve_base

    wishes = making.wishes
    return {
        "the adapter": digest_of_folder(making.path(making.results["train"]["adapter"])),
        "the base": [wishes.base, model_stamp(resolve_base(wishes.base))],
        "what is made": [wishes.merged, wishes.verify],
    }


def carry_out(making: Making) -> dict[str, Any]:
    """Convert; which model to chat with (`base`, `adapter` or `model`), and what the proof says.

    Raises RolekitError where a file does not behave like what was trained, or where that could not be measured.
    """
    from rolekit.convert.adapter_conversion import convert_adapter, merge_reasons
    from rolekit.convert.bases import resolve_base
    from rolekit.convert.provenance import provenance

    wishes = making.wishes
    trained = making.path(making.results["train"]["adapter"])
    base, folder = resolve_base(wishes.base), ensure_dir(making.folder / FOLDER)
    origin = provenance(base, trained, base_ref=wishes.base, role=making.role().name)
    reasons = merge_reasons(trained, base)
    for reason in reasons:
        advise(f"the adapter can only be merged: {reason}")
    result: dict[str, Any] = {"base": _chat_base(making, base), "adapter": "", "model": "", "proofs": {}}
    if not reasons:
        adapter = folder / f"{wishes.slug}.gguf"
        convert_adapter(trained, base, adapter, origin.metadata())
        result["adapter"] = f"{FOLDER}/{adapter.name}"
    type_name = wishes.merged or ("Q4_K_M" if reasons else "")
    if type_name:
        out = folder / f"{wishes.slug}-{type_name.lower()}.gguf"
        job = _job(making, base, out, type_name, trained, origin)
        result["model"] = f"{FOLDER}/{_converted(job).name}"
    if wishes.verify:
        result["proofs"] = _proved(making, base, trained, result, origin)
    result["made"] = [name for name in (result["adapter"], result["model"]) if name]
    return result


def chat_model(making: Making) -> str:
    """REF of the model without the character, to chat with."""
    base = str(making.results["convert"]["base"])
    return base or making.wishes.base


def _chat_base(making: Making, base: Path) -> str:
    """The base as a GGUF below the folder; empty where it is one already."""
    if not base.is_dir():
        return ""
    from rolekit.convert.provenance import provenance

    target = making.folder / "base" / f"base-{_BASE_TYPE.lower()}.gguf"
    if not target.is_file():
        ensure_dir(target.parent)
        _converted(
            _job(making, base, target, _BASE_TYPE, None, provenance(base, None, base_ref=making.wishes.base))
        )
    return str(target)


def _job(making: Making, base: Path, out: Path, type_name: str, adapter: Path | None, origin: Any) -> Job:
    from rolekit.commands.convert_verify import template_source
    from rolekit.convert.job import Job

    return Job(
        base=base, out=out, adapter=adapter, type_name=type_name, threads=making.wishes.threads,
        chat_template=template_source(origin.named_template), metadata=origin.metadata(),
    )  # fmt: skip


def _converted(job: Job) -> Path:
    """The file of a job, whole; what an interrupted run has written of it is kept."""
    from rolekit.convert.conversion import convert
    from rolekit.convert.output import alone, publish

    if job.out.is_file():
        return job.out
    with progress() as report:
        produced = convert(job, progress=report)
    for sentence in produced.warnings:
        advise(sentence)
    with alone(job.out):
        publish(produced.parts, produced.targets)
    return produced.targets[0]


def _proved(making: Making, base: Path, trained: Path, made: dict[str, Any], origin: Any) -> dict[str, Any]:
    """The proof of each file that was made. Raises RolekitError where one fails or cannot be made."""
    from rolekit.convert.job import Job
    from rolekit.convert.verify import Candidate

    proofs = {}
    candidates: dict[str, Candidate] = {}
    if made["adapter"]:
        on = Path(made["base"]) if made["base"] else base
        candidates["adapter"] = Candidate(on, ((making.path(made["adapter"]), 1.0),))
    if made["model"]:
        candidates["model"] = Candidate(making.path(made["model"]))
    for name, candidate in candidates.items():
        job = Job(base=base, out=making.path(made[name]), adapter=trained)
        proof = _proof(making, candidate, job, trained, origin)
        proofs[name] = proof.as_json()
        if not proof.verified:
            raise _refused(job.out.name, proof)
    return proofs


def _refused(name: str, proof: Proof) -> RolekitError:
    """Why a file is not handed over: it fails, or nobody can tell."""
    if proof.failed:
        failed = ", ".join(check.name for check in proof.failed)
        return RolekitError(
            f"{name} does not behave like what was trained ({failed}).",
            "Choose a larger --merged type, or take it as it is with --no-verify.",
        )
    return RolekitError(
        f"{name} is whole but not proved: {proof.unverified[0]}",
        "Run the same command again where it can be proved, or take it unproved with --no-verify.",
    )


def _proof(making: Making, candidate: Candidate, job: Job, trained: Path, origin: Any) -> Proof:
    from rolekit.commands.convert_verify import demands, template_source
    from rolekit.convert.references import open_reference, reference_source
    from rolekit.convert.verify import verify

    wanted = replace(
        demands(None, making.role().name, 4, None),
        chat_template=template_source(origin.named_template), adapter=trained, threads=making.wishes.threads,
    )  # fmt: skip
    with progress() as report:
        return verify(candidate, reference_source(job.base, trained), open_reference(job), wanted, report)
