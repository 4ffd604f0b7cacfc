"""`keepstone train` and `keepstone runs`, without an app: plan, train, watch, and what is wrong with an order."""

from __future__ import annotations

import pytest

from keepstone.platform.settings import default_home
from tests.training.runs.run_kit import prepare
from tests.ui.cli.conftest import Keepstone, parsed

pytestmark = pytest.mark.recipes
LINE = ("train", "embedding", "--dataset", "words", "--model", "tiny", "--set", "batch_size=8")


@pytest.fixture(autouse=True)
def _home() -> None:
    home = default_home()
    home.mkdir(parents=True, mode=0o700)
    prepare(home)


def test_a_model_is_planned_trained_and_shown(keepstone: Keepstone) -> None:
    """The plan starts nothing; the run ends with a new model, which the lists show."""
    plan = keepstone(*LINE, "--plan")
    assert plan.exit_code == 0, plan.output
    assert "24" in plan.stdout
    assert parsed(keepstone("runs", "list", "--json")) == []
    done = parsed(keepstone(*LINE, "--set", "epochs=1", "--name", "better", "--json"))
    assert (done["state"], done["step"], done["of"]) == ("succeeded", 3, 3)
    assert done["model"].startswith("better@")
    assert [each["id"] for each in parsed(keepstone("runs", "list", "--json"))] == [done["id"]]
    shown = parsed(keepstone("runs", "show", done["id"], "--json"))
    assert [point["step"] for point in shown["curve"]] == [1, 2, 3]
    assert "better" in {model["name"] for model in parsed(keepstone("models", "list", "--json"))}
    assert "had ended" in keepstone("runs", "cancel", done["id"]).stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("train", "embeding", "-d", "words"), "Did you mean 'embedding'"),
        (("train", "embedding", "-d", "wrods"), "Did you mean 'words'"),
        ((*LINE, "--set", "epoch=1"), "Did you mean 'epochs'"),
        ((*LINE, "--set", "epochs"), "--set epochs=VALUE"),
        ((*LINE, "--set", "epochs=many"), "epochs"),
        (("train", "sft", "-d", "words", "--model", "tiny"), "is no llm"),
        (("runs", "show", "job_none"), "keepstone runs list"),
    ],
)
def test_a_wrong_order_is_answered_with_what_mends_it(keepstone: Keepstone, line: tuple[str, ...], said: str) -> None:
    result = keepstone(*line)
    assert result.exit_code == 1
    assert said in result.stderr
