"""An encoder is judged by what search finds under it, and the verdict is the same whatever happens meanwhile."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import Cancelled, Conflict, InvalidInput, NotFound
from keepstone.training.evaluate import judge as judging
from tests.stack import someone
from tests.training.evaluate.conftest import Court, candidate


def ignore(_done: int, _total: int) -> None:
    """Report to nobody."""


def test_a_better_encoder_is_promoted(court: Court) -> None:
    court.runtime.reindexing.build(court.dataset.card.collection_id, "sharp@1")
    verdict = court.judge.judge_encoder(court.me, court.dataset, candidate("sharp"), key="better", report=ignore)
    assert verdict.outcome == "promote"
    assert (verdict.case.live, verdict.case.candidate) == ("usual@1", "sharp@1")
    assert verdict.figures[0].name == "ndcg@10"
    assert verdict.figures[0].effect.documents >= 6
    assert court.verdicts.get(court.me, verdict.id) == court.verdicts.of("better") == verdict


def test_a_damaged_encoder_is_refused(court: Court) -> None:
    court.runtime.reindexing.build(court.dataset.card.collection_id, "damaged@1")
    verdict = court.judge.judge_encoder(court.me, court.dataset, candidate("damaged"), key="damaged", report=ignore)
    assert verdict.outcome == "refuse"
    assert verdict.figures[0].worse


def test_an_encoder_is_not_better_than_itself(court: Court) -> None:
    verdict = court.judge.judge_encoder(court.me, court.dataset, candidate("usual"), key="itself", report=ignore)
    assert verdict.outcome == "refuse"
    assert all(figure.effect.low == figure.effect.high == 0 for figure in verdict.figures)


def test_a_judging_that_was_stopped_goes_on_where_it_was(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(judging._BATCH, "encoder", 8)  # type: ignore[index]
    asked: list[str] = []
    search = court.runtime.searcher.search

    def count(*arguments: object, **options: object) -> object:
        asked.append(str(arguments[1]))
        return search(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(court.runtime.searcher, "search", count)

    def stop(done: int, _total: int) -> None:
        if done >= 16:
            raise Cancelled("Cancelled")

    with pytest.raises(Cancelled):
        court.judge.judge_encoder(court.me, court.dataset, candidate("usual"), key="stopped", report=stop)
    first, total = len(asked), 0
    assert first == 16 * 4
    asked.clear()

    def see(done: int, of: int) -> None:
        nonlocal total
        total = of

    verdict = court.judge.judge_encoder(court.me, court.dataset, candidate("usual"), key="stopped", report=see)
    assert len(asked) == (total - 16) * 4
    asked.clear()
    again = court.judge.judge_encoder(court.me, court.dataset, candidate("usual"), key="stopped", report=see)
    assert again == verdict
    assert not asked


def test_an_encoder_without_an_index_is_not_judged(court: Court) -> None:
    with pytest.raises(Conflict, match="no complete index"):
        court.judge.judge_encoder(court.me, court.dataset, candidate("absent"), key="absent", report=ignore)
    assert court.verdicts.of("absent") is None


def test_a_dataset_that_was_changed_is_not_judged_on(court: Court) -> None:
    path = court.dataset.folder / "retrieval" / "test.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b" \n")
    try:
        with pytest.raises(InvalidInput, match=r"test\.jsonl .* is not as it was built"):
            court.judge.judge_encoder(court.me, court.dataset, candidate("usual"), key="changed", report=ignore)
    finally:
        path.write_bytes(content)


def test_verdicts_are_for_those_who_own_the_collection(court: Court) -> None:
    verdict = court.judge.judge_encoder(court.me, court.dataset, candidate("usual"), key="secret", report=ignore)
    stranger = someone(court.runtime, "stranger")
    assert court.verdicts.list(stranger) == []
    with pytest.raises(NotFound):
        court.verdicts.get(stranger, verdict.id)
    with pytest.raises(NotFound):
        court.judge.judge_encoder(stranger, court.dataset, candidate("usual"), key="stranger", report=ignore)
    assert verdict in court.verdicts.list(court.me)
