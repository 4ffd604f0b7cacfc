"""All settings of Keepstone, in one typed tree.

Read, in falling precedence, from arguments, from `KEEPSTONE_*` environment variables (`KEEPSTONE_ENGINE__PORT=8101`:
two underscores step down the tree), and from `keepstone.toml` in the home folder. A key that does not exist is
refused with the nearest one that does.
"""

from __future__ import annotations

import os
import re
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings import SettingsError as SourceError

from keepstone.platform.errors import SettingsError, did_you_mean
from keepstone.platform.model_settings import EncoderSettings, EngineSettings, Section
from keepstone.platform.sources_settings import SourcesSettings
from keepstone.platform.understanding_settings import UnderstandingSettings

_PREFIX = "KEEPSTONE_"
# Read elsewhere than in the settings tree, so they are no typing errors.
_OTHER_VARIABLES = frozenset({"KEEPSTONE_HOME", "KEEPSTONE_CONFIG", "KEEPSTONE_BENCH_DATA", "KEEPSTONE_API_KEY"})


class AppSettings(Section):
    """The process that serves the API and the web pages."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs `require_sign_in` on."""
    port: int = Field(default=8080, ge=1, le=65535)
    """Port of the web pages and of the API."""
    require_sign_in: bool = True
    """Whether every request needs a credential. May only be switched off on a loopback address."""
    max_body_mb: int = Field(default=256, ge=1)
    """Largest request body accepted, in MiB; it bounds one upload."""
    session_days: int = Field(default=14, ge=1)
    """How long a browser stays signed in."""
    trusted_origins: tuple[str, ...] = ()
    """Origins besides our own that browsers may call the API from, such as `https://intranet.example`."""

    @field_validator("trusted_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        # `*` would let every page that somebody here has open read what needs no sign-in.
        for origin in origins:
            if not re.fullmatch(r"https?://[\w.:\[\]-]+/?", origin):
                raise ValueError(f"{origin!r} is no origin such as https://intranet.example")
        return origins


class DatabaseSettings(Section):
    """Where documents, accounts, conversations and jobs live."""

    url: SecretStr | None = None
    """SQLAlchemy URL: `postgresql+psycopg://user:password@host/keepstone`. Unset: SQLite in the home folder."""


class BlobSettings(Section):
    """Where the bytes of uploaded files live."""

    url: str | None = None
    """An fsspec URL such as `s3://bucket/keepstone`. Unset: a folder in the home folder."""


class ChunkingSettings(Section):
    """How documents are cut, in collections without a choice of their own (`keepstone collections rechunk`)."""

    chunker: Literal["structure", "tokens", "recursive", "sentence-window", "parent-child", "semantic"] = "structure"
    """`structure`: along headings, tables, lists and code, which stay whole where they fit. `tokens`: every so many
    tokens. `recursive`: at paragraphs, else lines, else sentences, else words. `sentence-window`: every sentence, read
    with those around it. `parent-child`: as `structure`, read with the larger parts of sections that they lie in.
    `semantic`: where the encoder finds neighbouring sentences least alike, for which it reads each three times more."""
    max_tokens: int = Field(default=200, ge=32, le=4096)
    """Longest chunk, in tokens of the encoder."""
    overlap_tokens: int = Field(default=0, ge=0)
    """How many tokens neighbouring chunks share, with `structure` those of the same section."""
    context: Literal["headings", "llm", "none"] = "headings"
    """What is indexed with the text of a chunk: the document's title and the headings that it stands under; with `llm`
    besides one or two sentences by the language model that place it in its document; or nothing."""
    late: bool = False
    """Whether passages are encoded as parts of their document (late chunking), in windows as long as the encoder reads,
    instead of each alone: about twice the work, and a document that changes is encoded as a whole. For installed
    encoders that average their tokens' vectors."""
    window_sentences: int = Field(default=3, ge=1, le=20)
    """With `sentence-window`: how many sentences on either side are read together with the one that is found."""
    parent_tokens: int = Field(default=600, ge=64, le=16_384)
    """With `parent-child`: the longest part that is read, in tokens of the encoder."""
    semantic_percentile: float = Field(default=95, gt=0, lt=100)
    """With `semantic`: the share of the places between sentences, in percent, that are not cut."""

    @model_validator(mode="after")
    def _check_sizes(self) -> ChunkingSettings:
        if self.overlap_tokens * 2 > self.max_tokens:
            raise ValueError("overlap_tokens may be at most half of max_tokens")
        if self.chunker == "parent-child" and self.parent_tokens < self.max_tokens:
            raise ValueError("parent_tokens must be at least max_tokens")
        return self


class IngestionSettings(Section):
    """How files become documents."""

    max_file_mb: int = Field(default=200, ge=1)
    """Largest file, in MiB."""
    max_archive_files: int = Field(default=2000, ge=1)
    """How many files an archive may hold."""
    max_archive_mb: int = Field(default=1024, ge=1)
    """How much an archive may unpack to, in MiB."""
    max_text_chars: int = Field(default=20_000_000, ge=1000)
    """Longest text taken from one file, in characters; more is refused, which also stops zip bombs."""
    load_timeout_s: float = Field(default=120, gt=0)
    """How long reading one file may take."""
    load_memory_mb: int = Field(default=2048, ge=256)
    """How much memory reading one file may take, in MiB."""


class FetchSettings(Section):
    """How pages and files are fetched whose addresses people give."""

    allowed_networks: tuple[str, ...] = ()
    """Networks that may be fetched from although they are not public, such as `10.20.0.0/16` for an intranet.
    Anyone who may write in a collection reads there what this machine can reach."""
    max_mb: int = Field(default=50, ge=1)
    """Largest page or file, in MiB."""
    timeout_s: float = Field(default=60, gt=0)
    """How long fetching one may take, redirects included."""
    max_pages: int = Field(default=500, ge=1)
    """How many pages of a sitemap are taken."""

    @field_validator("allowed_networks")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(network)) for network in networks)


