"""Which type each tensor gets: llama.cpp's mixes (Q4_K_M and its kin), choice by choice.

Source: llama.cpp, src/llama-quant.cpp of the vendored release: llama_tensor_get_type_impl, tensor_type_fallback,
tensor_allows_quantization. The tests hold these rules against llama_model_quantize itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rolekit.convert.model_facts import ModelFacts, facts_of, file_order
from rolekit.convert.plan import ModelPlan, OutputTensor
from rolekit.convert.tensor_types import FLOATS, block_size
from rolekit.errors import RolekitError
from rolekit.text import one_line

# name -> (llama.cpp's file type id, the type that tensors have unless a rule says otherwise); llama.h
FILE_TYPES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "F32": (0, "F32"),
        "F16": (1, "F16"),
        "BF16": (32, "BF16"),
        "Q8_0": (7, "Q8_0"),
        "Q4_0": (2, "Q4_0"),
        "Q4_1": (3, "Q4_1"),
        "Q5_0": (8, "Q5_0"),
        "Q5_1": (9, "Q5_1"),
        "Q2_K": (10, "Q2_K"),
        "Q2_K_S": (21, "Q2_K"),
        "Q3_K_S": (11, "Q3_K"),
        "Q3_K_M": (12, "Q3_K"),
        "Q3_K_L": (13, "Q3_K"),
        "Q4_K_S": (14, "Q4_K"),
        "Q4_K_M": (15, "Q4_K"),
        "Q5_K_S": (16, "Q5_K"),
        "Q5_K_M": (17, "Q5_K"),
        "Q6_K": (18, "Q6_K"),
        "IQ4_NL": (25, "IQ4_NL"),
        "IQ4_XS": (30, "IQ4_XS"),
        "IQ3_S": (26, "IQ3_S"),
        "IQ3_M": (27, "IQ3_S"),
        "IQ3_XS": (22, "IQ3_S"),
    }
)
_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
_FALLBACKS = {
    **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One tensor's type."""

    type_name: str
    wanted: str
    """What it would be if its rows could be cut into this type's blocks."""


@dataclass(frozen=True, slots=True)
class Override:
    """A plan file's line: tensors that matches() accepts get this type."""

    type_name: str
    matches: Callable[[str], bool]
    pattern: str = ""
    """What the user wrote, for people."""


def file_type(name: str) -> str:
    """The name as FILE_TYPES has it: case does not matter, and Q4_K means Q4_K_M.

    Raises RolekitError for an unknown one.
    """
    wanted = name.strip().upper()
    wanted = _ALIASES.get(wanted, wanted)
    if wanted not in FILE_TYPES:
        raise RolekitError(
            f"There is no quantization type {name[:40]!r}.", f"Choose one of {', '.join(FILE_TYPES)}."
        )
    return wanted


class Mix:
    """A TypeChooser that chooses as llama_model_quantize does for one file type."""

    def __init__(
        self, file_type_name: str, *, has_imatrix: bool = False, overrides: Sequence[Override] = ()
    ) -> None:
        """has_imatrix: some rules spend fewer bits where an importance matrix is given. overrides win over the mix.

        Raises RolekitError for an unknown file type.
        """
        self.name = file_type(file_type_name)
        self.file_type_id, self._default = FILE_TYPES[self.name]
        self._has_imatrix = has_imatrix
        self._overrides = tuple(overrides)

    def choose(self, plan: ModelPlan) -> Mapping[str, str]:
        """GGUF tensor name to type name for every tensor of plan."""
        return {name: choice.type_name for name, choice in self.choices(plan).items()}

    def choices(self, plan: ModelPlan) -> Mapping[str, Choice]:
        """The choice for every tensor, in the order of llama.cpp's files.

        Raises RolekitError for an architecture whose rules are not known here, and where llama.cpp would demand an
        importance matrix.
        """
        rules = None
        if self._default not in FLOATS:
            rules = _Rules(self.name, self._default, facts_of(plan), self._has_imatrix)
        found = {tensor.name: self._choice(tensor, rules) for tensor in sorted(plan.tensors, key=file_order)}
        if not self._has_imatrix:
            self._demand_imatrix(found)
        self._check_overrides(plan)
        return found

    def _choice(self, tensor: OutputTensor, rules: _Rules | None) -> Choice:
        if tensor.keep_type or not is_quantizable(tensor):
            kept = tensor.keep_type or "F32"
            return Choice(kept, kept)
        manual = next((o.type_name for o in self._overrides if o.matches(tensor.name)), "")
        wanted = manual or (rules.wanted(tensor) if rules else self._default)
        return Choice(fallback(wanted, tensor.columns), wanted)

    def _check_overrides(self, plan: ModelPlan) -> None:
        names = [tensor.name for tensor in plan.tensors if not tensor.keep_type and is_quantizable(tensor)]
        idle = [o.pattern for o in self._overrides if not any(o.matches(name) for name in names)]
        if idle:
            raise RolekitError(
                f"{len(idle)} pattern(s) of the plan match no weight of this model, {one_line(idle[0])!r} among them.",
                f"Its weights are called {names[0] if names else ''} and so on.",
            )

    def _demand_imatrix(self, found: Mapping[str, Choice]) -> None:
        demanding = {"IQ3_XXS"} | ({"Q2_K"} if self.name == "Q2_K_S" else set())
        for name, choice in found.items():
            if choice.type_name in demanding and name not in ("token_embd.weight", "output.weight"):
                raise RolekitError(
                    f"{self.name} would be of little use without an importance matrix ({name} becomes "
                    f"{choice.type_name}).",
                    "Add --imatrix auto, or choose Q3_K_M or larger.",
                )


