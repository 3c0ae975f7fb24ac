"""The weights: one memory-mapped model that contexts, adapters and samplers share."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp

from rolekit.engine import log
from rolekit.engine.gguf_header import GgufHeader, read_header
from rolekit.engine.references import quantization_of, shard_names
from rolekit.engine.vocabulary import Vocabulary
from rolekit.errors import RolekitError

_BLOCK_BYTES = 64 * 1024
_SAMPLED_BLOCKS = 16


class Model:
    """An open GGUF model; close it when nothing that was made from it is in use any more.

    pointer is llama.cpp's handle; header what the file says of itself; vocabulary its tokenizer.
    """

    def __init__(self, path: Path) -> None:
        """Map path's weights, all layers on the GPU where llama.cpp was built for one.

        Raises RolekitError when the file is damaged, foreign, or of an architecture llama.cpp does not know.
        """
        self.path = path
        self.header: GgufHeader = read_header(path)
        for shard in shard_names(path.name)[1:]:
            read_header(path.with_name(shard))
        if self.header.text("general.type") not in ("", "model"):
            raise RolekitError(
                f"{path.name} is not a model but of type {self.header.text('general.type')!r}.",
                "Choose a chat model with --model; adapters go to --adapter.",
            )
        log.quiet()
        log.last_errors()
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = -1 if llama_cpp.llama_supports_gpu_offload() else 0
        self.pointer: Any = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.pointer:
            raise RolekitError(
                f"llama.cpp cannot load {path.name}{_reason()}.",
                "Choose another GGUF file, or one made for this version of llama.cpp.",
            )
        if not llama_cpp.llama_model_has_decoder(self.pointer) or self._embeds_only():
            self.close()
            raise RolekitError(f"{path.name} is no chat model.", "Choose one that generates text.")
        self.vocabulary = Vocabulary(self.pointer)

    def _embeds_only(self) -> bool:
        architecture = self.header.text("general.architecture")
        return f"{architecture}.pooling_type" in self.header.metadata

    @property
    def trained_context(self) -> int:
        """The context length the model was trained for, in tokens."""
        return int(llama_cpp.llama_model_n_ctx_train(self.pointer))

    @property
    def weight_bytes(self) -> int:
        """The size of all weights, wherever they lie."""
        return int(llama_cpp.llama_model_size(self.pointer))

    @property
    def rolls_back(self) -> bool:
        """Whether the end of a sequence can be taken back; recurrent and hybrid models only start anew."""
        return not (
            llama_cpp.llama_model_is_recurrent(self.pointer) or llama_cpp.llama_model_is_hybrid(self.pointer)
        )

    @property
    def sliding_window(self) -> int:
        """Tokens in the attention window of sliding-window layers; 0 where there are none."""
        return int(llama_cpp.llama_model_n_swa(self.pointer))

    @property
    def label(self) -> str:
        """A short name for status lines, such as `smollm2-135m Q4_1`."""
        header = self.header
        words = (header.text("general.basename"), header.text("general.size_label"))
        name = "-".join(filter(None, words)) or header.text("general.name") or self.path.stem
        kinds = Counter(tensor.type_name for tensor in header.tensors if len(tensor.shape) > 1)
        kind = quantization_of(self.path.name) or (kinds.most_common(1)[0][0] if kinds else "")
        return f"{name.lower()} {kind}".strip()

    @cached_property
    def fingerprint(self) -> str:
        """Tells this file from any other: its size, its whole header and blocks spread over the weights."""
        size = self.header.file_bytes
        digest = hashlib.sha256(str(size).encode())
        with self.path.open("rb") as file:
            digest.update(file.read(self.header.data_offset))
            for index in range(_SAMPLED_BLOCKS):
                start = self.header.data_offset
                file.seek(start + (size - start) * index // _SAMPLED_BLOCKS)
                digest.update(file.read(_BLOCK_BYTES))
        return digest.hexdigest()

    def close(self) -> None:
        """Unmap the weights; closing twice is fine."""
        if self.pointer:
            llama_cpp.llama_model_free(self.pointer)
            self.pointer = None


def _reason() -> str:
    """llama.cpp's last words on the matter, without the C function's name."""
    errors = log.last_errors()
    if not errors:
        return ""
    text = errors[0].rpartition("error loading model: ")[2]
    return f" ({text.partition('llama_model_load: ')[2] or text})"
