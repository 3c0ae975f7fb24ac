"""`rolekit bench run`: ask a model the questions of RoleBench, and keep every answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands.convert_progress import advise, progress
from rolekit.config import MOST_THREADS
from rolekit.errors import RolekitError
from rolekit.paths import expanded
from rolekit.text import count, one_line

if TYPE_CHECKING:
    from rolekit.rolebench.planning import Plan
    from rolekit.rolebench.recipe import Recipe
    from rolekit.rolebench.running import Step
    from rolekit.rolebench.runs import Run

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="REF", help="A .gguf, `starter`, hf:… or openai:MODEL[@BASE_URL]."),
]
AdapterOption = Annotated[
    list[str] | None, typer.Option("--adapter", metavar="PATH[:SCALE]", help="GGUF LoRA adapter; repeatable.")
]
ConcurrencyOption = Annotated[
    int, typer.Option(min=1, max=256, metavar="N", help="Requests under way at a server.")
]
MaxUsdOption = Annotated[
    float | None, typer.Option("--max-usd", min=0, metavar="X", help="Stop before a server costs more.")
]
MaxRequestsOption = Annotated[
    int | None, typer.Option("--max-requests", min=0, metavar="N", help="Stop before more requests are sent.")
]


def run(
    data: Annotated[
        str, typer.Option(metavar="PATH", help="RoleBench: its folder, or a .jsonl of its rows.")
    ],
    out: Annotated[
        str, typer.Option(metavar="RUN", help="The run's folder; the same command goes on with it.")
    ],
    model: ModelOption = None,
    adapter: AdapterOption = None,
    per_role: Annotated[
        int, typer.Option(min=0, metavar="N", help="Questions a role, chosen by hash; 0: all.")
    ] = 0,
    role: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this role; repeatable.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="general or role_specific; both without it.")
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="test or train, where data is a folder.")
    ] = "test",
    prompting: Annotated[
        str, typer.Option(metavar="HOW", help="zero-shot, few-shot-prompt or few-shot-dialogue.")
    ] = "zero-shot",
    customise: Annotated[
        str, typer.Option(metavar="HOW", help="system, retrieval or none: what tells the model who it is.")
    ] = "system",
    examples: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Rows to take example pairs from; else data's train split."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Longest answer in tokens.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, max=5, metavar="X", help="0 is greedy.")] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, metavar="X", help="Nucleus; 1 switches it off.")
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Same seed, same answers.")
    ] = 0,
    ctx: Annotated[int, typer.Option(min=0, metavar="N", help="Context in tokens.")] = 4096,
    threads: Annotated[
        int, typer.Option(min=0, max=MOST_THREADS, metavar="N", help="CPU threads; 0: the physical cores.")
    ] = 0,
    chat_template: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Template name or a .jinja file.")
    ] = None,
    parallel: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Answers decoded together.")
    ] = 16,
    concurrency: ConcurrencyOption = 8,
    max_usd: MaxUsdOption = None,
    max_requests: MaxRequestsOption = None,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What reports call this run.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object.")] = False,
) -> None:
    """Ask a model the questions of RoleBench, and keep every answer.

    Ctrl+C, a crash or a power cut loses nothing: the same command goes on. Score the run with `rolekit bench score
    RUN`, look at it with `rolekit bench report RUN`.
    """
    from rolekit.messages import Sampling
    from rolekit.rolebench.planning import Wishes, plan
    from rolekit.rolebench.prompting import CUSTOMISES, PROMPTINGS
    from rolekit.rolebench.recipe import Recipe, alone_in, begin
    from rolekit.rolebench.records import KINDS, SPLITS

    how = one_of("--prompting", prompting, PROMPTINGS)
    told = one_of("--customise", customise, CUSTOMISES)
    kinds = tuple(one_of("--kind", name, KINDS) for name in kind or ())
    wishes = Wishes(
        expanded(data), per_role, tuple(role or ()), kinds, one_of("--split", split, SPLITS),
        expanded(examples) if examples else None,
    )  # fmt: skip
    folder = expanded(out)
    planned = plan(wishes, how, told, advise)
    tell_width(planned)
    with alone_in(folder):
        answerer = open_answerer(
            folder, model, adapter, ctx=ctx, threads=threads, chat_template=chat_template, parallel=parallel,
            concurrency=concurrency, max_usd=max_usd, max_requests=max_requests,
        )  # fmt: skip
        try:
            recipe = Recipe(
                ref=model or "",
                identity=answerer.identity,
                data_path=str(wishes.data),
                subset={
                    "per_role": per_role, "roles": sorted(wishes.roles), "kinds": sorted(kinds), "split": split,
                },
                prompting=how,
                customise=told,
                sampling=Sampling(temperature=temperature, top_p=top_p, top_k=0, min_p=0.0),
                max_tokens=max_tokens,
                seed=seed,
                label=label,
                examples_sha256=planned.examples_sha256,
            )  # fmt: skip
            started = begin(folder, recipe, planned.records)
        except BaseException:
            asyncio.run(answerer.close())
            raise
        _finish(_Asking(started, recipe, planned, answerer), as_json)


def one_of(option: str, value: str, known: tuple[Any, ...]) -> Any:
    """value, which must be one of known. Raises BadParameter that lists them."""
    if value not in known:
        raise typer.BadParameter(f"{option} is one of {', '.join(known)}.")
    return value


def tell_width(planned: Plan) -> None:
    """What the figures of so many questions can be trusted to, before anything runs."""
    from rolekit.rolebench.sampling import expected_half_width

    records = planned.records
    roles = len({record.role for record in records})
    width = expected_half_width(records)
    advise(
        f"{count(len(records))} questions to {count(roles)} {'role' if roles == 1 else 'roles'};"
        f" expect an interval of about ±{width:.3f} around standard F1."
    )


def open_answerer(
    folder: Path,
    model: str | None,
    adapters: list[str] | None,
    *,
    ctx: int,
    threads: int,
    chat_template: str | None,
    parallel: int,
    concurrency: int,
    max_usd: float | None,
    max_requests: int | None,
) -> Any:
    """The model that answers: a server with the run's journal and a budget, or a GGUF file in this process."""
    from rolekit.commands.opening import ModelChoice, open_backend_aside, parse_adapter
    from rolekit.config import load_config
    from rolekit.endpoints.address import is_endpoint
    from rolekit.rolebench.answering import LocalAnswerer

    config = load_config()
    ref = model or config.model
    if is_endpoint(ref):
        return _server(folder, ref, adapters, chat_template, concurrency, max_usd, max_requests)
    choice = ModelChoice(ref or None, tuple(adapters or ()), ctx, threads, chat_template)
    backend: Any = open_backend_aside(choice, config)
    if backend.notice:
        advise(backend.notice)
    pairs = [parse_adapter(text) for text in adapters or ()]
    return LocalAnswerer(backend, pairs, parallel=parallel, chat_template=chat_template or "")


