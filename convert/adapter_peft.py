"""PEFT's LoRA adapters, read strictly: a setting that changes the result is honoured or refused, never skipped.

Source: peft 0.21 (LoraConfig, get_peft_model_state_dict, the forward passes of tuners/lora).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolekit.adapter_folder import WEIGHTS_FILES, lora_scale, matching, pattern_table, read_config
from rolekit.convert.adapter import Adapter, LowRank, Matrix, TokenRows
from rolekit.convert.adapter_files import AdapterFile, StoredMatrix, refuse_all
from rolekit.errors import RolekitError
from rolekit.text import one_line

PREFIX = "base_model.model."

_HONOURED = frozenset(
    {
        *("peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "use_dora", "bias"),
        *(
            "lora_bias",
            "modules_to_save",
            "init_lora_weights",
            "trainable_token_indices",
            "ensure_weight_tying",
        ),
        *("base_model_name_or_path", "fan_in_fan_out"),
    }
)

_ONLY_FOR_TRAINING = frozenset(
    {
        *("task_type", "inference_mode", "revision", "auto_mapping", "peft_version", "lora_dropout"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "runtime_config"),
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config", "megatron_core"),
        *("qalora_group_size",),
    }
)
"""Settings that say how the tensors came to be; the tensors themselves say the rest."""

_REFUSED = {
    "layer_replication": "it repeats layers of its base",
    "alora_invocation_tokens": "it is an activated LoRA, which switches on in the middle of a text",
    "target_parameters": "it changes the experts of a mixture by parameter, not by module",
    "use_qalora": "it is a QA-LoRA, which pools the inputs in groups",
    "use_bdlora": "it is a block-diagonal LoRA",
    "arrow_config": "it routes between several adapters (Arrow)",
    "kasa_config": "it cuts singular values off its base (KaSA)",
    "monteclora_config": "it samples its weights (MonteCLoRA)",
    "megatron_config": "it was trained on a Megatron model",
}

_INITIAL_OF_THE_BASE = {
    "pissa": "PiSSA moved the main part of each weight from the base into the adapter",
    "corda": "CorDA moved a part of each weight from the base into the adapter",
    "olora": "OLoRA took its first values out of the base",
    "loftq": "LoftQ trained it on a quantized base of its own",
    "lora_ga": "LoRA-GA took its first values out of the base",
}
_HARMLESS_INITIAL = frozenset({"gaussian", "eva", "orthogonal", "mica"})


def read(folder: Path) -> Adapter:
    """The PEFT adapter in folder; see read_adapter."""
    config = read_config(folder)
    _check_config(folder, config)
    file = AdapterFile(folder / WEIGHTS_FILES["peft"])
    settings = _Settings(config)
    parts = _sorted_parts(folder, file)
    faults = [fault for module in parts.low for fault in settings.faults(module, parts.low[module])]
    refuse_all(folder, faults, "Save the adapter again with PEFT, or train it again.")
    return Adapter(
        folder=folder,
        kind="peft",
        base_model=_text(config.get("base_model_name_or_path")),
        low_rank={
            f"{module}.weight": _low_rank(halves, settings.scale(module))
            for module, halves in parts.low.items()
        },
        replaced=dict(parts.replaced),
        bias_deltas={
            f"{module}.bias": (halves["lora_B.bias"], settings.scale(module))
            for module, halves in parts.low.items()
            if "lora_B.bias" in halves
        },
        token_rows=_token_rows(folder, config, parts.tokens),
        keeps_tied=bool(config.get("ensure_weight_tying")),
        digest=file.digest(),
    )


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise RolekitError(
            f"The adapter {one_line(folder.name)} is of the type {one_line(_text(kind)) or 'unknown'}, not LORA.",
            "Merge it with PEFT where it was trained, and convert the merged model.",
        )
    _check_initial(folder, config.get("init_lora_weights", True))
    reasons = [reason for key, reason in _REFUSED.items() if config.get(key)]
    known = _HONOURED | _ONLY_FOR_TRAINING | set(_REFUSED)
    strange = sorted(key for key, value in config.items() if key not in known and value)
    reasons += [f"it has a setting that rolekit does not know, {one_line(key)}" for key in strange]
    refuse_all(folder, reasons, "Merge it with PEFT where it was trained, and convert the merged model.")


def _check_initial(folder: Path, initial: object) -> None:
    if isinstance(initial, bool) or initial is None or initial in _HARMLESS_INITIAL:
        return
    word = _text(initial).lower().partition("_niter_")[0]
    reason = _INITIAL_OF_THE_BASE.get(word, f"nobody here knows the initialisation {one_line(word)!r}")
    raise RolekitError(
        f"The adapter {one_line(folder.name)} does not fit the original base: {reason}.",
        "Save it with PEFT's path_initial_model_for_weight_conversion; or, if the base is the model that this "
        "initialisation left behind, set init_lora_weights to true in adapter_config.json.",
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    low: dict[str, dict[str, StoredMatrix]]
    """Module to the parts of its low-rank change: lora_A, lora_B, …"""
    replaced: dict[str, Matrix]
    tokens: dict[str, StoredMatrix]


_HALVES = {
    ".lora_A.weight": "lora_A",
    ".lora_B.weight": "lora_B",
    ".lora_B.bias": "lora_B.bias",
    ".lora_embedding_A": "embedding_A",
    ".lora_embedding_B": "embedding_B",
    ".lora_magnitude_vector.weight": "magnitude",
    ".lora_magnitude_vector": "magnitude",
}
_TOKENS = ".token_adapter.trainable_tokens_delta"


def _sorted_parts(folder: Path, file: AdapterFile) -> _Parts:
    """Every tensor of the file in its place; all that have none are named in one error."""
    parts, strange = _Parts({}, {}, {}), []
    for key in file.shapes:
        path = key.removeprefix(PREFIX)
        suffix = next((suffix for suffix in _HALVES if path.endswith(suffix)), "")
        if path == key:
            strange.append(f"{one_line(key)} does not begin with {PREFIX}")
        elif suffix:
            module = path.removesuffix(suffix)
            parts.low.setdefault(module, {})[_HALVES[suffix]] = file.matrix(key)
        elif path.endswith(_TOKENS):
            parts.tokens[path.removesuffix(_TOKENS)] = file.matrix(key)
        elif ".original_module." in path:
            continue  # the base's own numbers, which PEFT saves along when the vocabulary has grown
        elif path.endswith((".weight", ".bias")) and ".lora_" not in path:
            name = path.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
            parts.replaced[name] = file.matrix(key)
        else:
            strange.append(f"it holds {one_line(key)}, which is no part of a LoRA")
    if not (parts.low or parts.replaced or parts.tokens):
        strange.append("it holds no weights")
    refuse_all(folder, strange, "Save the adapter again with PEFT's save_pretrained.")
    return parts


class _Settings:
    """Rank and scale of each module, as PEFT finds them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._ranks = pattern_table(config, "rank_pattern")
        self._alphas = pattern_table(config, "alpha_pattern")

    def rank(self, module: str) -> object:
        return matching(self._ranks, module, self._config.get("r"))

    def alpha(self, module: str) -> object:
        return matching(self._alphas, module, self._config.get("lora_alpha"))

    def scale(self, module: str) -> float:
        """What B·A is multiplied by, once `faults` has found none."""
        rank, alpha = self.rank(module), self.alpha(module)
        assert isinstance(rank, int)
        assert isinstance(alpha, int | float)
        return lora_scale(self._config, rank, alpha)

    def faults(self, module: str, halves: Mapping[str, StoredMatrix]) -> list[str]:
        """What is wrong with a module's settings and tensors."""
        embedding = "embedding_A" in halves or "embedding_B" in halves
        first, second = ("embedding_A", "embedding_B") if embedding else ("lora_A", "lora_B")
        if first not in halves or second not in halves:
            return [f"{one_line(module)} has only one half of its low-rank change"]
        rank, alpha = self.rank(module), self.alpha(module)
        if type(rank) is not int or rank < 1:
            return [f"the rank of {one_line(module)} is {one_line(str(rank))}"]
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            return [f"lora_alpha of {one_line(module)} is {one_line(str(alpha))}"]
        a, b = halves[first], halves[second]
        if len(a.shape) != 2 or len(b.shape) != 2:
            return [f"{one_line(module)} has a change that is no pair of matrices"]
        if a.shape[0] != rank or b.shape[1] != rank:
            found = f"{a.shape[0]} and {b.shape[1]}" if a.shape[0] != b.shape[1] else str(a.shape[0])
            return [f"{one_line(module)} has rank {found} in its tensors and {rank} in its settings"]
        return _other_faults(module, halves, b.shape[0], embedding, self._config.get("use_dora"))


