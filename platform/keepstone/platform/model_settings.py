"""The sections of the settings that name models: the language model's server and the encoder. See `settings`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class Section(BaseModel):
    """A table of keepstone.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EngineSettings(Section):
    """The language model's server."""

    mode: Literal["managed", "external", "off"] = "managed"
    """`managed`: Keepstone starts and watches vLLM. `external`: use `url`. `off`: ingest and search only."""
    url: str | None = None
    """Base URL of an OpenAI-compatible server, with `/v1`, when mode is `external`."""
    api_key: SecretStr | None = None
    """Key sent to the external server."""
    model: str = "smollm2-135m-instruct"
    """Name of an installed model (`keepstone models list`), or the external server's model id."""
    python: Path | None = None
    """Python of an environment that has vLLM. Unset: the one that `keepstone engine install` makes."""
    port: int = Field(default=8101, ge=1, le=65535)
    """Loopback port of the managed engine."""
    max_model_len: int = Field(default=8192, ge=512)
    """Longest prompt plus answer, in tokens."""
    kv_cache_gib: float | None = Field(default=None, gt=0)
    """Memory of the KV cache on a CPU, in GiB. Unset: a tenth of the memory, between 1 and 16."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that vLLM may take."""
    tensor_parallel: int = Field(default=1, ge=1)
    """Over how many GPUs each layer is split."""
    pipeline_parallel: int = Field(default=1, ge=1)
    """Over how many stages the layers are spread."""
    data_parallel: int = Field(default=1, ge=1)
    """How many copies of the model serve side by side."""
    compile: bool | None = None
    """Whether vLLM compiles the model: a start that takes minutes longer on a CPU, more tokens per second after it.
    Unset: on GPUs only."""
    max_lora_rank: Literal[0, 8, 16, 32, 64, 128, 256, 320, 512] | None = None
    """Widest adapter (LoRA) that the managed engine takes while it runs; 0: none. Unset: 32 on GPUs. On a CPU, where
    being ready for adapters can halve the speed, as wide as the adapter that the engine is started for, else 0."""
    max_streams: int = Field(default=64, ge=1)
    """How many requests may be with the engine at once; the others wait."""
    start_timeout_s: float = Field(default=900, gt=0)
    """How long the engine may take until it answers."""
    request_timeout_s: float = Field(default=600, gt=0)
    """Longest time one request may take."""
    extra_args: tuple[str, ...] = ()
    """Further arguments for vLLM's API server, one string each, such as `--swap-space=4`."""


class EncoderSettings(Section):
    """The model that turns text into vectors."""

    model: str = "all-minilm-l6-v2"
    """Name of an installed encoder (`keepstone models list`), or the id under which the server at `url` knows it."""
    url: str | None = None
    """Base URL of an OpenAI-compatible server, with `/v1`, that encodes in place of an installed model. It needs
    `dimension`."""
    api_key: SecretStr | None = None
    """Key sent to that server."""
    timeout_s: float = Field(default=60, gt=0)
    """Longest time that one request to that server may take."""
    tokenizer: str | None = None
    """Name of an installed model whose tokens are counted for that server. Unset: an upper estimate."""
    max_tokens: int = Field(default=512, ge=32)
    """How many tokens of a text are sent to that server."""
    dimension: int | None = Field(default=None, ge=1)
    """Length of the vectors; of longer ones the first numbers are taken, which is for models that were trained for it
    (Matryoshka). Unset: the model's. Changing it encodes all documents anew."""
    query_prompt: str | None = None
    """What is put before questions, such as `query: `. Unset: what the installed model was trained with. Changing it
    encodes all documents anew."""
    document_prompt: str | None = None
    """What is put before passages, likewise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format. `auto` takes bfloat16 where the processor computes it natively."""
    batch_tokens: int | None = Field(default=None, ge=64)
    """Tokens encoded at once. Unset: what suits the device."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads. Unset: one per core."""

    @model_validator(mode="after")
    def _check_url(self) -> EncoderSettings:
        if self.url is None:
            return self
        if not re.match(r"https?://[^/\s@]+(/\S*)?$", self.url):
            raise ValueError("url is no address such as http://127.0.0.1:8000/v1; a key belongs into api_key")
        if self.dimension is None:
            raise ValueError("url needs dimension, the length of that server's vectors")
        return self
