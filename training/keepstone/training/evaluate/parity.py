"""How alike two served models are, token by token."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parity:
    """How alike two served models are on the same texts."""

    texts: int
    different: int
    """How many texts get other tokens from the engine's chat template than from the model's own."""
    tokens: int
    """How many tokens were compared."""
    mean_difference: float | None
    """Mean of |log p - log q| over the tokens, in nats; None where the engine gives no log-probabilities."""
    max_difference: float | None

    @property
    def same_tokens(self) -> bool:
        """Whether our template and the engine's give the same tokens."""
        return self.different == 0
