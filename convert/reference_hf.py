"""The reference for a safetensors folder: transformers, with a PEFT or mlx-lm adapter on top, in this process."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rolekit.adapter_folder import format_of
from rolekit.convert.adapter import read_adapter
from rolekit.convert.reference import PROMPT_ROWS, Prediction
from rolekit.convert.reference_mlx import HookedAdapter
from rolekit.engine.machine import available_memory_bytes
from rolekit.errors import RolekitError
from rolekit.text import one_line, size

_OVERHEAD_BYTES = 700 << 20
"""torch and transformers themselves, and the activations of a conversation."""
_TYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}
_MOST_HEADER_BYTES = 100 << 20


class HuggingFace:
    """A safetensors folder in transformers, with an adapter on top or without. Never runs the folder's code."""

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
        self._hooked: HookedAdapter | None = None
        if adapter and format_of(adapter) == "peft":
            self._model = _with_adapter(self._model, adapter)
        elif adapter:
            self._hooked = HookedAdapter(self._model, adapter)
        self._has_peft = adapter is not None and self._hooked is None
        self._model.eval()

    @property
    def label(self) -> str:
        """Hugging Face, with PEFT or without, and what it computes in."""
        adapter = " + PEFT" if self._has_peft else " + the MLX adapter" if self._hooked else ""
        return f"Hugging Face{adapter} in {'fp32' if self.dtype == 'float32' else 'bf16'}"

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
        if self._has_peft:
            without = self._model.disable_adapter()
        elif self._hooked and self._hooked.can_be_left_out:
            without = self._hooked.left_out()
        else:
            return None
        with without:
            ids = self._ids([*prompt, *reply])
            output = self._model(input_ids=ids, use_cache=False, logits_to_keep=len(reply))
        return _rows(output.logits)

    def _ids(self, ids: Sequence[int]) -> Any:
        return self._torch.tensor([list(ids)], dtype=self._torch.long)

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None


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
            # what peft asks of transformers, between these two
            warnings.simplefilter("ignore", FutureWarning)
            rows = _embedding_rows(adapter)
            if rows and rows != model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(rows, mean_resizing=False)
            return PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    except (ValueError, OSError, KeyError, RuntimeError, TypeError) as error:
        raise RolekitError(
            f"peft cannot put {adapter} on the base ({one_line(str(error), 200)}).",
            "Use the base that the adapter was trained on.",
        ) from error


def _embedding_rows(adapter: Path) -> int:
    """How many tokens an adapter's own embedding or output has; 0 where it brings none."""
    saved = read_adapter(adapter).saved()
    ends = ("embed_tokens.weight", "lm_head.weight")
    return max((shape[0] for name, shape in saved.items() if name.endswith(ends)), default=0)


def _rows(logits: Any) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = logits[0].float().numpy()
    return rows
