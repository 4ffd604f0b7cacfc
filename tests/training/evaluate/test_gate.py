"""What may replace the model in use: only what is better beyond chance, and nowhere worse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from keepstone.training.evaluate.bootstrap import Pair
from keepstone.training.evaluate.gate import Goal, decide
from keepstone.training.evaluate.parity import Parity

LEVELS = (0.0, 0.39, 0.5, 0.63, 1.0)
SAME = Parity(texts=8, different=0, tokens=900, mean_difference=0.01, max_difference=0.3)


def pairs(change: Callable[[float], float], *, documents: int = 12, each: int = 4, seed: int = 0) -> list[Pair]:
    draw = np.random.default_rng(seed)
    lives = draw.choice(LEVELS, size=documents * each).tolist()
    return [Pair(f"doc-{place // each}", live, change(live)) for place, live in enumerate(lives)]


def better(live: float) -> float:
    return min(1.0, live + 0.3)


def worse(live: float) -> float:
    return max(0.0, live - 0.3)


def equal(live: float) -> float:
    return live


def speeds(times: float) -> list[Pair]:
    return [Pair(f"prompt-{place}", 20.0 + place, times * (20.0 + place)) for place in range(8)]


GUARDS: dict[Goal, tuple[str, ...]] = {
    "search": ("recall@10", "abstention"),
    "answers": ("citation_precision", "citation_recall", "abstention"),
}
PRIMARY: dict[Goal, str] = {"search": "ndcg@10", "answers": "f1"}


@pytest.mark.parametrize("goal", ["search", "answers"])
def test_better_and_nowhere_worse_is_promoted(goal: Goal) -> None:
    ruling = decide(goal, {PRIMARY[goal]: pairs(better), **{name: pairs(equal) for name in GUARDS[goal]}}, SAME)
    assert ruling.outcome == "promote"
    assert "95% interval +0." in ruling.reasons[0]
    assert [figure.role for figure in ruling.figures] == ["primary", *["guarded"] * len(GUARDS[goal])]


@pytest.mark.parametrize("change", [equal, worse])
def test_what_is_not_better_is_refused(change: Callable[[float], float]) -> None:
    ruling = decide("search", {"ndcg@10": pairs(change)})
    assert ruling.outcome == "refuse"


@pytest.mark.parametrize("goal", ["search", "answers"])
@pytest.mark.parametrize("place", range(3))
def test_worse_at_anything_guarded_is_refused(goal: Goal, place: int) -> None:
    guards = GUARDS[goal]
    measured = {PRIMARY[goal]: pairs(better), **{name: pairs(equal) for name in guards}}
    measured[guards[place % len(guards)]] = pairs(worse)
    ruling = decide(goal, measured, SAME)
    assert ruling.outcome == "refuse"
    assert "worse than the model in use" in ruling.reasons[0]


def test_what_is_only_shown_decides_nothing() -> None:
    measured = {"f1": pairs(better), "exact_match": pairs(worse)}
    assert decide("answers", measured, SAME).outcome == "promote"


@pytest.mark.parametrize(
    "few", [[], pairs(better, documents=5, each=8), pairs(better, documents=19, each=1)], ids=["none", "5", "19"]
)
def test_too_few_questions_or_documents_are_not_enough(few: Sequence[Pair]) -> None:
    """However much better the candidate looks on them."""
    ruling = decide("search", {"ndcg@10": few})
    assert ruling.outcome == "not_enough_data"
    assert "at least 20 held-out questions about 6 documents" in ruling.reasons[0]


def test_of_twenty_trials_of_a_model_against_itself_at_most_one_is_promoted() -> None:
    """Each trial is noisy: at every third question, chance gives the same model another score."""
    draw = np.random.default_rng(7)

    def noisy(live: float) -> float:
        return float(draw.choice(LEVELS)) if draw.random() < 1 / 3 else live

    def trial(seed: int) -> str:
        both = {
            name: [Pair(each.document, noisy(each.live), noisy(each.live)) for each in pairs(equal, seed=seed)]
            for name in ("ndcg@10", "recall@10", "abstention")
        }
        return decide("search", both).outcome

    assert [trial(seed) for seed in range(20)].count("promote") <= 1


def test_a_faster_model_as_good_as_before_is_promoted() -> None:
    ruling = decide("speed", {"tokens_per_second": speeds(1.4), "f1": pairs(equal)}, SAME)
    assert ruling.outcome == "promote"
    assert "1.40 times" in ruling.reasons[0]


@pytest.mark.parametrize(
    ("times", "f1", "parity", "reason"),
    [
        (1.2, pairs(equal), SAME, "not 1.3 times as fast"),
        (1.4, pairs(worse), SAME, "loses more than one point"),
        (1.4, pairs(equal), Parity(8, 0, 900, 2.0, 9.0), "not the same model"),
        (1.4, pairs(equal), Parity(8, 3, 900, 0.0, 0.0), "different tokens for 3 of 8 texts"),
    ],
)
def test_a_quantized_model_that_is_slow_or_damaged_is_refused(
    times: float, f1: list[Pair], parity: Parity, reason: str
) -> None:
    ruling = decide("speed", {"tokens_per_second": speeds(times), "f1": f1}, parity)
    assert ruling.outcome == "refuse"
    assert reason in " ".join(ruling.reasons)


def test_a_faster_model_whose_score_is_unsure_needs_more_questions() -> None:
    draw = np.random.default_rng(1)
    changes = draw.choice([-0.5, 0.5], size=48)
    changes -= changes.mean()
    unsure = [Pair(f"doc-{place // 4}", 0.5, 0.5 + float(change)) for place, change in enumerate(changes)]
    ruling = decide("speed", {"tokens_per_second": speeds(1.4), "f1": unsure}, SAME)
    assert ruling.outcome == "not_enough_data"


def test_the_same_measures_give_the_same_ruling() -> None:
    measured = {"ndcg@10": pairs(better, seed=5)}
    assert decide("search", measured, seed=3) == decide("search", measured, seed=3)
