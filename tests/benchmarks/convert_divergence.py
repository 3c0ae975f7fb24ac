"""Which of two files lies nearer to Hugging Face + PEFT: figures a conversation, and intervals over conversations."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rolekit.convert.bases import resolve_base
from rolekit.convert.conversations import Conversation, bundled_conversations
from rolekit.convert.divergence import Divergence
from rolekit.convert.job import Job
from rolekit.convert.logits import Evaluator
from rolekit.convert.measuring import Measured, Text
from rolekit.convert.references import open_reference
from rolekit.engine.prompt import Prompter
from rolekit.engine.templates import load_template

GREEDY_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files made of the same base and adapter."""

    base: Path
    adapter: Path
    files: Mapping[str, Path]


def conversations(count: int) -> list[Conversation]:
    """The bundled roles, one conversation each, then their second ones: none twice."""
    first = bundled_conversations(count)
    names = dict.fromkeys(talk.origin for talk in first)
    more = [talk for name in names for talk in bundled_conversations(8, name)[1:4] if talk.origin == name]
    return [*first, *more][:count]


def measure(pair: Pair, talks: Sequence[Conversation], most_prompt: int, results: Path) -> None:
    """Add a line to results for every conversation that has none yet: mean KL, positions and all KLs of each file."""
    done = {row["talk"] for row in rows(results)}
    todo = [number for number in range(len(talks)) if number not in done]
    if not todo:
        return
    models = {
        name: Evaluator(file, context_tokens=2 * most_prompt, threads=threads())
        for name, file in pair.files.items()
    }
    reference = open_reference(
        Job(base=resolve_base(str(pair.base)), out=pair.files["ours"], adapter=pair.adapter)
    )()
    print(reference.label, flush=True)
    one = next(iter(models.values()))
    ends = frozenset(token for token in range(one.vocabulary.size) if one.vocabulary.is_end(token))
    for number in todo:
        text = _text(talks[number], one, most_prompt)
        seen = reference.predict(text.prompt, text.reply, GREEDY_TOKENS, ends)
        row: dict[str, Any] = {"talk": number}
        for name, model in models.items():
            measured = Measured(ends, Divergence())
            measured.add(seen, model, text)
            row[name] = [round(value, 7) for value in measured.divergence.kl]
        with results.open("a") as file:
            print(json.dumps(row), file=file)
    reference.close()
    for model in models.values():
        model.close()


def threads() -> int:
    """What OMP_NUM_THREADS says, for torch and for llama.cpp alike; 0 leaves it to both."""
    return int(os.environ.get("OMP_NUM_THREADS", "0"))


def rows(results: Path) -> list[dict[str, Any]]:
    """What has been measured so far."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def summary(found: Sequence[Mapping[str, Any]]) -> str:
    """Means, 99 % quantiles and their ratios with 95 % intervals, conversations resampled in pairs."""
    sides = {name: [np.array(row[name]) for row in found] for name in ("ours", "peer")}
    mean = {name: float(np.concatenate(values).mean()) for name, values in sides.items()}
    p99 = {name: float(np.quantile(np.concatenate(values), 0.99)) for name, values in sides.items()}
    sums = {name: np.array([value.sum() for value in values]) for name, values in sides.items()}
    picks = np.random.default_rng(1).integers(0, len(found), (10_000, len(found)))
    low, high = np.quantile(sums["ours"][picks].sum(1) / sums["peer"][picks].sum(1), [0.025, 0.975])
    better = int((sums["ours"] < sums["peer"]).sum())
    positions = sum(map(len, sides["ours"]))
    return (
        f"{len(found)} conversations, {positions} positions: ours {mean['ours']:.5f} (p99 {p99['ours']:.4f}), "
        f"peer {mean['peer']:.5f} (p99 {p99['peer']:.4f}), ratio {mean['ours'] / mean['peer']:.4f} "
        f"({low:.4f} to {high:.4f}), p99 {p99['ours'] / p99['peer']:.3f}, ours nearer in {better}"
    )


def over_adapters(found: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """The ratio over adapters, each one draw of the rounding; 95 % interval by adapter, then conversation."""
    sides = [
        {name: np.array([sum(row[name]) for row in mine]) for name in ("ours", "peer")} for mine in found
    ]
    chance = np.random.default_rng(1)

    def ratio(*, drawn: bool) -> float:
        sums = {"ours": 0.0, "peer": 0.0}
        for at in chance.integers(0, len(sides), len(sides)) if drawn else range(len(sides)):
            count = len(sides[at]["ours"])
            picks = chance.integers(0, count, count) if drawn else np.arange(count)
            for name in sums:
                sums[name] += float(sides[at][name][picks].sum())
        return sums["ours"] / sums["peer"]

    low, high = np.quantile([ratio(drawn=True) for _ in range(4000)], [0.025, 0.975])
    nearer = sum(side["ours"].sum() < side["peer"].sum() for side in sides)
    return f"{len(sides)} adapters: ratio {ratio(drawn=False):.4f} ({low:.4f} to {high:.4f}), ours nearer with {nearer}"


def _text(talk: Conversation, model: Evaluator, most_prompt: int) -> Text:
    prompter = Prompter(load_template(None, model.model.header), model.vocabulary)
    prompt = prompter.build(talk.prompt)
    reply = (*prompter.reply_ids(talk.reply, prompt), *prompter.end_ids)[: most_prompt // 3]
    return Text(tuple(prompt.ids[-most_prompt:]), reply)
