"""GGUF LoRA adapters over one base model: loaded once, then switched in and out at no cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp

from rolekit.engine import log
from rolekit.engine.gguf_header import GgufHeader, read_header
from rolekit.engine.model import Model
from rolekit.errors import RolekitError
from rolekit.paths import file_sha256

_RETRAIN = "Use the model it was trained on (--model), or train the adapter for this one."


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter in memory. identity is a digest of the file, so equal files are the same adapter."""

    path: Path
    pointer: Any
    identity: str


class Adapters:
    """The adapters of one model that have been used so far; all stay resident until close()."""

    def __init__(self, model: Model) -> None:
        """model: must stay loaded as long as any adapter of it is in use."""
        self._model = model
        self._loaded: dict[tuple[Path, int, int], Adapter] = {}

    def load(self, path: Path) -> Adapter:
        """The adapter in path, read from disk the first time only (or when the file has changed).

        Raises RolekitError when it is no LoRA adapter, is damaged, or was made for another model.
        """
        path = path.resolve()
        header = read_header(path)
        _check(header, self._model.header, path)
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._loaded:
            self._loaded[key] = Adapter(path, self._open(path), file_sha256(path))
        return self._loaded[key]

    def _open(self, path: Path) -> Any:
        log.last_errors()
        pointer = llama_cpp.llama_adapter_lora_init(self._model.pointer, str(path).encode())
        if not pointer:
            errors = log.last_errors()
            reason = (
                errors[-1].rpartition("failed to apply lora adapter: ")[2] if errors else "no reason given"
            )
            raise RolekitError(f"llama.cpp cannot load the adapter {path.name} ({reason}).", _RETRAIN)
        return pointer

    def close(self) -> None:
        """Free all adapters; no context may use them any more, and the model must still be open."""
        for adapter in self._loaded.values():
            llama_cpp.llama_adapter_lora_free(adapter.pointer)
        self._loaded.clear()


def identity_of(adapters: Sequence[tuple[Adapter, float]]) -> tuple[str, ...]:
    """Tells a set of adapters and scales from any other: KV belongs to the set it was made under."""
    return tuple(sorted(f"{adapter.identity}:{scale!r}" for adapter, scale in adapters if scale != 0))


def _check(header: GgufHeader, base: GgufHeader, path: Path) -> None:
    """Refuse what llama.cpp would refuse with an abort, or with a sentence nobody understands."""
    if header.text("general.type") != "adapter" or header.text("adapter.type") != "lora":
        raise RolekitError(f"{path.name} is not a LoRA adapter.", "A model goes to --model.")
    architecture, expected = header.text("general.architecture"), base.text("general.architecture")
    if architecture != expected:
        raise RolekitError(
            f"The adapter {path.name} was made for {architecture or 'no known'} models; "
            f"this one is a {expected} model.",
            _RETRAIN,
        )
    if not isinstance(header.metadata.get("adapter.lora.alpha", 0.0), float):
        raise RolekitError(f"The alpha of the adapter {path.name} is not a number.", "Convert it again.")
    if "adapter.alora.invocation_tokens" in header.metadata:
        raise RolekitError(f"{path.name} is an activated LoRA, which rolekit does not run.", _RETRAIN)
    _check_tensors(header, base, path)


def _check_tensors(header: GgufHeader, base: GgufHeader, path: Path) -> None:
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    names = {tensor.name for tensor in header.tensors}
    pairs = {
        tensor.name: tensor.shape for tensor in header.tensors if tensor.name.endswith((".lora_a", ".lora_b"))
    }
    if not pairs:
        raise RolekitError(f"The adapter {path.name} holds no LoRA weights.", "Convert it again.")
    for name, shape in pairs.items():
        target, half = name[:-7], name[-1]
        if target not in shapes:
            raise RolekitError(f"The adapter {path.name} changes {target}, which this model lacks.", _RETRAIN)
        if f"{target}.lora_{'b' if half == 'a' else 'a'}" not in names:
            raise RolekitError(f"The adapter {path.name} has only half of {target}.", "Convert it again.")
        if len(shape) != 2:
            raise RolekitError(f"The adapter {path.name} has a {len(shape)}-D {name}.", "Convert it again.")
