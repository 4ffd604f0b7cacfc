"""A sentence-transformers model as an `Encoder`, from a folder on this machine.

encoder = SentenceEncoder(Path("models/all-minilm-l6-v2"), version="all-minilm-l6-v2@1f0c...")
vectors = encoder.encode_documents(["a passage", "another"])

Bulk encoding sorts all texts by length, tokenizes in Rust in a thread that runs ahead of the model, and cuts batches by
tokens instead of by texts: on a CPU those that fit into the cache are fastest. There each batch has a thread of its
own, since threads that share a batch wait for each other at every layer, most of all when others want the cores too.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from keepstone.platform.errors import InvalidInput, SettingsError
from keepstone.retrieval.encoder import Window, first_dimensions
from keepstone.retrieval.encoder_batches import Batch, cut, padded
from keepstone.retrieval.encoder_folder import check_folder
from keepstone.retrieval.encoder_tokens import MAX_CHARS_PER_TOKEN, OwnTokens, encodable
from keepstone.retrieval.window_pooling import token_weights

if TYPE_CHECKING:
    import torch
    from tokenizers import Encoding, Tokenizer

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Texts tokenized at once, ahead of the model.
_WINDOW = 512
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 1600, 65_536
# More would mostly wait for Python; what cores are left over share the batches.
_MAX_WORKERS = 8

log = structlog.get_logger(__name__)


class SentenceEncoder:
    """A sentence-transformers model, loaded at the first use.

    Args:
        folder: the model's files, as sentence-transformers saves them; weights in safetensors only.
        version: name and version of the model, which must not depend on the number format.
        languages: ISO 639-1 codes of the languages it was trained for; empty for all.
        device: where it runs; `auto` takes a GPU when there is one.
        dtype: number format; `auto` takes bfloat16 where the processor computes it natively, else float32.
        batch_tokens: padded tokens per batch; by default what suits the device.
        threads: CPU threads of the model; one per core by default.
        max_tokens: read less of each text than the model could, special tokens included.
        dimension: length of the model's vectors, where it is known; otherwise the model is loaded to tell.
        truncate_dim: of each vector only the first so many numbers are taken, at unit length again, which models
            trained for it (Matryoshka, Kusupati et al., 2022) bear well.
        query_prompt: put before questions; by default what the model was trained with.
        document_prompt: put before passages, likewise.

    Raises:
        SettingsError: `truncate_dim` is more than the model has.
    """

    def __init__(
        self,
        folder: Path,
        *,
        version: str,
        languages: Sequence[str] = (),
        device: Device = "auto",
        dtype: Dtype = "auto",
        batch_tokens: int | None = None,
        threads: int | None = None,
        max_tokens: int | None = None,
        dimension: int | None = None,
        truncate_dim: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        self.version = version
        self.languages = frozenset(languages)
        self._folder = folder
        self._device, self._dtype = device, dtype
        self._batch_tokens, self._threads, self._limit = batch_tokens, threads, max_tokens
        self._dimension, self._truncate_dim = dimension, truncate_dim
        self._query_prompt, self._document_prompt = query_prompt, document_prompt
        if dimension is not None:
            self._check_truncation(dimension)
        self._lock = threading.RLock()

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._truncate_dim or self._dimension or self._loaded.dimension

    @property
    def max_tokens(self) -> int:
        """How many tokens of a passage are read, without special tokens and prompt."""
        return self._loaded.max_length - self._loaded.overhead

    @property
    def description(self) -> str:
        """Where and how it runs, for status pages: `cpu bfloat16 fused`."""
        return self._loaded.description

    def warm_up(self) -> None:
        """Load the model and run it once, so that the first question does not wait for it."""
        self.encode_query("warm up")

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages: shape (n, d), unit length, in the order of `texts`."""
        loaded = self._loaded
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        running: deque[tuple[Batch, Future[NDArray[np.float32]]]] = deque()

        def finish_oldest() -> None:
            batch, future = running.popleft()
            vectors[batch.rows] = future.result()

        try:
            for batch in self._batches([loaded.document_prompt + text for text in texts]):
                running.append((batch, loaded.workers.submit(loaded.forward, batch, loaded.document_prompt_tokens)))
                if len(running) > 2 * loaded.worker_count:
                    finish_oldest()
            while running:
                finish_oldest()
        finally:
            for _, future in running:
                future.cancel()
        return vectors

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a question: shape (d,), unit length."""
        loaded = self._loaded
        [encoding] = loaded.tokenize([loaded.query_prompt + text])
        batch = padded([0], [encoding.ids], loaded.pad_id)
        vector: NDArray[np.float32] = loaded.forward(batch, loaded.query_prompt_tokens)[0]
        return vector

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of some questions, read at once: shape (n, d), unit length."""
        loaded = self._loaded
        encodings = loaded.tokenize([loaded.query_prompt + text for text in texts])
        batch = padded([*range(len(texts))], [each.ids for each in encodings], loaded.pad_id)
        return loaded.forward(batch, loaded.query_prompt_tokens)

    def encode_query_tokens(self, text: str) -> NDArray[np.float32]:
        """Return the vectors of a question's tokens without special ones and prompt: shape (t, d), unit length."""
        loaded = self._loaded
        [encoding] = loaded.tokenize([loaded.query_prompt + text])
        batch = padded([0], [encoding.ids], loaded.pad_id)
        return loaded.forward_tokens(batch, loaded.query_prompt_tokens)[0]

    def encode_document_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the vectors of each passage's tokens: shape (t, d) each, unit length, in the order of `texts`."""
        loaded = self._loaded
        vectors: dict[int, NDArray[np.float32]] = {}
        for batch in self._batches([loaded.document_prompt + text for text in texts]):
            parts = loaded.forward_tokens(batch, loaded.document_prompt_tokens)
            vectors.update(zip(batch.rows.tolist(), parts, strict=True))
        return [vectors[row] for row in range(len(texts))]

    def encode_windows(self, windows: Sequence[Window]) -> list[NDArray[np.float32]]:
        """Return the vectors of the passages of each window, see `WindowEncoder`."""
        loaded = self._loaded
        prompt, left_out = loaded.document_prompt, loaded.unpooled_tokens()
        read = loaded.tokenizer.encode_batch([encodable(prompt + window.head + window.text) for window in windows])
        weights = [
            token_weights(window, each, prompt_chars=len(prompt), left_out=left_out)
            for window, each in zip(windows, read, strict=True)
        ]
        vectors: dict[int, NDArray[np.float32]] = {}
        ids = [each.ids for each in read]
        for batch in cut(range(len(windows)), ids, loaded.batch_tokens, loaded.pad_id):
            rows = batch.rows.tolist()
            vectors.update(zip(rows, loaded.forward_windows(batch, [weights[row] for row in rows]), strict=True))
        return [vectors[row] for row in range(len(windows))]

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return the character (code point) at which each token of the whole text starts, ascending."""
        return self._loaded.tokens.offsets(text)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of the whole text, without special tokens."""
        return self._loaded.tokens.count(text)

    def _batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        loaded = self._loaded
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        windows = [order[at : at + _WINDOW] for at in range(0, len(order), _WINDOW)]

        def tokenize(rows: list[int]) -> list[Batch]:
            encodings = loaded.tokenize([texts[row] for row in rows])
            return cut(rows, [encoding.ids for encoding in encodings], loaded.batch_tokens, loaded.pad_id)

        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenize") as ahead:
            pending: Future[list[Batch]] | None = None
            for window in windows:
                ready, pending = pending, ahead.submit(tokenize, window)
                if ready is not None:
                    yield from ready.result()
            if pending is not None:
                yield from pending.result()

    @cached_property
    def _cached(self) -> _Loaded:
        loaded = _Loaded.load(
            self._folder,
            device=self._device,
            dtype=self._dtype,
            batch_tokens=self._batch_tokens,
            threads=self._threads,
            limit=self._limit,
            query_prompt=self._query_prompt,
            document_prompt=self._document_prompt,
            truncate_dim=self._truncate_dim,
        )
        self._check_truncation(loaded.dimension)
        if self._dimension not in (None, loaded.dimension):
            raise InvalidInput(
                f"The encoder {self.version} has {loaded.dimension} dimensions instead of {self._dimension}",
                fix="Run `keepstone models pull` for it again",
            )
        return loaded

    def _check_truncation(self, dimension: int) -> None:
        if (self._truncate_dim or 0) > dimension:
            raise SettingsError(
                f"The vectors of {self.version} have {dimension} numbers, fewer than encoder.dimension",
                fix=f"Set encoder.dimension to at most {dimension} in keepstone.toml",
            )

    @property
    def _loaded(self) -> _Loaded:
        found = self.__dict__.get("_cached")
        if found is not None:
            return found  # type: ignore[no-any-return]
        with self._lock:
            return self._cached


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The model in memory."""

    model: Any
    device: torch.device
    tokenizer: Tokenizer
    """Truncates to `max_length`, special tokens included."""
    tokens: OwnTokens
    """Truncates nothing."""
    pad_id: int
    dimension: int
    """Of the model, before truncation."""
    truncate_dim: int | None
    max_length: int
    overhead: int
    """Special tokens, and those of the passage prompt."""
    batch_tokens: int
    document_prompt: str
    query_prompt: str
    document_prompt_tokens: int
    query_prompt_tokens: int
    workers: ThreadPoolExecutor
    """Run the batches of bulk encoding."""
    worker_count: int
    description: str

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: Device,
        dtype: Dtype,
        batch_tokens: int | None,
        threads: int | None,
        limit: int | None,
        query_prompt: str | None,
        document_prompt: str | None,
        truncate_dim: int | None,
    ) -> _Loaded:
        check_folder(folder)
        import torch
        from sentence_transformers import SentenceTransformer
        from tokenizers import Tokenizer

        if threads is not None:
            torch.set_num_threads(threads)
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        number_format = _native_dtype(where) if dtype == "auto" else getattr(torch, dtype)
        model = SentenceTransformer(
            str(folder),
            device=where,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": number_format, "use_safetensors": True},
        ).eval()
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InvalidInput(
                f"The encoder in {folder} has no fast tokenizer",
                fix="Choose an encoder whose folder holds a tokenizer.json: `keepstone models list`",
            )
        plain = Tokenizer.from_str(backend.to_str())
        plain.no_truncation()
        plain.no_padding()
        cutting = Tokenizer.from_str(plain.to_str())
        max_length = min(n for n in (model.max_seq_length, limit, 8192) if n)
        cutting.enable_truncation(max_length)
        trained_query, trained_document = _prompts(model)
        query_prompt = trained_query if query_prompt is None else query_prompt
        document_prompt = trained_document if document_prompt is None else document_prompt
        special = plain.num_special_tokens_to_add(is_pair=False)
        prompt_tokens = len(plain.encode(document_prompt, add_special_tokens=False))
        fused = where == "cpu" and _fuse(model)
        worker_count = min(_MAX_WORKERS, torch.get_num_threads(), _cores()) if where == "cpu" else 1
        log.info("encoder_loaded", folder=folder.name, device=where, dtype=str(number_format), fused=fused)
        return cls(
            model=model,
            device=torch.device(where),
            tokenizer=cutting,
            tokens=OwnTokens(plain, folder.name),
            pad_id=model.tokenizer.pad_token_id or 0,
            dimension=int(model.get_embedding_dimension() or 0),
            truncate_dim=truncate_dim,
            max_length=max_length,
            overhead=special + prompt_tokens,
            batch_tokens=batch_tokens or (_CPU_BATCH_TOKENS if where == "cpu" else _GPU_BATCH_TOKENS),
            document_prompt=document_prompt,
            query_prompt=query_prompt,
            document_prompt_tokens=_leading_tokens(plain, document_prompt),
            query_prompt_tokens=_leading_tokens(plain, query_prompt),
            workers=_workers(worker_count),
            worker_count=worker_count,
            description=" ".join([where, str(number_format).removeprefix("torch."), *(["fused"] if fused else [])]),
        )

    def tokenize(self, texts: list[str]) -> list[Encoding]:
        """Tokenize and truncate; safe for any string."""
        limit = self.max_length * MAX_CHARS_PER_TOKEN
        return self.tokenizer.encode_batch_fast([encodable(text[:limit]) for text in texts])

    def forward(self, batch: Batch, prompt_tokens: int) -> NDArray[np.float32]:
        """Run the model: shape (rows, d), unit length."""
        vectors = self._run(batch, prompt_tokens, "sentence_embedding")
        return first_dimensions(vectors, self.truncate_dim) if self.truncate_dim else vectors

    def forward_tokens(self, batch: Batch, prompt_tokens: int) -> list[NDArray[np.float32]]:
        """Run the model: for each row the vectors of its tokens, shape (t, d), unit length."""
        vectors = self._run(batch, prompt_tokens, "token_embeddings")
        meant = batch.mask.astype(bool) & ~np.isin(batch.ids, self.model.tokenizer.all_special_ids)
        meant[:, :prompt_tokens] = False
        return [row[kept] for row, kept in zip(vectors, meant, strict=True)]

    def unpooled_tokens(self) -> int:
        """Return how many tokens at the head of a passage its mean leaves out.

        Raises:
            InvalidInput: the model makes no mean of its tokens' vectors.
        """
        pooling = self.model[1] if len(self.model) > 1 else None
        if getattr(pooling, "pooling_mode", None) != "mean":
            raise InvalidInput(
                "This encoder does not average the vectors of its tokens, so passages cannot be encoded late",
                fix="Set `chunking.late` to false, or use another encoder: `keepstone models list`",
            )
        return 0 if getattr(pooling, "include_prompt", True) else self.document_prompt_tokens

    def forward_windows(self, batch: Batch, weights: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Run the model: for each row the means of its tokens' vectors by some weights, at unit length."""
        import torch

        with torch.inference_mode():
            tokens = self.model(self._features(batch, 0))["token_embeddings"]
            means = [torch.from_numpy(each).to(self.device) for each in weights]
            pooled = torch.cat([each @ row[: each.shape[1]].float() for each, row in zip(means, tokens, strict=True)])
            features = {"sentence_embedding": pooled.to(tokens.dtype)}
            for module in list(self.model)[2:]:
                features = module(features)
            unit = torch.nn.functional.normalize(features["sentence_embedding"].float(), dim=-1).cpu().numpy()
        vectors = first_dimensions(unit, self.truncate_dim) if self.truncate_dim else unit
        return np.split(vectors, np.cumsum([len(each) for each in weights])[:-1])

    def _run(self, batch: Batch, prompt_tokens: int, what: str) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            vectors = self.model(self._features(batch, prompt_tokens))[what].float()
            unit: NDArray[np.float32] = torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()
            return unit

    def _features(self, batch: Batch, prompt_tokens: int) -> dict[str, Any]:
        import torch

        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(batch.ids).to(self.device),
            "attention_mask": torch.from_numpy(batch.mask).to(self.device),
        }
        return features | {"prompt_length": prompt_tokens} if prompt_tokens else features


