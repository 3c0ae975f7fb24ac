"""How far a file of each type may lie from what it was made of before it counts as broken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Limits:
    """The worst values that pass. KL divergences in nats."""

    mean_kl: float
    p99_kl: float
    agreement: float
    """Least share of positions where the reference is sure and the file would say the same."""
    adapter: float
    """How far the share of the adapter's effect that arrives may lie from 1."""


LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "F32": Limits(1e-5, 1e-4, 0.995, 0.02),
        "F16": Limits(1e-3, 1e-2, 0.99, 0.05),
        "BF16": Limits(5e-3, 5e-2, 0.98, 0.1),
        "Q8": Limits(1e-2, 0.1, 0.97, 0.15),
        "Q6": Limits(3e-2, 0.3, 0.95, 0.2),
        "Q5": Limits(0.2, 2.0, 0.92, 0.3),
        "Q4": Limits(0.4, 4.0, 0.8, 0.4),
        "Q4_0": Limits(0.5, 4.0, 0.8, 0.4),
        "Q3": Limits(0.8, 5.0, 0.7, 0.5),
        "Q2": Limits(2.5, 12.0, 0.4, 0.7),
        "Q1": Limits(5.0, 20.0, 0.0, 1.0),
    }
)
"""By the bits of a type, Q4_0 by itself: one scale a block of 32 without a minimum is the coarsest of the four-bit
types. Set above what sound conversions of small models show (135 M parameters suffer most);
a lost adapter, a wrong permutation or a wrong template lies far outside."""

_ROUNDED_REFERENCE = Limits(5e-3, 5e-2, 0.02, 0.05)
"""What a reference that computes in bf16 adds by its own rounding."""


def limits_of(type_name: str, *, exact_reference: bool = True, mean_kl: float | None = None) -> Limits:
    """The limits for a file of that type (Q4_K_M, IQ4_XS, BF16); those of 4 bits for a type nobody knows.

    exact_reference: whether it computes in fp32. mean_kl: the user's own limit on the mean.
    """
    bits = re.match(r"(?:I|T|MXF)?([QP]\d)", type_name.upper())
    limits = LIMITS.get(type_name.upper()) or LIMITS.get(f"Q{bits[1][1]}" if bits else "", LIMITS["Q4"])
    if not exact_reference:
        extra = _ROUNDED_REFERENCE
        limits = Limits(
            limits.mean_kl + extra.mean_kl,
            limits.p99_kl + extra.p99_kl,
            limits.agreement - extra.agreement,
            limits.adapter + extra.adapter,
        )
    return limits if mean_kl is None else replace(limits, mean_kl=mean_kl)
