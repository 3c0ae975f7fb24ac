"""Judging by intervals: what is sound is not refused for noise, what is broken is refused in spite of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rolekit.convert.adapter_share import AdapterShare, Share, wilson_high
from rolekit.convert.conversations import bundled_conversations
from rolekit.convert.conversion import convert
from rolekit.convert.job import Job
from rolekit.convert.limits import limits_of
from rolekit.convert.output import publish
from rolekit.convert.proof import Check, Proof
from rolekit.convert.reference import Reference
from rolekit.convert.references import open_reference
from rolekit.convert.verify import Candidate, Demands, verify

TOLERANCE = limits_of("Q4_1").adapter


def share_of(arrives: float, noise: float, talks: int = 6, shared: float = 0.05) -> Share:
    """The estimate for a file in which arrives of the effect has arrived, under noise times its size of rounding error.

    shared: how much of the rounding error lies along the effect at every position.
    """
    generator = np.random.default_rng(5)
    measured = AdapterShare()
    for _ in range(talks):
        bare, effect, error = generator.standard_normal((3, 40, 96)).astype(np.float32)
        measured.add(bare + effect, bare, bare + (arrives - shared * noise) * effect + noise * error)
    estimate = measured.estimate()
    assert estimate is not None
    return estimate


@pytest.mark.parametrize("noise", [0.1, 1.0, 4.0, 8.0, 12.0])
@pytest.mark.parametrize("talks", [1, 6])
def test_a_sound_file_is_not_refused_however_weak_the_adapter(noise: float, talks: int) -> None:
    assert not share_of(1, noise, talks).outside(TOLERANCE)


@pytest.mark.parametrize("arrives", [0.0, 0.25, 2.0])
def test_a_strong_adapter_that_is_lost_or_scaled_is_refused(arrives: float) -> None:
    for noise in (0.1, 0.5):
        assert share_of(arrives, noise).outside(TOLERANCE)


def test_a_figure_that_tells_nothing_is_marked_so() -> None:
    sound, unknown = share_of(1, 0.5), share_of(1, 12)
    assert sound.inside(TOLERANCE)
    assert not unknown.inside(TOLERANCE)
    marked = (Check("a", "", told=False), Check("a", "", passed=False, told=False), Check("a", ""))
    assert [check.verdict for check in marked] == ["not told", "FAILED", "ok"]


def test_a_rate_is_judged_by_how_much_was_seen() -> None:
    """15 of 20 may be 80 %; 150 of 200 hardly, 750 of 1,000 not."""
    assert wilson_high(15, 20) > 0.8
    assert wilson_high(750, 1000) < 0.8
    assert wilson_high(0, 8) < 0.4
    assert (wilson_high(0, 0), wilson_high(9, 9)) == (1.0, 1.0)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory, make_llama, make_adapter) -> Callable[..., Proof]:
    """The proof of a 4-bit file in which `inside` was merged, where `trained` should have been."""
    folder = tmp_path_factory.mktemp("share")
    base = make_llama(folder / "base")
    adapters: dict[str, Path] = {
        "strong": make_adapter(base, folder / "strong", lora_alpha=32, use_rslora=True),
        "weak": make_adapter(base, folder / "weak", lora_alpha=0.1),
    }
    for name, changes in (("unscaled", {"use_rslora": False}), ("twice", {"lora_alpha": 64})):
        adapters[name] = Path(shutil.copytree(adapters["strong"], folder / name))
        config = json.loads((adapters[name] / "adapter_config.json").read_text())
        (adapters[name] / "adapter_config.json").write_text(json.dumps(config | changes))
    references: dict[str, Callable[[], Reference]] = {}

    def proof(trained: str, inside: str) -> Proof:
        out = folder / f"{trained}-{inside or 'nothing'}.gguf"
        job = Job(base=base, adapter=adapters.get(inside), out=out, type_name="Q4_1")
        produced = convert(job)
        publish(produced.parts, produced.targets)
        right = replace(job, adapter=adapters[trained])
        demands = Demands(bundled_conversations(1), tokens=2, adapter=adapters[trained])
        return verify(Candidate(out), base, references.setdefault(trained, open_reference(right)), demands)

    return proof


def verdict(proof: Proof) -> str:
    return next(check.verdict for check in proof.checks if check.name == "adapter")


@pytest.mark.parametrize("inside", ["", "unscaled"])
def test_4_bits_do_not_hide_that_a_strong_adapter_is_missing_or_weakened(
    judge: Callable[..., Proof], inside: str
) -> None:
    assert verdict(judge("strong", inside)) == "FAILED"


def test_an_adapter_that_was_added_twice_is_refused(judge: Callable[..., Proof]) -> None:
    """By the divergence: logits that run into saturation need not show twice the effect."""
    assert "mean KL" in [check.name for check in judge("strong", "twice").failed]


def test_4_bits_pass_a_sound_file_with_a_strong_adapter_and_with_a_weak_one(
    judge: Callable[..., Proof],
) -> None:
    strong, weak = judge("strong", "strong"), judge("weak", "weak")
    assert (strong.passed, verdict(strong)) == (True, "ok")
    assert verdict(weak) != "FAILED"
