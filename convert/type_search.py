"""The smallest file under a divergence that the user allows: types are searched tensor by tensor, then measured.

First every tensor's cost is estimated (rolekit.convert.sensitivity), then bits are given where a byte buys most until
the sum is under the limit, then a real file is made and measured. What the measurement says corrects the target.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rolekit.convert.base import open_base
from rolekit.convert.calibration import files_of
from rolekit.convert.conversations import Conversation
from rolekit.convert.conversion import convert, merged
from rolekit.convert.imatrix import read_imatrix
from rolekit.convert.job import Job, Progress
from rolekit.convert.kl_meter import KlMeter, readings_of
from rolekit.convert.mixes import is_quantizable
from rolekit.convert.model_facts import facts_of
from rolekit.convert.sensitivity import Option, Weights, options
from rolekit.convert.type_plan import write_plan
from rolekit.errors import RolekitError

PROBE_TOKENS, FINAL_TOKENS = 700, 2000
"""What is read for each group of tensors, and for each file that is really made."""
_MOST_FILES = 5
_CLOSE_ENOUGH = 0.9
"""A file that uses this share of the allowed divergence is not made smaller any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search."""

    types: Mapping[str, str]
    """Each quantized tensor's type."""
    kl: float
    """Measured, in nats."""
    size_bytes: int
    """Of the whole file."""
    files: int
    """How many were made and measured."""


def auto_plan(
    job: Job,
    talks: Sequence[Conversation],
    max_kl: float,
    progress: Progress = lambda _what, _done, _total: None,
) -> tuple[Path, Found | None]:
    """The plan file beside the job's output (NAME.types.toml), searched now, or by an earlier run of the same search;
    then without the outcome.

    Raises RolekitError like search.
    """
    path = job.out.with_suffix(".types.toml")
    text = repr((files_of(job), talks, max_kl))
    mark = f"rolekit auto {hashlib.sha256(text.encode()).hexdigest()}"
    if path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        return path, None
    found = search(job, talks, max_kl, progress)
    comment = f"The smallest file of {found.files} under a divergence of {max_kl:g}: measured {found.kl:.5f} nats.\n{mark}"
    write_plan(found.types, path, comment)
    return path, found


def search(
    job: Job,
    talks: Sequence[Conversation],
    max_kl: float,
    progress: Progress = lambda _what, _done, _total: None,
) -> Found:
    """The types of the smallest file whose mean KL divergence from the job's exact model stays under max_kl.

    talks are what it is measured on: a few for estimates, more of them for the files that are really made. Needs
    room beside the output for an F16 copy and the result. Raises RolekitError when no types are good enough.
    """
    job.out.parent.mkdir(parents=True, exist_ok=True)
    means = read_imatrix(job.imatrix).means() if job.imatrix else {}
    with TemporaryDirectory(prefix=f"{job.out.name}.search.", dir=job.out.parent) as name:
        folder = Path(name)
        whole = replace(
            job, out=folder / "exact.gguf", type_name="F16", imatrix=None, plan=None, split_bytes=0
        )
        exact = convert(whole, progress=progress).parts[0]
        weights, layers = _weights(job)
        final = KlMeter(exact, readings_of(exact, talks, FINAL_TOKENS), threads=job.threads)
        probe = KlMeter(exact, readings_of(exact, talks, PROBE_TOKENS), threads=job.threads)
        costs = options(exact, weights, layers, means, probe, progress)
        return _narrowed(replace(job, plan=None, split_bytes=0), costs, final, max_kl, folder, progress)


def _weights(job: Job) -> tuple[list[Weights], int]:
    with closing(open_base(job.base)) as base:
        plan = base.plan(merged(base, job))
    found = [
        Weights(tensor.name, tensor.rows, tensor.columns)
        for tensor in plan.tensors
        if not tensor.keep_type and is_quantizable(tensor)
    ]
    return found, facts_of(plan).layers