class IndexSettings(Section):
    """Where the search indexes are kept. They are derived from the database, and are built anew where this changes."""

    vectors: Literal["hnsw", "int8", "binary", "pgvector", "milvus"] = "hnsw"
    """`hnsw`: in the memory of the app, with a snapshot in the home folder. `int8`, `binary`: in the home folder, and
    in memory a byte or a bit for each number, all of which every search looks through: for many vectors in little
    memory, where answers may take longer. `pgvector`: in the PostgreSQL of `database.url`, which needs pgvector 0.8 or
    later; all apps on it share one index. `milvus`: on a Milvus server or cluster, version 2.5 or later, shared
    likewise."""
    words: Literal["tantivy", "postgres", "milvus"] = "tantivy"
    """`tantivy`: in the home folder. `postgres`: in the PostgreSQL of `database.url`, shared likewise.
    `milvus`: on a Milvus server or cluster."""
    milvus_url: str = "http://127.0.0.1:19530"
    """Where Milvus listens, `http://` or `https://`; a path names one of its databases."""
    milvus_token: SecretStr | None = None
    """`user:password` of an account there, or an API key."""
    milvus_prefix: str = Field(default="keepstone", pattern=r"^[A-Za-z][A-Za-z0-9]{0,31}$")
    """Begins the names of our collections there. Installations that share a database of Milvus need different ones:
    each drops what begins with its own and belongs to none of its indexes."""
    milvus_timeout_s: float = Field(default=30, gt=0)
    """How long a call to Milvus may take."""

    @field_validator("milvus_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^/\s@?#]+(/\w*)?", url):
            raise ValueError("no address such as http://127.0.0.1:19530; credentials belong in indexes.milvus_token")
        return url


