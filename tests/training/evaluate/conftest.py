"""A collection of made-up handbooks with a dataset of which eight documents are held out, and a judge for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import ModelMissing
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.retrieval.encoder import Encoder, HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.training.data import Dataset, DatasetConfig
from keepstone.training.evaluate.judge import Judge
from keepstone.training.evaluate.verdicts import Verdicts
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, WAIT_S, admin, ingest, open_stack
from tests.training.data.handbooks import handbooks

COLLECTION = "handbooks"


class NamedEncoder(HashEncoder):
    """A bag of words under a model's name; with two dimensions it confuses nearly everything."""

    def __init__(self, name: str, dimension: int) -> None:
        super().__init__(dimension)
        self.version = f"{name}@1"


ENCODERS: dict[str, Encoder] = {
    each.version: each for each in (NamedEncoder("sharp", 512), NamedEncoder("damaged", 2), NamedEncoder("usual", 12))
}


@dataclass(frozen=True, slots=True)
class Court:
    """All that a judging takes."""

    runtime: Runtime
    me: Principal
    dataset: Dataset
    judge: Judge
    verdicts: Verdicts


def candidate(name: str, kind: str = "encoder", recipe: str = "embedding") -> InstalledModel:
    """Return a model as the registry would."""
    return InstalledModel(
        id=f"mdl_{name}",
        name=name,
        kind=kind,  # type: ignore[arg-type]
        version="1",
        path=Path("nowhere"),
        source="test",
        created_at=utc_now(),
        details={"training": {"recipe": recipe}},
    )


def _load(version: str) -> Encoder:
    if version not in ENCODERS:
        raise ModelMissing(f"The encoder {version!r} is not on this machine")
    return ENCODERS[version]


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    """The language model in use."""
    return ScriptedEngine(default="NONE")


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory, engine: ScriptedEngine) -> Iterator[Court]:
    """Return the collection under the encoder `usual`, with its dataset."""
    home: Path = tmp_path_factory.mktemp("home")
    encoders = Encoders(ENCODERS["usual@1"], _load)
    # Words alone find all that these questions ask for, and would hide what an encoder is worth.
    settings = {"chunking": {"max_tokens": 64}, "answering": NEVER_DECLINES, "search": {"dense_weight": 0.9}}
    with open_stack(home, engine=engine, encoder=encoders, **settings) as runtime:
        me = admin(runtime)
        ingest(runtime, me, COLLECTION, handbooks(20))
        order = DatasetConfig(collection=COLLECTION, source="sentences", test_share=0.4)
        runtime.jobs.wait(runtime.dataset_builder.submit(me, order), WAIT_S)
        verdicts = Verdicts(runtime.database)
        judge = Judge(
            database=runtime.database,
            registry=runtime.registry,
            searcher=runtime.searcher,
            encoder=runtime.encoder,
            answering=runtime.settings.answering,
            verdicts=verdicts,
            folder=home / "judging",
        )
        yield Court(runtime, me, runtime.datasets.get(me, COLLECTION), judge, verdicts)