def _other_faults(
    module: str, halves: Mapping[str, StoredMatrix], rows: int, embedding: bool, dora: object
) -> list[str]:
    if bool(dora) != ("magnitude" in halves) and not embedding:
        return [f"{one_line(module)} has {'no ' if dora else ''}DoRA magnitudes, against use_dora"]
    if embedding and "magnitude" in halves:
        return [
            f"{one_line(module)} is an embedding with DoRA, whose magnitudes PEFT applies column by column"
        ]
    faults = []
    for part, words in (("magnitude", "DoRA magnitudes"), ("lora_B.bias", "bias")):
        if part in halves and math.prod(halves[part].shape) != rows:
            faults.append(f"{one_line(module)} has {math.prod(halves[part].shape)} {words} for {rows} rows")
    return faults


def _low_rank(halves: Mapping[str, StoredMatrix], scale: float) -> LowRank:
    if "embedding_A" in halves:
        # An embedding looks rows up: its weight is (vocabulary, columns) and changes by (B·A) transposed.
        a, b = halves["embedding_A"], halves["embedding_B"]
        return LowRank(b.file.matrix(b.name, transposed=True), a.file.matrix(a.name, transposed=True), scale)
    return LowRank(halves["lora_A"], halves["lora_B"], scale, halves.get("magnitude"))


def _token_rows(
    folder: Path, config: Mapping[str, Any], stored: Mapping[str, StoredMatrix]
) -> dict[str, TokenRows]:
    wanted = config.get("trainable_token_indices") or {}
    table = wanted if isinstance(wanted, dict) else dict.fromkeys(stored, wanted)
    rows, faults = {}, []
    for module, matrix in stored.items():
        ids = next((ids for key, ids in table.items() if f".{module}".endswith(f".{key}")), None)
        if not isinstance(ids, list) or not all(type(token) is int and token >= 0 for token in ids):
            faults.append(f"trainable_token_indices does not say which tokens {one_line(module)} has trained")
        elif len(ids) != matrix.shape[0] or len(matrix.shape) != 2 or not ids:
            faults.append(f"{one_line(module)} has {matrix.shape[0]} trained rows for {len(ids)} tokens")
        else:
            rows[f"{module}.weight"] = TokenRows(tuple(ids), matrix)
    refuse_all(folder, faults, "Save the adapter again with PEFT's save_pretrained.")
    return rows


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