class SearchSettings(Section):
    """How passages are found."""

    candidates: int = Field(default=100, ge=1, le=1000)
    """How many passages each index proposes before fusion."""
    dense_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of meaning against words in the fused score, for languages that the encoder knows."""
    fusion: Literal["convex", "rrf"] = "convex"
    """How both rankings become one: `convex` adds up their standardised scores, `rrf` the reciprocals of ranks."""
    regularisation: float = Field(default=0.2, ge=0, le=1)
    """How far a passage's score is drawn towards those of the passages beside it in its document, and of those most
    like it; 0: not at all."""
    half_life_days: float | None = Field(default=None, gt=0)
    """Age of a document at which its passages score half as far above the weakest candidate. Unset: age does not count.
    Its date is the `date` of its metadata, in ISO 8601, else the day it was added."""
    diversity: float = Field(default=0.0, ge=0, lt=1)
    """Weight of a passage's likeness to better ones against its score: more brings more different ones."""
    neighbours: int = Field(default=0, ge=0, le=20)
    """With how many passages before and after it in its document each one that is found is read."""
    ef_search: int = Field(default=192, ge=10)
    """Breadth of the HNSW search: higher finds more of the true neighbours and takes longer. Where a collection has
    more than 50,000 passages, the app's own index (`indexes.vectors = "hnsw"`) searches more broadly by itself."""
    reranker: str = "off"
    """What reads question and passages once more: `off`; `late`, late interaction between the encoder's token vectors;
    `cosine`, the encoder's cosines alone; `llm`, the language model, which takes seconds; or the name of an installed
    reranker (`keepstone models list`)."""
    rerank_candidates: int = Field(default=40, ge=1, le=200)
    """How many of the best passages the reranker reads."""
    rerank_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the reranker's score against that of search."""


class AnsweringSettings(Section):
    """How questions are answered."""

    style: Literal["auto", "write", "quote"] = "auto"
    """`write`: the model formulates the answer. `quote`: it repeats the sentence that answers best, which even the
    smallest model does truthfully. `auto` writes with models of a billion parameters or more."""
    passages: int = Field(default=5, ge=1, le=50)
    """How many passages are given to the language model."""
    max_context_tokens: int = Field(default=3000, ge=256)
    """How many tokens of passages fit into the prompt."""
    max_answer_tokens: int = Field(default=320, ge=16)
    """Longest answer, in tokens."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Randomness of the answer; 0 always takes the likeliest word."""
    abstain_below: float | None = None
    """Probability that the passages hold the answer, under which it is "not in the documents"; 0 always answers.
    Unset: 0.138, fitted on the example questions."""


class AgentSettings(Section):
    """How far the agent may go before it has to answer with what it has."""

    max_steps: int = Field(default=6, ge=1, le=50)
    """Most decisions of the model in one run."""
    max_tokens: int = Field(default=60_000, ge=1000)
    """Most tokens that the model reads and writes for its decisions in one run."""
    max_seconds: float = Field(default=300, gt=0)
    """Longest time that one run may be at work before it answers."""


class McpServerSettings(Section):
    """One MCP server whose tools the agent may use."""

    command: tuple[str, ...] = ()
    """The program that serves over its standard input and output, and its arguments."""
    url: str | None = None
    """Or the address where it serves over streamable HTTP."""
    tools: tuple[str, ...]
    """Names of its tools that the agent may use; all others stay unknown to it."""
    environment: dict[str, SecretStr] = Field(default={})
    """Environment variables of the program, besides PATH, HOME and the like; it inherits no others."""
    headers: dict[str, SecretStr] = Field(default={})
    """Headers sent to the address, such as `Authorization`."""
    timeout_s: float = Field(default=30, gt=0, le=600)
    """How long it may take to begin, and to answer a call."""

    @model_validator(mode="after")
    def _check_way(self) -> McpServerSettings:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either command or url")
        if self.url and not re.match(r"https?://[^/\s]", self.url):
            raise ValueError("url is no address such as https://tools.example/mcp")
        return self


class McpSettings(Section):
    """Tools of other programs, by the Model Context Protocol."""

    servers: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")], McpServerSettings] = Field(
        default={}
    )
    """The MCP servers whose tools the agent may use, by names of your choice."""


class LoggingSettings(Section):
    """What is written to the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important messages written."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto` writes for people on a terminal and JSON lines elsewhere."""


