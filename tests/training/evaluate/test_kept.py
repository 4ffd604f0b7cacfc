"""What was measured is there after a kill, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

from keepstone.training.evaluate.kept import Kept


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    measured: list[int] = []

    def measure() -> list[int]:
        measured.append(1)
        return [1, 2]

    kept = Kept(tmp_path / "judging", "live", "candidate")
    assert kept.find("a", "b") is None
    assert kept.remember(measure, "a", "b") == [1, 2]
    assert Kept(tmp_path / "judging", "live", "candidate").remember(measure, "a", "b") == [1, 2]
    assert measured == [1]


def test_another_comparison_or_other_questions_are_measured_anew(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "live", "candidate")
    kept.keep({"f1": 0.5}, "a", "b")
    assert Kept(tmp_path, "live", "other").find("a", "b") is None
    assert kept.find("ab") is None
    assert kept.find("b", "a") is None


def test_nothing_is_left_once_it_is_forgotten(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "judging", "live")
    kept.keep(1, "a")
    kept.forget()
    kept.forget()
    assert not (tmp_path / "judging").exists()