def fallback(wanted: str, columns: int) -> str:
    """The type that rows of this length can have: wanted, the next one with smaller blocks, or F16."""
    if columns % block_size(wanted) == 0:
        return wanted
    smaller = _FALLBACKS.get(wanted, wanted)
    return smaller if columns % block_size(smaller) == 0 else "F16"


def is_quantizable(tensor: OutputTensor) -> bool:
    """Matrices of weights; no vectors, norms or routers."""
    matrix = len(tensor.shape) > 1 and tensor.shape[0] > 1
    return (
        matrix
        and tensor.name.endswith("weight")
        and not any(
            part in tensor.name for part in ("_norm.weight", "ffn_gate_inp.weight", "attn_rel_b.weight")
        )
        and tensor.name not in ("position_embd.weight", "token_types.weight")
    )


class _Rules:
    """One walk over a model's tensors in file order; counts the layers it has seen of each kind."""

    def __init__(self, name: str, default: str, facts: ModelFacts, has_imatrix: bool) -> None:
        self._name, self._default, self._facts, self._has_imatrix = name, default, facts, has_imatrix
        self._seen: Counter[str] = Counter()

    def wanted(self, tensor: OutputTensor) -> str:
        """The mix's type for the next tensor."""
        name = tensor.name
        if name == "output.weight" or (name == "token_embd.weight" and self._facts.tied):
            return self._output(tensor.columns)
        if name == "token_embd.weight":
            return self._default
        value = any(part in name for part in ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"))
        if value:
            return self._value()
        if "attn_k.weight" in name or "attn_q.weight" in name:
            return "IQ3_XXS" if self._name == "IQ3_XS" else self._default
        if "attn_output.weight" in name:
            return _OF_ATTENTION_OUTPUT.get(self._name, self._default)
        if "ffn_down" in name:
            return self._down()
        if "ffn_gate" in name or "ffn_up" in name:
            return self._gate_or_up("gate" if "ffn_gate" in name else "up")
        return self._default

    def _next(self, kind: str) -> int:
        index = self._seen[kind]
        self._seen[kind] += 1
        return index

    def _output(self, columns: int) -> str:
        if columns % block_size(self._default) or self._default == "Q8_0":
            return "Q8_0"
        return "Q6_K"

    def _value(self) -> str:
        index, total = self._next("value"), self._facts.value_tensors
        wanted = self._value_of_layer(index, total)
        return "Q5_K" if self._facts.is_70b and wanted in ("Q3_K", "Q4_K") else wanted

    def _value_of_layer(self, index: int, total: int) -> str:
        grouped = self._facts.grouping >= 4
        match self._name:
            case "Q2_K":
                return "Q4_K" if grouped else "Q3_K"
            case "Q2_K_S" | "IQ3_XS" | "IQ3_S" if grouped:
                return "Q4_K"
            case "IQ3_M":
                return "Q4_K"
            case "Q3_K_M":
                return "Q5_K" if index < 2 else "Q4_K"
            case "Q3_K_L":
                return "Q5_K"
            case "IQ4_NL" | "IQ4_XS" if grouped:
                return "Q5_K"
            case "Q4_K_M" | "Q5_K_M" if _deserves_more(index, total):
                return "Q6_K"
            case "Q4_K_S" if index < 4:
                return "Q5_K"
        return self._default

    def _down(self) -> str:
        index, total = self._next("down"), self._facts.layers
        early = index < total // 8
        match self._name:
            case "Q2_K":
                return "Q3_K"
            case "Q2_K_S" if early:
                return "Q4_K"
            case "Q3_K_M":
                return "Q5_K" if index < total // 16 else "Q4_K"
            case "IQ3_M" if early:
                return "Q4_K"
            case "Q3_K_L":
                return "Q5_K"
            case "Q4_K_M" | "Q5_K_M" if _deserves_more(index, total):
                return "Q6_K"
            case "IQ4_NL" | "IQ4_XS" if early and not self._has_imatrix:
                return "Q5_K"
            case "Q4_K_S" if early:
                return "Q5_K"
            case "Q4_0" | "Q5_0" if early and self._has_imatrix:
                return {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}[self._name]
        return self._default

    def _gate_or_up(self, kind: str) -> str:
        index, total = self._next(kind), self._facts.layers
        middle = total // 8 <= index < 7 * total // 8
        return "IQ3_XXS" if self._name == "IQ3_XS" and middle else self._default


_OF_ATTENTION_OUTPUT = {
    "Q2_K": "Q3_K",
    "Q3_K_M": "Q4_K",
    "Q3_K_L": "Q5_K",
    "IQ3_M": "Q4_K",
}


def _deserves_more(index: int, total: int) -> bool:
    """The first and last eighth of the layers, and every third between: they suffer most from few bits."""
    return index < total // 8 or index >= 7 * total // 8 or (index - total // 8) % 3 == 2