def default_home() -> Path:
    """Return the one folder that holds all state: `KEEPSTONE_HOME`, else the user's XDG data folder."""
    chosen = os.environ.get("KEEPSTONE_HOME")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_data_dir("keepstone"))


def config_file() -> Path:
    """Return the path of keepstone.toml, which need not exist: `KEEPSTONE_CONFIG`, else in the home folder."""
    chosen = os.environ.get("KEEPSTONE_CONFIG")
    return Path(chosen).expanduser().absolute() if chosen else default_home() / "keepstone.toml"


class _TomlSource(TomlConfigSettingsSource):
    """The file; also one that an editor on Windows saved with a byte order mark."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return tomllib.loads(file_path.read_text(encoding="utf-8-sig"))


class Settings(BaseSettings):
    """The whole tree. Load it with `load_settings`, which words its errors for people."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    home: Path = Field(default_factory=default_home)
    """The folder that holds all state. Set it with the variable KEEPSTONE_HOME."""
    app: AppSettings = AppSettings()
    database: DatabaseSettings = DatabaseSettings()
    blobs: BlobSettings = BlobSettings()
    engine: EngineSettings = EngineSettings()
    encoder: EncoderSettings = EncoderSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    ingestion: IngestionSettings = IngestionSettings()
    fetch: FetchSettings = FetchSettings()
    sources: SourcesSettings = SourcesSettings()
    indexes: IndexSettings = IndexSettings()
    search: SearchSettings = SearchSettings()
    understanding: UnderstandingSettings = UnderstandingSettings()
    answering: AnsweringSettings = AnsweringSettings()
    agent: AgentSettings = AgentSettings()
    mcp: McpSettings = McpSettings()
    logging: LoggingSettings = LoggingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, keepstone.toml."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _TomlSource(settings_cls, toml_file=config_file())

    @model_validator(mode="after")
    def _check_combinations(self) -> Settings:
        if self.engine.mode == "external" and not self.engine.url:
            raise ValueError("engine.mode is 'external' but engine.url is not set")
        if self.engine.url and not re.match(r"https?://[^/\s]", self.engine.url):
            raise ValueError("engine.url is no address such as http://127.0.0.1:8000/v1")
        in_postgres = [name for name in ("vectors", "words") if getattr(self.indexes, name) in ("pgvector", "postgres")]
        if in_postgres and not self.database_url.startswith("postgres"):
            raise ValueError(
                f"indexes.{in_postgres[0]} is {getattr(self.indexes, in_postgres[0])!r} but database.url names no "
                "PostgreSQL such as postgresql+psycopg://user:password@host/keepstone"
            )
        home = self.home.resolve()
        for folder in map(Path.resolve, self.sources.allowed_folders):
            if home.is_relative_to(folder) or folder.is_relative_to(home):
                raise ValueError(
                    f"sources.allowed_folders has {str(folder)!r} and with it files of the home folder {str(home)!r}, "
                    "which are those of all people: allow folders beside it"
                )
        if not self.app.require_sign_in and not is_loopback(self.app.host):
            raise ValueError(
                f"app.require_sign_in is off but app.host is {self.app.host!r}: "
                "without sign-in only a loopback address such as 127.0.0.1 is allowed"
            )
        return self

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database, with its password."""
        chosen = self.database.url
        return chosen.get_secret_value() if chosen else f"sqlite:///{self.home / 'keepstone.db'}"

    @property
    def jobs_url(self) -> str:
        """SQLAlchemy URL of the durable steps of jobs: a file of their own beside SQLite, else the same server."""
        is_file = self.database_url.startswith("sqlite")
        return f"sqlite:///{self.home / 'jobs.db'}" if is_file else self.database_url

    @property
    def blob_url(self) -> str:
        """URL of the blob store, as fsspec reads it."""
        return self.blobs.url or (self.home / "blobs").as_uri()

    @property
    def needed_models(self) -> list[str]:
        """Names of the models that have to be on this machine: what no other server runs."""
        encoder = self.encoder.tokenizer if self.encoder.url else self.encoder.model
        engine = self.engine.model if self.engine.mode == "managed" else None
        return [name for name in (encoder, engine) if name]

    @property
    def app_url(self) -> str:
        """URL under which a browser on this machine reaches the app."""
        host = "127.0.0.1" if self.app.host in ("0.0.0.0", "::") else self.app.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.app.port}"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # some other name, which may stand for any address
        return False


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Args:
        overrides: values that win over every other source, such as `home=Path("scratch")` or `app={"port": 9000}`.

    Raises:
        SettingsError: a key or value is wrong; the message names the place, the fault and the nearest valid key.
    """
    _refuse_unknown_variables()
    chosen = os.environ.get("KEEPSTONE_CONFIG")
    if chosen and not config_file().is_file():
        raise SettingsError(f"KEEPSTONE_CONFIG names {chosen!r}, which is no file", fix="Mend or unset the variable")
    try:
        if config_file().is_dir():
            raise SettingsError(f"{config_file()} is a folder", fix="Rename it; the settings are a file of that name")
        settings = Settings(**overrides)
        if settings.home.exists() and not settings.home.is_dir():
            raise SettingsError(f"{settings.home} is no folder", fix="Set KEEPSTONE_HOME to a folder, or unset it")
    except ValidationError as error:
        raise _explained(error) from error
    except SourceError as error:
        raise SettingsError(
            f"{_variables_of(error)} cannot be read", fix="""Lists are written as JSON: '["a", "b"]'"""
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config_file()} is not valid TOML: {error}", fix="Mend that line") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{config_file()} is not UTF-8 text", fix="Save it as UTF-8 in your editor") from error
    except OSError as error:
        raise SettingsError(f"{config_file()} cannot be read ({error.strerror})", fix="Check who owns it") from error
    return settings


