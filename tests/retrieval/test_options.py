"""What a collection chose of the ways to be searched outlives the options of the version that it was chosen in."""

from __future__ import annotations

from keepstone.platform.settings import SearchSettings
from keepstone.retrieval.options import with_own

_DEFAULT = SearchSettings(candidates=70)


def test_what_was_chosen_counts_and_the_rest_follows_the_settings() -> None:
    found = with_own(_DEFAULT, {"dense_weight": 0.3, "an_option_of_old": 7})
    assert (found.dense_weight, found.candidates) == (0.3, 70)


def test_without_a_choice_the_settings_are_returned_as_they_are() -> None:
    assert with_own(_DEFAULT, None) is _DEFAULT
