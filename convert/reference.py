"""What a converted model has to behave like: Hugging Face + PEFT, or the dequantized model, asked in fp32."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rolekit.convert.logits import Evaluator
from rolekit.engine.machine import available_memory_bytes
from rolekit.errors import RolekitError
from rolekit.text import one_line, size

PROMPT_ROWS = 128
"""Of a prompt, the logits of the last so many positions are compared."""
_OVERHEAD_BYTES = 700 << 20
"""torch and transformers themselves, and the activations of a conversation."""
_TYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}
_MOST_HEADER_BYTES = 100 << 20


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


class HuggingFace:
    """A safetensors folder in transformers, with a PEFT adapter on top or without. Never runs the folder's code."""

    def __init__(self, folder: Path, adapter: Path | None = None) -> None:
        """Load the weights: in fp32 where the memory allows it, else in bf16.

        Raises RolekitError where neither fits, or transformers cannot load the folder without foreign code.
        """
        import torch
        import transformers

        self.dtype = _fitting_dtype(folder)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self._torch = torch
        self._model: Any = _loaded(folder, getattr(torch, self.dtype))
        if adapter:
            self._model = _with_adapter(self._model, adapter)
        self._has_adapter = adapter is not None
        self._model.eval()

    @property
    def label(self) -> str:
        """Hugging Face, with PEFT or without, and what it computes in."""
        peft = " + PEFT" if self._has_adapter else ""
        return f"Hugging Face{peft} in {'fp32' if self.dtype == 'float32' else 'bf16'}"

    def predict(
        self, prompt: Sequence[int], reply: Sequence[int], tokens: int, ends: frozenset[int]
    ) -> Prediction:
        """See Reference."""
        with self._torch.inference_mode():
            read = self._model(input_ids=self._ids(prompt), use_cache=True, logits_to_keep=PROMPT_ROWS)
            cache = copy.deepcopy(read.past_key_values)
            after_prompt = _rows(read.logits)
            replied = self._model(input_ids=self._ids(reply), past_key_values=cache, use_cache=True)
            del cache
            said, rows = self._continue(after_prompt[-1], read.past_key_values, tokens, ends)
            return Prediction(after_prompt, _rows(replied.logits), said, rows, self._bare(prompt, reply))

    def _continue(
        self, last: NDArray[np.float32], cache: Any, tokens: int, ends: frozenset[int]
    ) -> tuple[tuple[int, ...], NDArray[np.float32]]:
        said, rows = list[int](), list[NDArray[np.float32]]()
        while len(said) < tokens and (token := int(last.argmax())) not in ends:
            step = self._model(input_ids=self._ids([token]), past_key_values=cache, use_cache=True)
            cache, last = step.past_key_values, _rows(step.logits)[-1]
            said.append(token)
            rows.append(last)
        return tuple(said), np.stack(rows) if rows else np.empty((0, len(last)), np.float32)

    def _bare(self, prompt: Sequence[int], reply: Sequence[int]) -> NDArray[np.float32] | None:
        if not self._has_adapter:
            return None
        with self._model.disable_adapter():
            ids = self._ids([*prompt, *reply])
            output = self._model(input_ids=ids, use_cache=False, logits_to_keep=len(reply))
        return _rows(output.logits)

    def _ids(self, ids: Sequence[int]) -> Any:
        return self._torch.tensor([list(ids)], dtype=self._torch.long)

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None


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


def parameters_of(folder: Path) -> int:
    """How many numbers the safetensors files of a folder hold, from their headers; 0 where they cannot be read."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_HEADER_BYTES:
                return 0
            try:
                header = json.loads(file.read(length))
            except ValueError:
                return 0
        for entry in header.values():
            if isinstance(entry, dict) and entry.get("dtype") in _TYPE_BYTES:
                start, stop = entry["data_offsets"]
                total += (stop - start) // _TYPE_BYTES[entry["dtype"]]
    return total


def _fitting_dtype(folder: Path) -> str:
    parameters, available = parameters_of(folder), available_memory_bytes()
    for dtype, bytes_ in (("float32", 4), ("bfloat16", 2)):
        need = parameters * bytes_ + _OVERHEAD_BYTES
        if not available or need <= available:
            return dtype
    raise RolekitError(
        f"Comparing with Hugging Face needs {size(need)} of memory, and {size(available)} are free.",
        "Close other programs, or verify on a machine with more memory: rolekit convert verify.",
    )


def _loaded(folder: Path, dtype: Any) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",
        )
    except (ValueError, OSError, KeyError, RuntimeError, ImportError) as error:
        raise RolekitError(
            f"transformers cannot load {folder} ({one_line(str(error), 200)}).",
            "Without it the file cannot be compared with what was trained.",
        ) from error


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # what peft asks of transformers, between these two
            return PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except (ValueError, OSError, KeyError, RuntimeError, TypeError) as error:
        raise RolekitError(
            f"peft cannot put {adapter} on the base ({one_line(str(error), 200)}).",
            "Use the base that the adapter was trained on.",
        ) from error


def _rows(logits: Any) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = logits[0].float().numpy()
    return rows


def stacked(blocks: Iterator[NDArray[np.float32]], keep: int = 0) -> NDArray[np.float32]:
    """The blocks of an Evaluator as one array; only the last keep rows where keep is not 0."""
    copies = list[NDArray[np.float32]]()
    for block in blocks:
        copies.append(block.copy())
        while keep and sum(map(len, copies[1:])) >= keep:
            del copies[0]
    return np.concatenate(copies)[-keep:]  # -0 keeps all
