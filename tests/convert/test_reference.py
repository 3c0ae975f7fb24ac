"""The reference itself: transformers with PEFT, chunk by chunk the same as at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rolekit.convert.divergence import Divergence
from rolekit.convert.reference_hf import HuggingFace, parameters_of
from rolekit.errors import RolekitError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_llama, make_adapter) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reference")
    base = make_llama(folder / "base")
    return base, make_adapter(base, folder / "adapter")


def test_a_prediction_is_what_one_forward_pass_gives(model: tuple[Path, Path]) -> None:
    import torch

    reference = HuggingFace(*model)
    prompt, reply = list(range(3, 40)), list(range(50, 60))
    seen = reference.predict(prompt, reply, 5, frozenset())
    with torch.inference_mode():
        whole = reference._model(input_ids=torch.tensor([prompt + reply])).logits[0].numpy()
    assert np.allclose(np.concatenate([seen.prompt, seen.reply]), whole, atol=1e-4)
    assert len(seen.continuation) == len(seen.continued) == 5
    assert seen.continuation[0] == int(whole[len(prompt) - 1].argmax())
    assert seen.bare_reply is not None
    assert not np.allclose(seen.bare_reply, seen.reply, atol=1e-2)
    assert reference.label == "Hugging Face + PEFT in fp32"
    stopped = reference.predict(prompt, reply, 5, frozenset(seen.continuation))
    assert stopped.continuation == ()


def test_a_model_that_does_not_fit_is_refused_with_the_figure(
    model: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolekit.convert.reference_hf.available_memory_bytes", lambda: 1 << 20)
    with pytest.raises(
        RolekitError, match=r"Comparing with Hugging Face needs .* of memory, and 1\.0 MiB are free"
    ):
        HuggingFace(model[0])


def test_parameters_are_counted_from_the_headers(model: tuple[Path, Path]) -> None:
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(str(model[0]))
    assert parameters_of(model[0]) == sum(parameter.numel() for parameter in loaded.parameters())


def test_divergence_of_equal_and_of_shifted_logits_is_none() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 100)).astype(np.float32)
    found = Divergence()
    found.add(logits, logits + np.float32(3))
    assert found.mean_kl < 1e-12
    assert found.nmse < 1e-12
    assert found.agreement == 1
    found.add(np.array([[0.0, np.log(3)]], np.float32), np.array([[0.0, 0.0]], np.float32))
    expected = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    assert found.kl[-1] == pytest.approx(expected, abs=1e-6)
