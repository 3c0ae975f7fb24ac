"""The automatic plan: costs that add up, the cheapest choice, and a file that was really measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rolekit.cli import app
from rolekit.convert.conversations import Conversation
from rolekit.convert.conversion import convert
from rolekit.convert.gguf_source import GgufSource
from rolekit.convert.job import Job
from rolekit.convert.kl_meter import KlMeter, readings_of
from rolekit.convert.output import publish
from rolekit.convert.sensitivity import Option, Weights, options, types_for
from rolekit.convert.type_plan import read_plan
from rolekit.convert.type_search import auto_plan, cheapest, nearest_mix
from rolekit.errors import RolekitError
from rolekit.messages import Message

MakeModel = Callable[..., Path]


TALKS = [
    Conversation((Message("user", f"{question} {number}?"), Message("assistant", reply)))
    for number in range(3)
    for question, reply in (
        ("Who are you and where do you sail,", "I am the captain of this ship, and I know the sea."),
        ("What do you fear,", "Nothing but a calm: it takes the wind out of my sails."),
    )
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_llama: MakeModel) -> Path:
    """A tiny Llama whose weights are large enough that rounding them is felt."""
    return make_llama(
        tmp_path_factory.mktemp("base"), "float32", initializer_range=0.08, tie_word_embeddings=True
    )


def made(job: Job) -> Path:
    produced = convert(job)
    publish(produced.parts, produced.targets)
    return job.out


def test_the_greedy_choice_is_near_the_best_of_all() -> None:
    random = np.random.default_rng(5)
    costs = {}
    for number in range(5):
        sensitivity = float(random.lognormal(0, 1.5))
        rows = int(random.integers(50, 500))
        costs[f"t{number}"] = [
            Option(kind, rows * bits, sensitivity * 4.0 ** (-bits) * float(random.uniform(0.8, 1.2)))
            for kind, bits in (("Q2_K", 2), ("Q3_K", 3), ("Q4_K", 4), ("Q6_K", 6), ("Q8_0", 8))
        ]
    largest = max(option.size_bytes for ladder in costs.values() for option in ladder)
    for allowed in (0.5, 0.1, 0.01, 0.001):
        chosen = cheapest(costs, allowed)
        picked = {name: next(o for o in costs[name] if o.type_name == kind) for name, kind in chosen.items()}
        choices = [
            (sum(o.size_bytes for o in options_), sum(o.kl for o in options_))
            for options_ in product(*costs.values())
        ]
        best = min((size for size, kl in choices if kl <= allowed), default=None)
        assert best is not None
        assert sum(option.kl for option in picked.values()) <= allowed
        assert sum(option.size_bytes for option in picked.values()) <= best + largest
    assert set(cheapest(costs, 0.0).values()) <= {"Q8_0", "Q6_K"}
    assert set(cheapest(costs, 1e9).values()) == {"Q2_K"}


def test_ladders_and_names() -> None:
    assert types_for(256) == ["Q2_K", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0"]
    assert types_for(576) == ["Q4_0", "IQ4_NL", "Q5_0", "Q5_1", "Q8_0"]
    assert types_for(40) == ["F16"]
    assert nearest_mix(["Q4_K", "Q6_K", "Q4_K"]) == "Q4_K_M"
    assert nearest_mix(["Q5_0"]) == "Q5_0"


def test_costs_are_measured_and_the_scratch_file_comes_back_as_it_was(base: Path, tmp_path: Path) -> None:
    path = made(Job(base, tmp_path / "exact.gguf", type_name="F16"))
    before = path.read_bytes()
    meter = KlMeter(path, readings_of(path, TALKS, 600), threads=1)
    assert meter.measure(path) < 1e-9
    source = GgufSource(path)
    weights = [Weights(name, *source.shape(name)) for name in source.names() if len(source.shape(name)) == 2]
    source.close()
    costs = options(path, weights, 2, {}, meter, lambda _what, _done, _total: None)
    assert path.read_bytes() == before
    assert costs.keys() == {one.name for one in weights}
    for ladder in costs.values():
        by_type = {option.type_name: option.kl for option in ladder}
        assert by_type["Q2_K"] > by_type["Q4_K"] > by_type["Q8_0"] > 0
    everything = sum(next(o.kl for o in ladder if o.type_name == "Q3_K") for ladder in costs.values())
    low = made(Job(base, tmp_path / "q3.gguf", type_name="Q3_K_S", plan=all_as("Q3_K", tmp_path)))
    assert meter.measure(low) == pytest.approx(
        everything, rel=0.6
    )  # the sum of single costs foretells the whole


def all_as(kind: str, folder: Path) -> Path:
    path = folder / "all.toml"
    path.write_text(f"[types]\n'weight' = '{kind}'\n")
    return path


def test_the_file_found_is_under_the_limit_and_smaller_than_the_mixes(base: Path, tmp_path: Path) -> None:
    talks = TALKS
    job = Job(base, tmp_path / "auto.gguf", type_name="auto")
    exact = made(Job(base, tmp_path / "exact.gguf", type_name="F16"))
    meter = KlMeter(exact, readings_of(exact, talks, 2000), threads=1)
    mix = made(Job(base, tmp_path / "mix.gguf", type_name="Q4_K_M"))
    allowed = meter.measure(mix)
    path, found = auto_plan(job, talks, allowed)
    assert found is not None
    assert found.kl <= allowed
    planned = [override.type_name for override in read_plan(path)]
    out = made(Job(base, job.out, type_name=nearest_mix(planned), plan=path))
    assert meter.measure(out) == pytest.approx(found.kl, rel=1e-3)
    assert out.stat().st_size < mix.stat().st_size * 1.005
    assert auto_plan(job, talks, allowed) == (path, None)  # found before
    assert sorted(file.name for file in tmp_path.iterdir() if "search" in file.name) == []
    with pytest.raises(RolekitError, match="No choice of types stays under"):
        auto_plan(job, talks, 1e-9)


def test_the_command_searches_and_writes_the_file(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "talks.jsonl"
    rows = [{"messages": [{"role": m.speaker, "content": m.text} for m in talk.messages]} for talk in TALKS]
    data.write_text("\n".join(map(json.dumps, rows)))
    command = [
        "convert",
        str(base),
        "--out",
        str(tmp_path / "auto.gguf"),
        "--type",
        "auto",
        "--data",
        str(data),
    ]
    result = CliRunner().invoke(app, [*command, "--max-kl", "0.3", "--no-verify", "--json"])
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout.splitlines()[-1])
    assert row["bytes"] == (tmp_path / "auto.gguf").stat().st_size
    assert (tmp_path / "auto.types.toml").is_file()
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, RolekitError)
    assert "needs a limit" in str(result.exception)
