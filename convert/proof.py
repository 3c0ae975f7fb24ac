"""The outcome of a verification: checks with their values and limits, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    value: str
    limit: str = ""
    passed: bool = True
    note: str = ""
    """The first fault, for people."""
    figure: float | None = None
    """The value as a number, for machines."""
    told: bool = True
    """Whether the value is sure enough to judge by; where it is not, nothing fails for it."""

    @property
    def verdict(self) -> str:
        """One or two words for a table: ok, not told or FAILED."""
        return "FAILED" if not self.passed else "ok" if self.told else "not told"


@dataclass(frozen=True, slots=True)
class TensorError:
    """How far a tensor's stored numbers lie from the exact ones."""

    name: str
    type_name: str
    wanted: str
    """The type that was asked for; another one where the row length does not allow it."""
    columns: int
    relative_error: float | None
    """Root of the squared error over the squared numbers; None where it was not measured."""

    @property
    def fell_back(self) -> bool:
        """Whether the tensor could not have the type that was asked for."""
        return self.type_name != self.wanted


@dataclass(frozen=True, slots=True)
class Proof:
    """A verification's report."""

    reference: str
    """What the file was compared with; empty where it was compared with nothing."""
    checks: tuple[Check, ...]
    unverified: tuple[str, ...] = ()
    """What should have been checked and could not be, and why, a sentence each."""
    notes: tuple[str, ...] = ()
    """What there was nothing to check of, a sentence each."""
    tensors: tuple[TensorError, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed for check in self.checks)

    @property
    def verified(self) -> bool:
        """Whether no check failed, and none was left out that should have been made."""
        return self.passed and not self.unverified

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; figures are numbers where there is one."""
        return {
            "verified": self.verified,
            "passed": self.passed,
            "reference": self.reference,
            "checks": {
                check.name: {
                    "value": check.value if check.figure is None else check.figure,
                    "limit": check.limit,
                    "passed": check.passed,
                    "told": check.told or not check.passed,
                    **({"note": check.note} if check.note else {}),
                }
                for check in self.checks
            },
            "unverified": list(self.unverified),
            "notes": list(self.notes),
            "fallbacks": {
                tensor.name: f"{tensor.wanted} -> {tensor.type_name}"
                for tensor in self.tensors
                if tensor.fell_back
            },
            "tensor_errors": {
                tensor.name: tensor.relative_error
                for tensor in self.tensors
                if tensor.relative_error is not None
            },
            "seconds": round(self.seconds, 3),
        }
