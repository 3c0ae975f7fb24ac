"""`rolekit convert BASE --out FILE.gguf`: the one pass, its proof, and the files that go with it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rolekit.commands.convert_options import (
    AllowDifferences,
    AsJson,
    Base,
    ChatTemplate,
    Check,
    Conversations,
    DataOption,
    Extras,
    Imatrix,
    MaxKl,
    MergedAdapter,
    Out,
    PlanFile,
    RoleOption,
    Split,
    Threads,
    TypeName,
)
from rolekit.commands.convert_outcome import beside, report, say_what_is_lost
from rolekit.commands.convert_verify import demands, template_source
from rolekit.commands.progress import advise, progress
from rolekit.errors import RolekitError
from rolekit.text import one_line

if TYPE_CHECKING:
    from rolekit.convert.job import Job, Produced
    from rolekit.convert.proof import Proof
    from rolekit.convert.verify import Demands

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def convert_file(
    base: Base,
    out: Out,
    adapter: MergedAdapter = None,
    type_name: TypeName = "Q4_K_M",
    imatrix: Imatrix = "",
    plan: PlanFile = None,
    split: Split = "",
    check: Check = True,
    data: DataOption = None,
    role: RoleOption = "",
    conversations: Conversations = 6,
    max_kl: MaxKl = None,
    chat_template: ChatTemplate = "",
    extras: Extras = None,
    threads: Threads = 0,
    allow_differences: AllowDifferences = False,
    as_json: AsJson = False,
) -> None:
    """Merge, convert and quantize in one pass, then prove the file against what was trained.

    Stopped half-way, the same command goes on where it stopped. A file that fails its proof, or that cannot be proved
    here, keeps its name with .part behind it, and the exit code is 1; --no-verify hands it over unproved.
    """
    from rolekit.convert.bases import resolve_base
    from rolekit.convert.job import Job
    from rolekit.convert.provenance import provenance

    started = time.perf_counter()
    source = resolve_base(base)
    origin = provenance(source, adapter, base_ref=base, role=role)
    job = Job(
        base=source,
        out=_gguf(out),
        adapter=adapter,
        type_name=type_name,
        imatrix=Path(imatrix) if imatrix not in ("", "auto") else None,
        plan=plan,
        split_bytes=_bytes(split),
        threads=threads,
        strict_tokenizer=not allow_differences,
        chat_template=template_source(chat_template or origin.named_template),
        metadata=origin.metadata(),
    )
    if imatrix == "auto":
        job = _calibrated(job, data, origin.role)
    if type_name.lower() == "auto":
        job = _searched(job, data, origin.role, max_kl)
    wanted = _demands(job, demands(data, origin.role, conversations, max_kl)) if check else None
    produced, proof = _make(job, wanted)
    extra_files = beside(job, produced, origin, proof) if extras or (extras is None and origin.role) else []
    report(job, produced, proof, extra_files, time.perf_counter() - started, as_json=as_json)


def _demands(job: Job, wanted: Demands) -> Demands:
    return replace(
        wanted,
        chat_template=job.chat_template,
        adapter=job.adapter,
        tokens_may_differ=not job.strict_tokenizer,
        threads=job.threads,
    )


def _calibrated(job: Job, data: Path | None, role: str) -> Job:
    """The job with an importance matrix of the training set, or of --data."""
    from rolekit.convert.calibration import auto_imatrix, texts_for

    if job.type_name.upper() in ("F32", "F16", "BF16", "Q8_0"):
        advise(f"{job.type_name} makes no use of an importance matrix, so none was computed")
        return job
    texts = texts_for([data] if data else [], job.adapter, role)
    advise(f"calibrating on {texts.source}")
    with progress() as report_step:
        return replace(job, imatrix=auto_imatrix(job, texts, report_step))


def _searched(job: Job, data: Path | None, role: str, max_kl: float | None) -> Job:
    """The job with the types of the smallest file under a divergence, kept beside its output as a plan file."""
    from rolekit.convert.calibration import texts_for
    from rolekit.convert.type_plan import read_plan
    from rolekit.convert.type_search import auto_plan, nearest_mix

    if max_kl is None:
        raise RolekitError(
            "--type auto needs a limit.", "Give the divergence you allow, such as --max-kl 0.05."
        )
    if job.plan:
        raise RolekitError("--type auto makes a plan, and --plan brings one.", "Leave one of them out.")
    talks = texts_for([data] if data else [], job.adapter, role, limit=60).conversations
    with progress() as report:
        path, found = auto_plan(job, talks, max_kl, report)
    if found:
        advise(f"{found.files} files were made and measured; the best has a divergence of {found.kl:.4f}")
    advise(f"the types are in {path.name}")
    return replace(job, plan=path, type_name=nearest_mix([one.type_name for one in read_plan(path)]))


def _make(job: Job, wanted: Demands | None) -> tuple[Produced, Proof | None]:
    """Convert, prove, and give the file its name. Raises typer.Exit(1) after printing where the proof fails."""
    from rolekit.convert.conversion import convert
    from rolekit.convert.output import alone, publish

    try:
        with progress() as report_step:
            produced = convert(job, progress=report_step)
    except KeyboardInterrupt:
        advise(f"stopped; what is written of {job.out.name} is kept: the same command goes on from there")
        raise
    if produced.resumed_tensors:
        advise(f"{produced.resumed_tensors} tensors were there already")
    for sentence in produced.warnings:
        advise(sentence)
    with alone(job.out):
        proof = _prove(job, produced, wanted) if wanted else None
        if proof is None or proof.verified:
            publish(produced.parts, produced.targets)
    return produced, proof


def _prove(job: Job, produced: Produced, wanted: Demands) -> Proof:
    from rolekit.convert.references import open_reference, reference_source
    from rolekit.convert.tensor_errors import tensor_errors
    from rolekit.convert.verify import Candidate, verify

    with progress() as report_step:
        try:
            proof = verify(
                Candidate(produced.parts[0], type_name=job.type_name),
                reference_source(job.base, job.adapter),
                open_reference(job),
                wanted,
                report_step,
            )
            say_what_is_lost(job, proof)
            asked = {row.name: row.wanted for row in produced.rows}
            return replace(proof, tensors=tensor_errors(job, produced.parts[0], asked, report_step))
        except KeyboardInterrupt:
            advise(
                f"stopped before the proof was complete; {produced.parts[0].name} is whole: "
                "the same command verifies it again"
            )
            raise


def _gguf(out: Path) -> Path:
    if out.suffix.lower() != ".gguf":
        raise RolekitError(f"{out} does not end in .gguf.", f"Name it {out.name}.gguf.")
    if out.is_dir():
        raise RolekitError(f"{out} is a folder.", "Choose another name for the file.")
    return out


def _bytes(text: str) -> int:
    """The bytes of 4G, 500M, 2.5GB (powers of 1000, as llama.cpp's split has it); 0 for nothing."""
    if not text:
        return 0
    found = _SIZE.fullmatch(text.strip())
    value = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if value < 1:
        raise RolekitError(f"{one_line(text, 40)!r} is no size of a file.", "Write it as 4G or 500M.")
    return value
