"""What a converted model has to behave like: Hugging Face + PEFT, or the dequantized model, asked in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rolekit.convert.logits import Evaluator

PROMPT_ROWS = 128
"""Of a prompt, the logits of the last so many positions are compared."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a reference says about one conversation; logits are fp32, (positions, vocabulary)."""

    prompt: NDArray[np.float32]
    """After each token of the prompt's end (PROMPT_ROWS at most)."""
    reply: NDArray[np.float32]
    """After each token of the reply."""
    continuation: tuple[int, ...]
    """What it would say itself after the prompt, token by token the most likely, without the end token."""
    continued: NDArray[np.float32]
    """After each token of the continuation."""
    bare_reply: NDArray[np.float32] | None
    """`reply` without the adapter; None where there is no adapter."""


class Reference(Protocol):
    """A model whose behaviour counts as right."""

    @property
    def label(self) -> str:
        """What it is, for people."""
        ...

    def predict(
        self, prompt: Sequence[int], reply: Sequence[int], tokens: int, ends: frozenset[int]
    ) -> Prediction:
        """Its view of prompt + reply, and up to tokens of its own; one of ends stops those."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Dequantized:
    """A GGUF model run by llama.cpp as the reference for a smaller one that was made of it."""

    def __init__(self, model: Evaluator, *, has_adapter: bool, closing: ExitStack) -> None:
        """model: everything it has to have, in F32; an adapter that it has loaded is what was trained.

        closing is closed with it: the model and the files it lies in.
        """
        self._model, self._has_adapter, self._closing = model, has_adapter, closing

    @property
    def label(self) -> str:
        """What it is."""
        return "the base, dequantized" + (", with the adapter" if self._has_adapter else "")

    def predict(
        self, prompt: Sequence[int], reply: Sequence[int], tokens: int, ends: frozenset[int]
    ) -> Prediction:
        """See Reference."""
        model = self._model
        after_prompt = stacked(model.logits(prompt), PROMPT_ROWS)
        after_reply = stacked(model.extend(reply))
        model.cut(len(prompt))
        said, rows, last = list[int](), list[NDArray[np.float32]](), after_prompt[-1]
        while len(said) < tokens and (token := int(last.argmax())) not in ends:
            last = stacked(model.extend([token]))[0]
            said.append(token)
            rows.append(last)
        continued = np.stack(rows) if rows else np.empty((0, len(last)), np.float32)
        bare = None
        if model.adapters:
            with model.bare():
                bare = stacked(model.logits([*prompt, *reply]), len(reply))
        return Prediction(after_prompt, after_reply, tuple(said), continued, bare)

    def close(self) -> None:
        """Free the model and remove its file."""
        self._closing.close()


def stacked(blocks: Iterator[NDArray[np.float32]], keep: int = 0) -> NDArray[np.float32]:
    """The blocks of an Evaluator as one array; only the last keep rows where keep is not 0."""
    copies = list[NDArray[np.float32]]()
    for block in blocks:
        copies.append(block.copy())
        while keep and sum(map(len, copies[1:])) >= keep:
            del copies[0]
    return np.concatenate(copies)[-keep:]  # -0 keeps all
