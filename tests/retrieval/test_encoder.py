"""Encoders: the contract that every one keeps, and what `SentenceEncoder` does besides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.errors import InvalidInput, ModelMissing, SettingsError
from keepstone.retrieval.encoder import Encoder, HashEncoder, Window, WindowEncoder, knows_language
from keepstone.retrieval.encoder_batches import cut
from keepstone.retrieval.encoder_client import EmbeddingsClient
from keepstone.retrieval.encoder_folder import check_folder
from keepstone.retrieval.late import window_encoder
from keepstone.retrieval.sentence_encoder import SentenceEncoder
from keepstone.retrieval.url_encoder import UrlEncoder
from tests.retrieval.embeddings_server import EmbeddingsServer

_TEXTS = ["the red fox", "", "a much longer text about a red fox " * 30, "the red fox", "狐狸 fox", "\ud800 \0 fox"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a sentence-transformers model of two small layers with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny-model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "fox", "a", "longer", "text", "about", "much"]
    letters = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join([*words, *"abcdefghijklmnopqrstuvwxyz", *letters]))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=48)
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean"), Normalize()], device="cpu")
    model.save(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tiny_model: Path) -> SentenceEncoder:
    """Load the tiny model once for all tests."""
    return SentenceEncoder(tiny_model, version="tiny@1", device="cpu", dtype="float32", batch_tokens=128)


@pytest.fixture(scope="session")
def truncated_encoder(tiny_model: Path) -> SentenceEncoder:
    """Load the tiny model for vectors of half the length."""
    return SentenceEncoder(tiny_model, version="tiny@1+d16", device="cpu", dtype="float32", truncate_dim=16)


@pytest.fixture(scope="session")
def url_encoder() -> Iterator[UrlEncoder]:
    """Serve an encoder, and ask it over HTTP."""
    with EmbeddingsServer(HashEncoder()).running() as server:
        yield UrlEncoder(EmbeddingsClient(server.url, model="hash"), dimension=64)


@pytest.fixture(params=["hash", "tiny", "truncated", "url"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    found: Encoder = HashEncoder() if request.param == "hash" else request.getfixturevalue(f"{request.param}_encoder")
    return found


@pytest.mark.contract
class TestEncoderContract:
    def test_vectors_are_of_unit_length_and_in_order(self, encoder: Encoder) -> None:
        vectors = encoder.encode_documents(_TEXTS)
        assert vectors.shape == (len(_TEXTS), encoder.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        for row, text in enumerate(_TEXTS):
            np.testing.assert_allclose(encoder.encode_documents([text])[0], vectors[row], atol=1e-4)

    def test_nothing_gives_an_empty_matrix(self, encoder: Encoder) -> None:
        assert encoder.encode_documents([]).shape == (0, encoder.dimension)

    def test_a_question_is_like_the_same_passage(self, encoder: Encoder) -> None:
        question = encoder.encode_query("the red fox")
        assert question.shape == (encoder.dimension,)
        assert float(question @ encoder.encode_documents(["the red fox"])[0]) > 0.99

    def test_offsets_are_where_tokens_start(self, encoder: Encoder) -> None:
        text = "the  red\nfox"
        assert encoder.offsets(text).tolist() == [0, 5, 9]
        assert encoder.offsets("").tolist() == []

    @pytest.mark.parametrize("text", _TEXTS)
    def test_offsets_ascend_and_are_counted(self, encoder: Encoder, text: str) -> None:
        offsets = encoder.offsets(text)
        assert len(offsets) == encoder.count_tokens(text)
        assert offsets.dtype == np.int64
        assert all(np.diff(offsets) >= 0)
        assert all((offsets >= 0) & (offsets < len(text)))

    def test_offsets_count_code_points_behind_wide_characters(self, encoder: Encoder) -> None:
        assert encoder.offsets("😀 é\ud800 fox").tolist()[-1] == 5

    def test_offsets_of_a_long_text_are_those_of_its_parts(self, encoder: Encoder) -> None:
        """Long texts are tokenized in slices; the seams must not show."""
        text = "the red fox " * 20_000
        offsets = encoder.offsets(text)
        assert len(offsets) == 60_000
        assert np.array_equal(offsets.reshape(-1, 3), np.arange(20_000)[:, None] * 12 + np.array([0, 4, 8]))

    @pytest.mark.parametrize("head", ["", "a longer\n"])
    def test_a_passage_that_is_all_of_its_window_is_read_as_if_alone(self, encoder: Encoder, head: str) -> None:
        """Late chunking changes nothing for documents of one passage; an encoder that cannot do it is refused."""
        if not isinstance(encoder, WindowEncoder):
            with pytest.raises(InvalidInput, match="no vectors of tokens"):
                window_encoder(encoder)
            return
        windows = [Window(head, text, ((0, len(text)),)) for text in _TEXTS]
        vectors = np.concatenate(encoder.encode_windows(windows))
        np.testing.assert_allclose(vectors, encoder.encode_documents([head + text for text in _TEXTS]), atol=1e-4)
        assert encoder.encode_windows([]) == []

    def test_many_threads_get_the_same(self, encoder: Encoder) -> None:
        expected = encoder.encode_documents(_TEXTS)
        with ThreadPoolExecutor(4) as threads:
            for vectors in threads.map(lambda _: encoder.encode_documents(_TEXTS), range(8)):
                np.testing.assert_allclose(vectors, expected, atol=1e-4)

    def test_one_word_beyond_any_limit_is_no_problem(self, encoder: Encoder) -> None:
        assert encoder.encode_query("x" * 1_000_000).shape == (encoder.dimension,)


class TestSentenceEncoder:
    def test_gives_what_sentence_transformers_gives(self, tiny_model: Path, tiny_encoder: SentenceEncoder) -> None:
        """Batches, padding and fused layers must not change the vectors."""
        from sentence_transformers import SentenceTransformer

        texts = ["the red fox", "a text", "much longer text about the red fox " * 5, "fox"]
        reference = SentenceTransformer(str(tiny_model), device="cpu").encode(texts, normalize_embeddings=True)
        np.testing.assert_allclose(tiny_encoder.encode_documents(texts), reference, atol=1e-4)

    def test_max_tokens_leaves_room_for_special_tokens(self, tiny_encoder: SentenceEncoder) -> None:
        assert tiny_encoder.max_tokens == 46
        inside, behind = "the " * 46 + "red", "the " * 46 + "fox"
        np.testing.assert_allclose(tiny_encoder.encode_query(inside), tiny_encoder.encode_query(behind), atol=1e-6)

    def test_bfloat16_is_close_to_float32(self, tiny_model: Path, tiny_encoder: SentenceEncoder) -> None:
        half = SentenceEncoder(tiny_model, version="tiny@1", device="cpu", dtype="bfloat16")
        texts = ["the red fox", "a longer text about a fox"]
        similarity = (half.encode_documents(texts) * tiny_encoder.encode_documents(texts)).sum(axis=1)
        assert all(similarity > 0.99)

    def test_passages_of_a_window_are_means_of_their_own_tokens(
        self, tiny_model: Path, tiny_encoder: SentenceEncoder
    ) -> None:
        from sentence_transformers import SentenceTransformer

        text = "the red fox a longer text"
        first, last, nothing = tiny_encoder.encode_windows([Window("", text, ((0, 11), (12, 25), (3, 3)))])[0]
        model = SentenceTransformer(str(tiny_model), device="cpu")
        tokens = np.asarray(
            model.encode(text, output_value="token_embeddings")
        )  # [CLS] the red fox a longer text [SEP]
        for vector, mean in ((first, tokens[:4].mean(axis=0)), (last, tokens[4:].mean(axis=0))):
            np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-4)
        np.testing.assert_allclose(nothing, tiny_encoder.encode_query(text), atol=1e-4)

    def test_models_that_make_no_mean_cannot_read_windows(self, tiny_model: Path, tmp_path: Path) -> None:
        folder = tmp_path / "cls"
        shutil.copytree(tiny_model, folder)
        config = json.loads((folder / "1_Pooling" / "config.json").read_text())
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(config | {"pooling_mode": "cls"}))
        encoder = SentenceEncoder(folder, version="cls@1", device="cpu", dtype="float32")
        with pytest.raises(InvalidInput, match="average"):
            encoder.encode_windows([Window("", "the fox", ((0, 7),))])

    def test_prompts_of_the_model_are_used(self, tiny_model: Path, tmp_path: Path) -> None:
        folder = tmp_path / "prompted"
        folder.mkdir()
        for path in tiny_model.rglob("*"):
            target = folder / path.relative_to(tiny_model)
            target.mkdir(exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
        config = json.loads((folder / "config_sentence_transformers.json").read_text())
        config["prompts"] = {"query": "the red ", "document": "a longer text about "}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
        prompted = SentenceEncoder(folder, version="prompted@1", device="cpu", dtype="float32")
        plain = SentenceEncoder(tiny_model, version="tiny@1", device="cpu", dtype="float32")
        assert prompted.max_tokens == plain.max_tokens - 4
        np.testing.assert_allclose(prompted.encode_query("fox"), plain.encode_query("the red fox"), atol=1e-5)
        np.testing.assert_allclose(
            prompted.encode_documents(["fox"])[0], plain.encode_query("a longer text about fox"), atol=1e-5
        )
        [window] = prompted.encode_windows([Window("", "fox", ((0, 3),))])
        np.testing.assert_allclose(window, prompted.encode_documents(["fox"]), atol=1e-5)
        chosen = SentenceEncoder(folder, version="chosen@1", device="cpu", dtype="float32", query_prompt="about a ")
        np.testing.assert_allclose(chosen.encode_query("fox"), plain.encode_query("about a fox"), atol=1e-5)
        np.testing.assert_allclose(chosen.encode_documents(["fox"]), prompted.encode_documents(["fox"]), atol=1e-5)

    def test_truncated_vectors_are_those_of_sentence_transformers(
        self, tiny_model: Path, truncated_encoder: SentenceEncoder
    ) -> None:
        from sentence_transformers import SentenceTransformer

        reference = SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=16)
        texts = ["the red fox", "a text"]
        np.testing.assert_allclose(
            truncated_encoder.encode_documents(texts), reference.encode(texts, normalize_embeddings=True), atol=1e-4
        )

    @pytest.mark.parametrize("known", [32, None])
    def test_more_dimensions_than_there_are_is_refused(self, tiny_model: Path, known: int | None) -> None:
        with pytest.raises(SettingsError, match="32 numbers, fewer"):
            SentenceEncoder(tiny_model, version="tiny@1", device="cpu", dimension=known, truncate_dim=33).warm_up()


def test_language_that_cannot_be_told_is_trusted() -> None:
    """A short question often has no telling language; meaning must not be switched off for it."""
    english = HashEncoder(languages=frozenset({"en"}))
    assert knows_language(english, "en")
    assert knows_language(english, None)
    assert not knows_language(english, "zh")
    assert knows_language(HashEncoder(), "zh")


def _set_modules(folder: Path, path: str, kind: str) -> None:
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": path, "type": kind}]))


def _add_pickle(folder: Path) -> None:
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    _set_modules(folder, "2_Dense", "sentence_transformers.models.Dense")


class TestCheckFolder:
    def test_missing_model_names_the_command(self, tmp_path: Path) -> None:
        with pytest.raises(ModelMissing, match="models pull"):
            SentenceEncoder(tmp_path / "nothing", version="x").encode_query("fox")

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda folder: (folder / "model.safetensors").unlink(), "no weights in safetensors"),
            (lambda folder: (folder / "modules.json").unlink(), "no modules.json"),
            (lambda folder: (folder / "modules.json").write_text("{"), "damaged"),
            (lambda folder: _set_modules(folder, "", "os.system"), "its own code"),
            (lambda folder: _set_modules(folder, "../x", "sentence_transformers.models.Dense"), "outside"),
            (_add_pickle, "pickled"),
        ],
    )
    def test_refuses(self, tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
        """A model folder is untrusted: it must not make us run code or read elsewhere."""
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "model.safetensors").write_bytes(b"")
        _set_modules(tmp_path, "", "sentence_transformers.models.Transformer")
        check_folder(tmp_path)
        spoil(tmp_path)
        with pytest.raises((ModelMissing, InvalidInput), match=message):
            check_folder(tmp_path)


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=50), batch_tokens=st.integers(1, 300))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    rows = list(range(100, 100 + len(lengths)))
    batches = cut(rows, [[7] * length for length in lengths], batch_tokens, 0)
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == rows
    for batch in batches:
        assert batch.ids.size <= batch_tokens or len(batch.rows) == 1
        assert batch.mask.sum(axis=1).tolist() == [lengths[row - 100] for row in batch.rows]
        assert ((batch.ids == 7) == (batch.mask == 1)).all()
