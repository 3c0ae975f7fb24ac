"""One conversion from beginning to end: open, merge, plan, choose types, write."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from rolekit.convert.adapter import read_adapter
from rolekit.convert.base import Base, open_base
from rolekit.convert.delta import MergedSource
from rolekit.convert.imatrix import quantize_keys, read_imatrix
from rolekit.convert.job import Job, Produced, Progress
from rolekit.convert.layout import FileLayout, lay_out
from rolekit.convert.memory import give_back
from rolekit.convert.metadata import MetaValue
from rolekit.convert.mixes import Choice, Mix, Override
from rolekit.convert.output import alone, check_disk
from rolekit.convert.pipeline import Work, write
from rolekit.convert.plan import ModelPlan
from rolekit.convert.quantize import GgmlQuantizer
from rolekit.convert.source import Float32, TensorSource
from rolekit.convert.type_plan import read_plan
from rolekit.convert.vocabulary.tokens import is_tokenizing_name
from rolekit.engine.machine import available_memory_bytes
from rolekit.errors import RolekitError
from rolekit.text import one_line, size

_QUANTIZATION_VERSION = 2
"""ggml.h: GGML_QNT_VERSION."""
_WORKING_BYTES = 100 << 20
"""What is needed beside the chunk: the vocabulary, the adapter's matrices, the libraries' own."""


def convert(
    job: Job,
    *,
    imatrix: Mapping[str, Float32] | None = None,
    overrides: Sequence[Override] = (),
    progress: Progress | None = None,
) -> Produced:
    """Carry out a job; the files lie at their .part names until `rolekit.convert.output.publish`.

    imatrix: importance by GGUF tensor name, else the job's file. overrides: types by tensor, which win over the mix,
    else the job's plan.
    The same job run again goes on where the last run stopped, tensor by tensor.
    Raises RolekitError for anything wrong with the base, the adapter, the tokenizer, the weights or the disk.
    """
    calibration: dict[str, MetaValue] = {}
    if imatrix is None and job.imatrix:
        matrix = read_imatrix(job.imatrix)
        imatrix, calibration = matrix.means(), quantize_keys(matrix, job.imatrix)
    if not overrides and job.plan:
        overrides = read_plan(job.plan)
    mix = Mix(job.type_name, has_imatrix=imatrix is not None, overrides=overrides)
    with closing(open_base(job.base)) as base, alone(job.out):
        source = merged(base, job)
        plan = base.plan(source)
        choices = mix.choices(plan)
        without = _without_importance(choices, imatrix)
        metadata, notes = base.metadata(plan, strict=job.strict_tokenizer, adapter=job.adapter)
        files = lay_out(
            job.out,
            {**_complete(metadata, job, mix), **calibration},
            plan.tensors,
            {name: choice.type_name for name, choice in choices.items()},
            job.split_bytes,
        )
        _check_room(job, files)
        quantizer = GgmlQuantizer(imatrix)
        give_back()
        produced = write(files, _work(job, source, choices, quantizer, imatrix), progress)
    return replace(produced, warnings=(*_warnings(base, plan, source, choices), *without, *notes))


def _without_importance(choices: Mapping[str, Choice], imatrix: Mapping[str, Float32] | None) -> list[str]:
    """A warning where an importance matrix lacks weights of the layers; embedding and output it never has.

    Raises RolekitError when it has none of this model's weights.
    """
    layers = [
        name
        for name, choice in choices.items()
        if name.startswith("blk.") and choice.type_name not in ("F32", "F16", "BF16")
    ]
    if imatrix is None or not layers:
        return []
    missing = [name for name in layers if name not in imatrix]
    if len(missing) == len(layers):
        raise RolekitError(
            "The importance matrix has none of this model's weights.",
            "Make it from this very model: rolekit convert imatrix.",
        )
    if missing:
        return [
            f"The importance matrix lacks {len(missing)} weights ({one_line(missing[0])} …), which go without."
        ]
    return []


def merged(base: Base, job: Job) -> TensorSource:
    """The base's weights, with the job's adapter on top where it has one.

    Raises RolekitError when the adapter was trained on another model.
    """
    if job.adapter is None:
        return base.source
    shapes = {name: base.source.shape(name) for name in base.source.names()}
    adapter = read_adapter(job.adapter).fitted(shapes, base.name, base.tied())
    return MergedSource(base.source, adapter, base.tied())


def _complete(metadata: Mapping[str, MetaValue], job: Job, mix: Mix) -> dict[str, MetaValue]:
    """The metadata with the job's own keys; but for a name by which llama.cpp would tokenize otherwise."""
    keys = {**metadata, **job.metadata}
    proved, wanted = metadata.get("general.name"), job.metadata.get("general.name")
    if isinstance(proved, str) and (is_tokenizing_name(proved) or is_tokenizing_name(str(wanted))):
        keys["general.name"] = proved
    if job.chat_template:
        keys["tokenizer.chat_template"] = job.chat_template
    return {
        **keys,
        "general.quantization_version": _QUANTIZATION_VERSION,
        "general.file_type": mix.file_type_id,
    }


def _check_room(job: Job, files: Sequence[FileLayout]) -> None:
    there = sum(file.part.stat().st_size for file in files if file.part.is_file())
    check_disk(job.out.parent, sum(file.size_bytes for file in files) - there, job.out.name)
    need, available = job.chunk_bytes + _WORKING_BYTES, available_memory_bytes()
    if available and need > available:
        raise RolekitError(
            f"The conversion needs {size(need)} of memory, and {size(available)} are free.",
            "Close other programs, and run the same command again.",
        )


def _work(
    job: Job,
    source: TensorSource,
    choices: Mapping[str, Choice],
    quantizer: GgmlQuantizer,
    imatrix: Mapping[str, Float32] | None,
) -> Work:
    digest = hashlib.sha256()
    for name, values in sorted((imatrix or {}).items()):
        digest.update(name.encode() + values.tobytes())
    return Work(
        source=source,
        types={name: choice.type_name for name, choice in choices.items()},
        quantizer=quantizer,
        key=f"{source.fingerprint()} {digest.hexdigest()}",
        wanted={name: choice.wanted for name, choice in choices.items()},
        chunk_bytes=job.chunk_bytes,
        threads=job.threads,
    )


def _warnings(base: Base, plan: ModelPlan, source: TensorSource, choices: Mapping[str, Choice]) -> list[str]:
    """What is to be known about the result beside the architecture's own notes."""
    found, names = list(plan.notes), frozenset(base.source.names())
    quantized = sorted(
        {
            base.source.dtype(part.source)
            for tensor in plan.tensors
            for part in tensor.parts
            if part.source in names
            and base.source.dtype(part.source) not in ("F32", "F16", "BF16")
            and (
                isinstance(source, MergedSource)
                or choices[tensor.name].type_name != base.source.dtype(part.source)
            )
        }
    )
    if quantized:
        found.append(
            f"The base is quantized already ({one_line(', '.join(quantized))}); its weights are rounded a second time."
        )
    return found