def setting_names() -> list[str]:
    """Return the dotted name of every setting, such as `engine.port`."""
    names: list[str] = []
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            names += [f"{name}.{inner}" for inner in section.model_fields]
        else:
            names.append(name)
    return names


def _refuse_unknown_variables() -> None:
    valid = {_PREFIX + name.upper().replace(".", "__") for name in setting_names()}
    sections = {_PREFIX + name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith(_PREFIX) and variable not in valid | sections | _OTHER_VARIABLES:
            hint = did_you_mean(variable, sorted(valid | _OTHER_VARIABLES))
            raise SettingsError(f"No setting belongs to the environment variable {variable}", fix=hint)


def _variables_of(error: SourceError) -> str:
    """Return the variables that may have caused an error, which itself names only the section."""
    found = re.search(r'"(\w+)"', str(error))
    prefix = _PREFIX + found[1].upper() if found else _PREFIX
    names = sorted(name for name in os.environ if name.startswith(prefix) and name not in _OTHER_VARIABLES)
    return " or ".join(names) or "A KEEPSTONE_* variable"


def _explained(error: ValidationError) -> SettingsError:
    """Return all faults as one error; the first unknown name decides about the fix."""
    faults: list[str] = []
    hints: list[str] = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            faults.append(f"Unknown setting {place!r}")
            hints.append(_nearest(place))
        elif item["type"] in ("model_type", "model_attributes_type", "dict_type"):
            faults.append(f"Setting {place!r} is a section, not a value")
            hints.append(f"Write [{place}], and its settings below")
        else:
            reason = item["msg"].removeprefix("Value error, ")
            faults.append(f"Setting {place!r}: {reason}" if place else reason)
    source = f"Settings come from {config_file()} and KEEPSTONE_* variables"
    return SettingsError("; ".join(faults), fix=" ".join([*dict.fromkeys(hints), source]))


def _nearest(place: str) -> str:
    section, _, key = place.rpartition(".")
    names = setting_names()
    siblings = [name for name in names if name.startswith(f"{section}.")] if section else []
    if section.startswith("mcp.servers."):
        siblings = [f"{section}.{name}" for name in McpServerSettings.model_fields]
    if siblings:
        return did_you_mean(f"{section}.{key}", siblings)
    return did_you_mean(place, sorted({*names, *Settings.model_fields}))
