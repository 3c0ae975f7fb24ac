"""How far one model's predictions lie from another's, position by position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True)
class Divergence:
    """Figures over all positions that add() has seen, the reference against a candidate."""

    kl: list[float] = field(default_factory=list)
    """KL(reference || candidate) of each position, in nats."""
    agreed: list[bool] = field(default_factory=list)
    """Whether both would say the same next token."""
    squared_error: float = 0.0
    squared_size: float = 0.0

    def add(self, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> None:
        """Take in logits of the same positions, (positions, vocabulary) each.

        Columns that only one side has (padding of the vocabulary) are left out.
        """
        import numpy as np

        width = min(reference.shape[1], candidate.shape[1])
        for one, other in zip(reference, candidate, strict=True):
            p, q = one[:width].astype(np.float64), other[:width].astype(np.float64)
            # Logits mean the same when a constant is added to all of them.
            centred = p - p.mean()
            self.squared_error += float(np.square(centred - (q - q.mean())).sum())
            self.squared_size += float(np.square(centred).sum())
            log_p, log_q = log_softmax(p), log_softmax(q)
            self.kl.append(max(float(np.dot(np.exp(log_p), log_p - log_q)), 0.0))
            self.agreed.append(int(p.argmax()) == int(q.argmax()))

    @property
    def positions(self) -> int:
        """How many positions were compared."""
        return len(self.kl)

    @property
    def mean_kl(self) -> float:
        """Mean KL divergence, nats."""
        return sum(self.kl) / len(self.kl) if self.kl else 0.0

    @property
    def p99_kl(self) -> float:
        """The KL divergence that 99 of 100 positions stay below, nats."""
        return quantile(self.kl, 0.99)

    @property
    def nmse(self) -> float:
        """Squared error of the centred logits over their squared size."""
        return self.squared_error / self.squared_size if self.squared_size else 0.0

    @property
    def agreement(self) -> float:
        """Share of positions where both would say the same."""
        return sum(self.agreed) / len(self.agreed) if self.agreed else 1.0


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log probabilities of one row of logits."""
    import numpy as np

    shifted = logits - logits.max()
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return result


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest of values that at least this share of them do not exceed; 0 where there are none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
