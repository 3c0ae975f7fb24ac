"""`rolekit bench run`: ask a model the questions of RoleBench, and keep every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolekit.commands.bench_asking import Chosen, Settings, carry_out, tell_end
from rolekit.commands.progress import advise
from rolekit.config import MOST_THREADS
from rolekit.messages import Sampling
from rolekit.paths import expanded
from rolekit.text import count

if TYPE_CHECKING:
    from rolekit.rolebench.planning import Plan

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
    from rolekit.rolebench.planning import Wishes, plan
    from rolekit.rolebench.prompting import CUSTOMISES, PROMPTINGS
    from rolekit.rolebench.records import KINDS, SPLITS, find_data

    how = one_of("--prompting", prompting, PROMPTINGS)
    told = one_of("--customise", customise, CUSTOMISES)
    kinds = tuple(one_of("--kind", name, KINDS) for name in kind or ())
    wishes = Wishes(
        find_data(data), per_role, tuple(role or ()), kinds, one_of("--split", split, SPLITS),
        find_data(examples) if examples else None,
    )  # fmt: skip
    planned = plan(wishes, how, told, advise)
    tell_width(planned)
    settings = Settings(
        data_path=str(wishes.data),
        subset={"per_role": per_role, "roles": sorted(wishes.roles), "kinds": sorted(kinds), "split": split},
        prompting=how,
        customise=told,
        sampling=Sampling(temperature=temperature, top_p=top_p, top_k=0, min_p=0.0),
        max_tokens=max_tokens,
        seed=seed,
        label=label,
    )
    chosen = Chosen(
        model, tuple(adapter or ()), ctx, threads, chat_template, parallel, concurrency, max_usd, max_requests
    )
    asking = carry_out(expanded(out), planned, chosen, settings)
    tell_end(asking, as_json)


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