def _workers(count: int) -> ThreadPoolExecutor:
    """Start threads that share the cores evenly: with as many threads as cores, each computes alone."""
    import torch

    cores = torch.get_num_threads()
    everybody = threading.Barrier(count)

    def claim_share() -> None:
        if count > 1:
            torch.set_num_threads(max(1, cores // count))
        everybody.wait()

    workers = ThreadPoolExecutor(max_workers=count, thread_name_prefix="encode")
    for future in [workers.submit(claim_share) for _ in range(count)]:
        future.result()
    # The workers keep their share, but new threads would take the number that was set last.
    torch.set_num_threads(cores)
    return workers


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _native_dtype(device: str) -> torch.dtype:
    import torch

    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16", "arm_bf16"))
    return torch.bfloat16 if native else torch.float32


def _prompts(model: Any) -> tuple[str, str]:
    """Return the prompts that the model was trained with, for questions and for passages."""
    prompts = model.prompts or {}
    default = prompts.get(model.default_prompt_name or "") or ""
    document = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), default)
    return prompts.get("query") or default, document


def _leading_tokens(tokenizer: Tokenizer, prompt: str) -> int:
    """Count the tokens at the head of a prompted text, the special one in front included."""
    if not prompt:
        return 0
    encoding = tokenizer.encode(prompt)
    return len(encoding) - (1 if encoding.special_tokens_mask[-1:] == [1] else 0)


def _fuse(model: Any) -> bool:
    import torch

    from keepstone.retrieval.fused_linear import fuse_linears

    transformer = getattr(model[0], "auto_model", None)
    if transformer is None:
        return False
    ids = torch.arange(16).reshape(2, 8) % transformer.config.vocab_size
    return fuse_linears(transformer, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
