"""Rerankers: each scores texts in their order, whatever they hold, and is found by its name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from keepstone.platform.errors import InvalidInput, ModelMissing
from keepstone.platform.model_settings import EncoderSettings
from keepstone.platform.models.registry import InstalledModel
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.reranking import COSINE, LATE, Reranker, Rerankers, open_reranker
from keepstone.retrieval.reranking.bi_encoder import CosineReranker, LateReranker, max_sim
from keepstone.retrieval.reranking.cross_encoder import CrossReranker
from keepstone.retrieval.sentence_encoder import SentenceEncoder
from tests.training.tiny_models import tiny_encoder

_ENCODER = HashEncoder()
_QUERY = "How long does the lamp last?"
_TEXTS = ["The fuse is rated at 3 ampere.", "The lamp lasts long, 900 hours.", "Nothing of the kind."]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder with random weights."""
    return tiny_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def cross(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross-encoder with random weights, as the recipe `reranker` writes it."""
    from sentence_transformers.cross_encoder import CrossEncoder

    folder = tmp_path_factory.mktemp("cross")
    CrossEncoder(str(tiny), num_labels=1, device="cpu", local_files_only=True).save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


def installed(path: Path, kind: str = "reranker") -> InstalledModel:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return InstalledModel(id="m", name="tiny", kind=kind, version="v1", path=path, source="", created_at=now)  # type: ignore[arg-type]


@pytest.mark.parametrize("reranker", [CosineReranker(_ENCODER), LateReranker(_ENCODER)], ids=lambda each: each.version)
def test_what_shares_words_comes_first(reranker: Reranker) -> None:
    scores = reranker.scores(_QUERY, _TEXTS)
    assert scores.argmax() == 1
    assert scores.min() >= -1
    assert scores.max() <= 1.0001
    assert reranker.scores(_QUERY, []).shape == (0,)
    assert reranker.version.endswith(_ENCODER.version)


def test_late_interaction_sees_a_word_that_the_rest_of_a_long_text_drowns() -> None:
    """That is what it is for."""
    noise = " ".join(f"word{number}" for number in range(300))
    texts = [f"{noise} lamp {noise}", "how long does the"]
    assert LateReranker(_ENCODER).scores("lamp", texts).argmax() == 0
    assert LateReranker(_ENCODER).scores("lamp", texts)[0] == pytest.approx(1.0, abs=1e-5)


_MATRICES = arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(3)), elements=st.floats(-1, 1, width=32))


@settings(max_examples=50)
@given(_MATRICES, _MATRICES)
def test_max_sim_is_what_the_paper_says(query: np.ndarray, passage: np.ndarray) -> None:
    """Compared with the sum written out; the order of the passage's tokens has no say."""
    if len(query) and len(passage):
        expected = np.mean([max(float(one @ other) for other in passage) for one in query])
        assert max_sim(query, passage) == pytest.approx(expected, abs=1e-5)
    else:
        assert max_sim(query, passage) == 0.0
    assert max_sim(query, passage[::-1]) == pytest.approx(max_sim(query, passage), abs=1e-5)


def test_token_vectors_of_a_real_model_leave_out_special_tokens_and_padding(tiny: Path) -> None:
    encoder = SentenceEncoder(tiny, version="tiny")
    texts = ["amber can be found here", "basalt", "", "the book says that cedar " * 30]
    one, two, none, long = encoder.encode_document_tokens(texts)
    assert [len(each) for each in (one, two, none)] == [5, 1, 0]
    assert len(long) == 30  # of the 32 that it reads two are special
    assert np.allclose(np.linalg.norm(one, axis=1), 1.0, atol=1e-2)
    assert np.allclose(encoder.encode_query_tokens("basalt"), two, atol=1e-2)
    assert LateReranker(encoder).scores("basalt", texts).argmax() == 1


def test_an_encoder_without_token_vectors_is_refused_with_a_fix() -> None:
    class Bare:
        version, dimension, languages, max_tokens = "bare", 1, frozenset[str](), 8

    with pytest.raises(InvalidInput) as refused:
        Rerankers(Bare()).get(LATE)  # type: ignore[arg-type]
    assert "search.reranker" in str(refused.value.fix)


def test_a_cross_encoder_gives_each_text_its_score(cross: Path) -> None:
    reranker = open_reranker(installed(cross), EncoderSettings(device="cpu"))
    texts = ["amber can be found here", "basalt", "\ud800 lone surrogates", "x " * 5000]
    scores = reranker.scores("what is known about amber ?", texts)
    assert scores.shape == (4,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.allclose(reranker.scores("what is known about amber ?", texts[1:2]), scores[1:2], atol=1e-4)
    assert reranker.scores("x", []).shape == (0,)


def test_a_cross_encoder_that_would_run_code_is_refused(cross: Path, tmp_path: Path) -> None:
    for path in cross.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    modules = [{"idx": 0, "name": "0", "path": "", "type": "os.path.join"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InvalidInput):
        CrossReranker(tmp_path, version="evil").scores("a", ["b"])


def test_rerankers_are_found_by_name(cross: Path) -> None:
    def load(name: str) -> Reranker:
        if name != "tiny":
            raise ModelMissing(f"no {name}")
        return open_reranker(installed(cross), EncoderSettings())

    rerankers = Rerankers(_ENCODER, load)
    assert isinstance(rerankers.get(COSINE), CosineReranker)
    assert isinstance(rerankers.get(LATE), LateReranker)
    assert rerankers.get("tiny") is rerankers.get("tiny"), "its weights must not be loaded twice"
    with pytest.raises(ModelMissing):
        rerankers.get("other")
    with pytest.raises(ModelMissing):
        Rerankers(_ENCODER).get("tiny")
    with pytest.raises(InvalidInput):
        open_reranker(installed(cross, "encoder"), EncoderSettings())
