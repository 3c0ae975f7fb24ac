"""Carrying out a run from the command line: whoever answers, the asking, and how it ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolekit.commands.progress import advise, progress
from rolekit.errors import RolekitError
from rolekit.messages import Sampling
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.rolebench.planning import Plan
    from rolekit.rolebench.recipe import Recipe
    from rolekit.rolebench.running import Step
    from rolekit.rolebench.runs import Run


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who answers, and how hard it may be asked."""

    model: str | None
    adapters: tuple[str, ...] = ()
    ctx: int = 4096
    threads: int = 0
    chat_template: str | None = None
    parallel: int = 16
    concurrency: int = 8
    max_usd: float | None = None
    max_requests: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How it is asked: the parts of the recipe that the command line decides."""

    data_path: str
    subset: dict[str, Any]
    prompting: Any
    customise: Any
    sampling: Sampling
    max_tokens: int
    seed: int
    label: str = ""


def carry_out(folder: Path, planned: Plan, chosen: Chosen, settings: Settings) -> Asking:
    """Begin the run in folder or go on with it, to the end; what came of it.

    Raises RolekitError when it cannot begin or more answers will not come; what was answered is kept.
    """
    from rolekit.rolebench.recipe import Recipe, alone_in, begin

    with alone_in(folder):
        answerer = open_answerer(folder, chosen)
        try:
            recipe = Recipe(
                ref=chosen.model or "",
                identity=answerer.identity,
                data_path=settings.data_path,
                subset=settings.subset,
                prompting=settings.prompting,
                customise=settings.customise,
                sampling=settings.sampling,
                max_tokens=settings.max_tokens,
                seed=settings.seed,
                label=settings.label,
                examples_sha256=planned.examples_sha256,
            )
            started = begin(folder, recipe, planned.records)
        except BaseException:
            asyncio.run(answerer.close())
            raise
        asking = Asking(started, recipe, planned, answerer)
        asking.go()
    return asking


def open_answerer(folder: Path, chosen: Chosen) -> Any:
    """The model that answers: a server with the run's journal and a budget, or a GGUF file in this process."""
    from rolekit.commands.opening import ModelChoice, open_backend_aside
    from rolekit.config import load_config
    from rolekit.endpoints.address import is_endpoint
    from rolekit.rolebench.answering import LocalAnswerer

    config = load_config()
    ref = chosen.model or config.model
    if is_endpoint(ref):
        return _server(folder, ref, chosen)
    choice = ModelChoice(ref or None, chosen.adapters, chosen.ctx, chosen.threads, chosen.chat_template)
    backend: Any = open_backend_aside(choice, config)
    if backend.notice:
        advise(backend.notice)
    template = chosen.chat_template or ""
    return LocalAnswerer(backend, parallel=chosen.parallel, chat_template=template)


def _server(folder: Path, ref: str, chosen: Chosen) -> Any:
    from rolekit.endpoints.buying import open_buyer
    from rolekit.rolebench.answering import EndpointAnswerer
    from rolekit.rolebench.prompting import VERSION

    if chosen.adapters or chosen.chat_template:
        raise RolekitError(
            f"Adapters and templates work on models in this process, and {one_line(ref)} runs on a server.",
            "Leave them out, or let the server load them.",
        )
    buyer = open_buyer(
        folder, ref, concurrency=chosen.concurrency, max_usd=chosen.max_usd, max_requests=chosen.max_requests
    )
    version = f"bench-run {VERSION}"
    return EndpointAnswerer(
        buyer.client.endpoint, buyer, concurrency=chosen.concurrency, prompt_version=version
    )


class Asking:
    """One run while its questions are asked, and what came of it."""

    def __init__(self, started: Run, recipe: Recipe, planned: Plan, answerer: Any) -> None:
        """started: the run's folder; answerer: one of rolebench.answering, which go() closes."""
        self.run, self.recipe, self.planned = started, recipe, planned
        self.refusals: Counter[str] = Counter()
        self.tokens = 0
        self.seconds = 0.0
        self._answerer = answerer
        self._asked = 0

    def go(self) -> None:
        """Ask what has no answer yet. Raises RolekitError when no more answers will come."""
        from rolekit.rolebench.recipe import answered_keys

        start = time.perf_counter()
        try:
            with progress() as show:
                asyncio.run(self._ask(show))
        except (KeyboardInterrupt, RolekitError):
            if kept := len(answered_keys(self.run)):
                total = len(self.planned.records)
                advise(f"{kept} of {total} answers are in {self.run.folder}; the same command goes on.")
            raise
        self.seconds = time.perf_counter() - start

    async def _ask(self, show: Any) -> None:
        from rolekit.rolebench.running import ask

        planned = self.planned
        steps = ask(self.run, self.recipe, planned.records, self._answerer, planned.casting, planned.pairs)
        try:
            async with aclosing(steps):
                async for step in steps:
                    self._take(step)
                    left = step.total - step.done
                    show(f"{step.done}/{step.total} {step.record.role}", self._asked, self._asked + left)
        finally:
            await self._answerer.close()

    def _take(self, step: Step) -> None:
        self._asked += 1
        if step.answer is None:
            self.refusals[step.refusal] += 1
        else:
            self.tokens += step.answer.generated_tokens


def tell_end(asking: Asking, as_json: bool) -> None:
    """Print what came of a run. Raises RolekitError where questions got no answer."""
    total, missing = len(asking.planned.records), asking.refusals.total()
    answered = total - missing
    if as_json:
        row = {
            "run": str(asking.run.folder), "model": asking.run.recipe.get("model"), "asked": total,
            "answered": answered, "unanswered": dict(asking.refusals), "generated_tokens": asking.tokens,
            "seconds": round(asking.seconds, 2),
        }  # fmt: skip
        print(json.dumps(row, ensure_ascii=False))
    else:
        speed = f", {asking.tokens / asking.seconds:.0f} tokens/s" if asking.tokens else ""
        print(f"{count(answered)} of {count(total)} answered in {asking.run.folder}{speed}")
        if not missing:
            advise(f"Score them: rolekit bench score {asking.run.folder}")
    check_whole(asking)


def check_whole(asking: Asking) -> None:
    """Raise RolekitError, with the reasons, where questions got no answer."""
    missing = asking.refusals.total()
    if missing:
        reasons = "; ".join(
            f"{number} × {one_line(reason, 160)}" for reason, number in asking.refusals.items()
        )
        raise RolekitError(
            f"{missing} of {len(asking.planned.records)} questions got no answer: {reasons.rstrip('.')}.",
            "The same command asks them again; everything else is kept.",
        )