def _narrowed(
    job: Job,
    costs: Mapping[str, Sequence[Option]],
    meter: KlMeter,
    max_kl: float,
    folder: Path,
    progress: Progress,
) -> Found:
    """Files made and measured, the target corrected by what was measured, until one is just good enough."""
    target, best, seen = max_kl, None, set[tuple[str, ...]]()
    low, high, kl, fits = 0.0, float("inf"), 0.0, False
    for number in range(1, _MOST_FILES + 1):
        types = cheapest(costs, target)
        key = tuple(types.values())
        if key in seen:  # the step was too small to move any tensor
            target *= 1.3 if fits else 0.7
            continue
        seen.add(key)
        progress("making and measuring a file", number - 1, _MOST_FILES)
        size, kl = _made(job, types, meter, folder)
        fits = kl <= max_kl
        if fits and (best is None or size < best.size_bytes):
            best = Found(types, kl, size, number)
        if fits:
            low = target
        else:
            high = target
        if best and _CLOSE_ENOUGH * max_kl <= kl <= max_kl:
            break
        target = target * max_kl / max(kl, 1e-9) * (1.0 if fits else 0.97)
        if not low < target < high:
            target = (low + high) / 2 if high < float("inf") else low * 1.5
    if best is None:
        raise RolekitError(
            f"No choice of types stays under a divergence of {max_kl:g} (the last file had {kl:.3g}).",
            "Allow more with --max-kl, or choose --type Q8_0 or F16.",
        )
    return replace(best, files=len(seen))


def cheapest(costs: Mapping[str, Sequence[Option]], allowed: float) -> dict[str, str]:
    """Types whose expected divergences add up to no more than allowed, at about the smallest size.

    Every tensor begins with the fewest bytes; then the step that saves most divergence for a byte is taken, again and
    again. Where even the best types are not enough, the best.
    """
    ladders = {name: _hull(ladder) for name, ladder in costs.items()}
    rung = dict.fromkeys(ladders, 0)
    total = sum(ladder[0].kl for ladder in ladders.values())
    steps = [(_gain(ladder, 0), name) for name, ladder in ladders.items() if len(ladder) > 1]
    heapq.heapify(steps)
    while steps and total > allowed:
        _, name = heapq.heappop(steps)
        ladder, at = ladders[name], rung[name]
        total -= ladder[at].kl - ladder[at + 1].kl
        rung[name] = at + 1
        if at + 2 < len(ladder):
            heapq.heappush(steps, (_gain(ladder, at + 1), name))
    return {name: ladders[name][at].type_name for name, at in rung.items()}


def _gain(ladder: Sequence[Option], at: int) -> float:
    """Minus the divergence that the next step saves for each byte: the heap's smallest is the best."""
    here, following = ladder[at], ladder[at + 1]
    return -(here.kl - following.kl) / (following.size_bytes - here.size_bytes)


def _hull(ladder: Sequence[Option]) -> list[Option]:
    """The options worth having: larger ones are better, and each step saves less for a byte than the one before."""
    hull = list[Option]()
    for option in sorted(ladder, key=lambda one: (one.size_bytes, one.kl)):
        if hull and option.kl >= hull[-1].kl:
            continue
        while len(hull) > 1 and _gain([hull[-2], hull[-1]], 0) >= _gain([hull[-1], option], 0):
            hull.pop()
        if hull and option.size_bytes == hull[-1].size_bytes:
            hull.pop()
        hull.append(option)
    return hull


def _made(job: Job, types: Mapping[str, str], meter: KlMeter, folder: Path) -> tuple[int, float]:
    plan, out = folder / "types.toml", folder / "candidate.gguf"
    write_plan(types, plan)
    part = convert(replace(job, out=out, type_name=nearest_mix(list(types.values())), plan=plan)).parts[0]
    size, kl = part.stat().st_size, meter.measure(part)
    for left in folder.glob("candidate.gguf*"):
        left.unlink()
    return size, kl


def nearest_mix(kinds: Sequence[str]) -> str:
    """The file type whose name says most of these types: what general.file_type will say."""
    most = max(set(kinds), key=kinds.count)
    return {"Q2_K": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}.get(most, most)
