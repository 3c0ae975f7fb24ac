"""Which reference a conversion is compared with, opened only when it is wanted."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rolekit.convert.adapter import read_adapter
from rolekit.convert.adapter_gguf import needs_merge, write_gguf_adapter
from rolekit.convert.base import open_base
from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.convert.logits import Evaluator
from rolekit.convert.reference import Dequantized, Reference
from rolekit.convert.reference_hf import HuggingFace
from rolekit.convert.verify import CONTEXT_TOKENS, OpenReference


def reference_source(base: Path, adapter: Path | None = None) -> Path | None:
    """The folder whose tokenizer and template count; None where the base is a GGUF, which has them built in.

    A tokenizer that was saved beside the adapter is the one that was trained with.
    """
    if not base.is_dir():
        return None
    return adapter if adapter and (adapter / "tokenizer.json").is_file() else base


def open_reference(job: Job) -> OpenReference:
    """A function that loads what job's file is compared with.

    For a folder: Hugging Face + PEFT. For a GGUF base: the base dequantized to F32 (a file for as long as it is in
    use, beside job.out), with the adapter put on at run time, or merged where it cannot be.
    """

    def of_folder() -> Reference:
        return HuggingFace(job.base, job.adapter)

    return of_folder if job.base.is_dir() else lambda: _dequantized(job)


def _dequantized(job: Job) -> Reference:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix=".reference-", dir=job.out.parent)))
        merged = _adapter_beside(job, folder / "adapter.gguf")
        adapter = job.adapter if merged else None
        exact = replace(
            job,
            out=folder / "exact.gguf",
            type_name="F32",
            adapter=adapter,
            imatrix=None,
            plan=None,
            split_bytes=0,
        )
        path = convert(exact).parts[0]
        adapters = [(folder / "adapter.gguf", 1.0)] if job.adapter and not merged else []
        evaluator = stack.enter_context(
            Evaluator(path, adapters, context_tokens=CONTEXT_TOKENS, threads=job.threads)
        )
        return Dequantized(evaluator, has_adapter=job.adapter is not None, closing=stack.pop_all())


def _adapter_beside(job: Job, target: Path) -> bool:
    """Write job's adapter as a GGUF adapter to target; True where it has to be merged instead."""
    if not job.adapter:
        return False
    with closing(open_base(job.base)) as base:
        shapes = {name: base.source.shape(name) for name in base.source.names()}
        adapter = read_adapter(job.adapter).fitted(shapes, base.name, base.tied())
        plan = base.plan(base.source)
        if needs_merge(adapter, plan):
            return True
        write_gguf_adapter(adapter, plan, target)
    return False