def _server(
    folder: Path,
    ref: str,
    adapters: list[str] | None,
    chat_template: str | None,
    concurrency: int,
    max_usd: float | None,
    max_requests: int | None,
) -> Any:
    from rolekit.rolebench.answering import EndpointAnswerer
    from rolekit.rolebench.prompting import VERSION

    if adapters or chat_template:
        raise RolekitError(
            f"Adapters and templates work on models in this process, and {one_line(ref)} runs on a server.",
            "Leave them out, or let the server load them.",
        )
    buyer = open_buyer(folder, ref, concurrency, max_usd, max_requests)
    return EndpointAnswerer(
        buyer.client.endpoint, buyer, concurrency=concurrency, prompt_version=f"bench-run {VERSION}"
    )


def open_buyer(
    folder: Path, ref: str, concurrency: int, max_usd: float | None, max_requests: int | None
) -> Any:
    """The client of the server that ref names, with the folder's journal and a budget.

    Raises RolekitError when a budget is wanted and nobody knows the price.
    """
    from rolekit.endpoints.address import parse_endpoint
    from rolekit.endpoints.buying import Budget, Buyer
    from rolekit.endpoints.client import Client
    from rolekit.endpoints.journal import Journal
    from rolekit.endpoints.prices import FREE, needed_price, price_of

    endpoint = parse_endpoint(ref)
    price = needed_price(endpoint) if max_usd is not None else price_of(endpoint)
    budget = Budget(price or FREE, max_usd, max_requests)
    return Buyer(Client(endpoint, concurrency=concurrency), Journal(folder / "journal.db"), budget)


class _Asking:
    """One run while its questions are asked."""

    def __init__(self, started: Run, recipe: Recipe, planned: Plan, answerer: Any) -> None:
        self.run, self.recipe, self.planned, self.answerer = started, recipe, planned, answerer
        self.refusals: Counter[str] = Counter()
        self.tokens = 0
        self.asked = 0

    async def ask(self, show: Any) -> None:
        from rolekit.rolebench.running import ask

        steps = ask(
            self.run,
            self.recipe,
            self.planned.records,
            self.answerer,
            self.planned.casting,
            self.planned.pairs,
        )
        try:
            async with aclosing(steps):
                async for step in steps:
                    self._take(step)
                    left = step.total - step.done
                    show(f"{step.done}/{step.total} {step.record.role}", self.asked, self.asked + left)
        finally:
            await self.answerer.close()

    def _take(self, step: Step) -> None:
        self.asked += 1
        if step.answer is None:
            self.refusals[step.refusal] += 1
        else:
            self.tokens += step.answer.generated_tokens


def _finish(asking: _Asking, as_json: bool) -> None:
    """Ask, and say how it ended."""
    from rolekit.rolebench.recipe import answered_keys

    total, start = len(asking.planned.records), time.perf_counter()
    try:
        with progress() as show:
            asyncio.run(asking.ask(show))
    except (KeyboardInterrupt, RolekitError):
        if kept := len(answered_keys(asking.run)):
            advise(f"{kept} of {total} answers are in {asking.run.folder}; the same command goes on.")
        raise
    seconds = time.perf_counter() - start
    missing = asking.refusals.total()
    answered = total - missing
    if as_json:
        row = {
            "run": str(asking.run.folder), "model": asking.run.recipe.get("model"), "asked": total,
            "answered": answered, "unanswered": dict(asking.refusals), "generated_tokens": asking.tokens,
            "seconds": round(seconds, 2),
        }  # fmt: skip
        print(json.dumps(row, ensure_ascii=False))
    else:
        speed = f", {asking.tokens / seconds:.0f} tokens/s" if asking.tokens else ""
        print(f"{count(answered)} of {count(total)} answered in {asking.run.folder}{speed}")
        if not missing:
            advise(f"Score them: rolekit bench score {asking.run.folder}")
    if missing:
        reasons = "; ".join(
            f"{number} × {one_line(reason, 160)}" for reason, number in asking.refusals.items()
        )
        raise RolekitError(
            f"{missing} of {total} questions got no answer: {reasons.rstrip('.')}.",
            "The same command asks them again; everything else is kept.",
        )
