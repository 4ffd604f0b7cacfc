"""The gate: may a candidate replace the model in use?

    ruling = decide("search", {"ndcg@10": pairs, "recall@10": ..., "abstention": ...})
    ruling.outcome, ruling.reasons

A pure function of what was measured. A candidate is promoted only if it is better at what it was made for, beyond
chance, and at nothing else that matters worse beyond chance. One that was made for speed has to be faster and may lose
one point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from keepstone.training.evaluate.bootstrap import Effect, Pair, difference, ratio
from keepstone.training.evaluate.parity import Parity

Goal = Literal["search", "answers", "speed"]
Outcome = Literal["promote", "refuse", "not_enough_data"]
Role = Literal["primary", "guarded", "shown"]

MIN_QUESTIONS: Final = 20
MIN_DOCUMENTS: Final = 6
"""With fewer, all of them get better by chance more often than 1 in 40 times."""
FASTER: Final = 1.3
"""A model made for speed has to give at least so many times the tokens per second."""
MAY_LOSE: Final = 0.01
"""So much of the score it may lose for that: one point."""
_SURE_WITHIN: Final = 0.05
# Mean difference of the log-probability of a token, in nats, beyond which a model is another one, not a faster one.
_SAME_MODEL: Final = 0.5

SPEED: Final = "tokens_per_second"
_PRIMARY: Final[Mapping[Goal, str]] = {"search": "ndcg@10", "answers": "f1", "speed": SPEED}
_COUNTED: Final[Mapping[Goal, str]] = {"search": "ndcg@10", "answers": "f1", "speed": "f1"}
_GUARDED: Final[Mapping[Goal, tuple[str, ...]]] = {
    "search": ("recall@10", "abstention"),
    "answers": ("citation_precision", "citation_recall", "abstention"),
    "speed": ("f1", "citation_precision", "citation_recall", "abstention"),
}
TITLES: Final[Mapping[str, str]] = {
    "ndcg@10": "nDCG@10",
    "recall@10": "recall@10",
    "exact_match": "exact match",
    "f1": "token F1",
    "citation_precision": "citation precision",
    "citation_recall": "citation recall",
    "abstention": "right to answer or to decline",
    SPEED: "tokens per second",
}
"""The figures, as people read them."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both models."""

    name: str
    role: Role
    """`primary`: what the candidate has to be better at. `guarded`: what must not get worse. `shown`: the rest."""
    effect: Effect

    @property
    def text(self) -> str:
        """The figure in words."""
        effect = self.effect
        if self.name == SPEED:
            return (
                f"{TITLES[SPEED]} {effect.live:.1f} → {effect.candidate:.1f}, {effect.value:.2f} times{_within(self)}"
            )
        means = f"{effect.live:.3f} → {effect.candidate:.3f}"
        return f"{TITLES.get(self.name, self.name)} {means}, {effect.value:+.3f}{_within(self)}"

    @property
    def better(self) -> bool:
        """Whether the candidate is better beyond chance."""
        return self.effect.low is not None and self.effect.low > self._even

    @property
    def worse(self) -> bool:
        """Whether the candidate is worse beyond chance."""
        return self.effect.high is not None and self.effect.high < self._even

    @property
    def _even(self) -> float:
        return 1.0 if self.name == SPEED else 0.0


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the gate says, and why."""

    outcome: Outcome
    reasons: tuple[str, ...]
    """Whole sentences."""
    figures: tuple[Figure, ...]
    parity: Parity | None = None


def decide(
    goal: Goal, measured: Mapping[str, Sequence[Pair]], parity: Parity | None = None, *, seed: int = 0
) -> Ruling:
    """Return the ruling on a candidate.

    Args:
        goal: what it was made for: better `search`, better `answers`, or more `speed`.
        measured: pairs by the name of their figure; one without pairs was not measurable.
        parity: how alike it is to the model in use, for language models.
        seed: of the bootstrap.
    """
    figures = tuple(
        Figure(name, _role(goal, name), (ratio if name == SPEED else difference)(pairs, seed=seed))
        for name, pairs in measured.items()
        if pairs
    )
    known = {figure.name: figure for figure in figures}
    lacking = tuple(_lacking(goal, known))
    faults = (*_unlike(goal, parity), *(() if lacking else _faults(goal, known)))
    if faults:
        return Ruling("refuse", faults, figures, parity)
    if lacking or (lacking := tuple(_unsure(goal, known))):
        return Ruling("not_enough_data", lacking, figures, parity)
    return Ruling("promote", tuple(_praise(goal, known)), figures, parity)


def _role(goal: Goal, name: str) -> Role:
    if name == _PRIMARY[goal]:
        return "primary"
    return "guarded" if name in _GUARDED[goal] else "shown"


def _lacking(goal: Goal, known: Mapping[str, Figure]) -> Iterator[str]:
    counted = known.get(_COUNTED[goal])
    questions, documents = (counted.effect.questions, counted.effect.documents) if counted else (0, 0)
    if questions < MIN_QUESTIONS or documents < MIN_DOCUMENTS:
        yield (
            f"A verdict takes at least {MIN_QUESTIONS} held-out questions about {MIN_DOCUMENTS} documents, and there "
            f"are {questions} about {documents}."
        )
    elif _PRIMARY[goal] not in known:
        yield f"There is no measure of {TITLES[_PRIMARY[goal]]}."


def _unlike(goal: Goal, parity: Parity | None) -> Iterator[str]:
    if parity is None:
        return
    if not parity.same_tokens:
        yield (
            f"The engine's chat template and the model's own give different tokens for {parity.different} of "
            f"{parity.texts} texts, so that it would not read what it was trained on."
        )
    off = parity.mean_difference
    if goal == "speed" and off is not None and off > _SAME_MODEL:
        yield f"It is not the same model any more: log-probabilities differ by {off:.2f} a token on average."


def _faults(goal: Goal, known: Mapping[str, Figure]) -> Iterator[str]:
    primary = known[_PRIMARY[goal]]
    if goal == "speed":
        if primary.effect.value < FASTER or not primary.better:
            yield f"It is not {FASTER} times as fast: {primary.text}."
        if known["f1"].effect.value < -MAY_LOSE:
            yield f"It loses more than one point: {known['f1'].text}."
    elif primary.worse:
        yield f"It is worse at what it was made for: {primary.text}."
    elif not primary.better:
        yield f"It is not better beyond chance: {primary.text}."
    for name in _GUARDED[goal]:
        guarded = known.get(name)
        if guarded is not None and guarded.worse and not (goal == "speed" and name == "f1"):
            yield f"It is worse than the model in use: {guarded.text}."


def _unsure(goal: Goal, known: Mapping[str, Figure]) -> Iterator[str]:
    low = known["f1"].effect.low if goal == "speed" else 0.0
    if low is None or low < -_SURE_WITHIN:
        yield f"The questions are too few to tell whether it is as good: {known['f1'].text}."


def _praise(goal: Goal, known: Mapping[str, Figure]) -> Iterator[str]:
    primary = known[_PRIMARY[goal]]
    yield f"It is {'faster' if goal == 'speed' else 'better'}: {primary.text}."
    kept = [known[name] for name in _GUARDED[goal] if name in known]
    if kept:
        yield f"Nothing that is guarded got worse beyond chance: {'; '.join(figure.text for figure in kept)}."


def _within(figure: Figure) -> str:
    low, high = figure.effect.low, figure.effect.high
    if low is None or high is None:
        return ""
    return (
        f" (95% interval {low:.2f} to {high:.2f})"
        if figure.name == SPEED
        else f" (95% interval {low:+.3f} to {high:+.3f})"
    )
