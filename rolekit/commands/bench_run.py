"""`rolekit bench run`: ask a model the questions of RoleBench, and keep every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolekit.commands import bench_options as options
from rolekit.commands import common_options as common
from rolekit.commands.bench_asking import Chosen, Settings, carry_out, tell_end
from rolekit.commands.bench_options import (
    AdapterOption,
    ModelOption,
    one_of,
)
from rolekit.commands.progress import advise
from rolekit.messages import Sampling
from rolekit.paths import expanded
from rolekit.text import count

if TYPE_CHECKING:
    from rolekit.rolebench.planning import Plan


def run(
    data: options.Data, out: common.RunFolder, model: ModelOption = None, adapter: AdapterOption = None,
    per_role: options.PerRole = 0, role: options.Role = None, kind: options.Kind = None,
    split: options.Split = "test", prompting: common.Prompting = "zero-shot",
    customise: options.Customise = "system", examples: options.Examples = None,
    max_tokens: options.MaxTokens = 200, temperature: options.Temperature = 0.0, top_p: options.TopP = 1.0,
    seed: options.Seed = 0, ctx: options.Ctx = 4096, threads: common.Threads = 0,
    chat_template: common.ChatTemplate = None, parallel: options.Parallel = 16,
    concurrency: common.Concurrency = 8, max_usd: common.MaxUsd = None,
    max_requests: common.MaxRequests = None, label: options.Label = "", as_json: options.Json = False,
) -> None:  # fmt: skip
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
    place, roles = find_data(data), tuple(role or ())
    pairs = find_data(examples) if examples else None
    wishes = Wishes(place, per_role, roles, kinds, one_of("--split", split, SPLITS), pairs)
    planned = plan(wishes, how, told, advise)
    tell_width(planned)
    subset = {"per_role": per_role, "roles": sorted(roles), "kinds": sorted(kinds), "split": split}
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=0, min_p=0.0)
    settings = Settings(str(place), subset, how, told, sampling, max_tokens, seed, label)
    adapters = tuple(adapter or ())
    limits = parallel, concurrency, max_usd, max_requests
    chosen = Chosen(model, adapters, ctx, threads, chat_template, *limits)
    tell_end(carry_out(expanded(out), planned, chosen, settings), as_json)


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
