"""A model's folder: which files belong to it, what kind of model they are, and the manifest that fixes their hashes.

The version of a model is the first 16 hex digits of the sha256 over its files' names and hashes, so the same files have
the same version everywhere, and a changed byte is another version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from keepstone.platform.errors import InvalidInput, ModelMissing, storage_errors
from keepstone.platform.models.catalog import Kind

MANIFEST = "keepstone-model.json"
_WANTED = frozenset({".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja"})
_PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
_KINDS: tuple[tuple[str, Kind], ...] = (("ForSequenceClassification", "reranker"), ("ForCausalLM", "llm"))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands beside the weights and tells what they are."""

    name: str
    kind: Kind
    version: str
    source: str
    details: dict[str, Any]
    files: dict[str, str]
    """sha256 by path relative to the folder, with forward slashes."""


def is_wanted(path: str) -> bool:
    """Tell whether a file of a repository belongs to a model: weights, configuration, tokenizer, licence."""
    parts = path.split("/")
    hidden = any(part.startswith(".") or part in ("onnx", "openvino", "original") for part in parts)
    doubled = parts[-1].startswith("consolidated") or parts[-1] == MANIFEST
    plain = Path(parts[-1]).suffix in _WANTED or parts[-1].upper().startswith(("LICENSE", "LICENCE"))
    return plain and not hidden and not doubled


def wanted_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, path) of the files that belong to the model in `folder`, sorted by name."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    yield from sorted((name, path) for name, path in found.items() if is_wanted(name))


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of the model, by relative name."""
    return {name: sha256_file(path) for name, path in wanted_files(folder)}


def sync(folder: Path, names: Iterable[str]) -> None:
    """Bring the files to the disk itself, so that a power cut after the manifest leaves them whole."""
    for name in names:
        with (folder / name).open("rb") as stream:
            os.fsync(stream.fileno())


def version_of(files: dict[str, str]) -> str:
    """Return the version that these names and hashes make."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def check_weights(folder: Path) -> None:
    """Make sure that `folder` holds a model that can be loaded without running anything of it.

    Raises:
        ModelMissing: there is no such folder.
        InvalidInput: no configuration, no safetensors, or pickles only.
    """
    if not folder.is_dir():
        raise ModelMissing(f"There is no folder {folder}", fix="Give the folder with the model's config.json")
    names = {path.name for path in folder.iterdir()}
    if not names & {"config.json", "modules.json", "adapter_config.json"}:
        raise InvalidInput(f"{folder} is not a model: it has no config.json", fix="Give the folder that has it")
    if not any(Path(name).suffix == ".safetensors" for name in names):
        found = sorted(name for name in names if Path(name).suffix in _PICKLES)
        reason = f" but pickles ({', '.join(found[:3])}), which can run code" if found else ""
        raise InvalidInput(
            f"{folder} has no .safetensors weights{reason}",
            fix="Save it with safetensors: `AutoModel.from_pretrained(DIR).save_pretrained(DIR)` in a place you trust",
        )


def detect_kind(folder: Path) -> Kind:
    """Tell from a model's own files whether it is an LLM, an encoder, a reranker or an adapter.

    Raises:
        InvalidInput: the files do not say.
    """
    if (folder / "adapter_config.json").is_file():
        return "adapter"
    if (folder / "modules.json").is_file():
        modules = (folder / "modules.json").read_text(encoding="utf-8")
        says = read_json(folder / "config_sentence_transformers.json").get("model_type")
        return "reranker" if says == "CrossEncoder" or "cross_encoder" in modules else "encoder"
    architectures = read_json(folder / "config.json").get("architectures") or []
    for ending, kind in _KINDS:
        if any(str(architecture).endswith(ending) for architecture in architectures):
            return kind
    raise InvalidInput(
        f"{folder.name} does not say what kind of model it is (architectures: {architectures or 'none'})",
        fix="Say it: `--kind llm`, `--kind encoder` or `--kind reranker`",
    )


def describe(folder: Path, kind: Kind) -> dict[str, Any]:
    """Return what the rest of Keepstone wants to know of a model, from its own files; unknown values are left out."""
    config = read_json(folder / "config.json")
    config = config | (config.get("text_config") or {})
    about: dict[str, Any] = {"architecture": next(iter(config.get("architectures") or []), None)}
    limit = config.get("max_position_embeddings")
    if kind == "llm":
        about["max_model_len"] = limit
        about["quantization"] = (config.get("quantization_config") or {}).get("quant_method")
    elif kind in ("encoder", "reranker"):
        about["max_tokens"] = read_json(folder / "sentence_bert_config.json").get("max_seq_length") or limit
    if kind == "encoder":
        prompts = read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
        about["dimension"] = config.get("hidden_size")
        about["query_prompt"] = prompts.get("query") or ""
        about["document_prompt"] = prompts.get("document") or prompts.get("passage") or ""
    return {name: value for name, value in about.items() if value is not None}


def count_parameters(folder: Path) -> int:
    """Return the number of weights in a model's safetensors files, read from their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as weights:
            total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty when there is no such file.

    Raises:
        InvalidInput: the file holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}", fix="Fetch the model again") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} is not a JSON object", fix="Fetch the model again")
    return content


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; once it is there, the folder is complete."""
    content = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    with storage_errors(f"installing {manifest.name}"), temporary.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST)


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder, or None when it has none that can be read."""
    try:
        content = read_json(folder / MANIFEST)
        return Manifest(**content) if content else None
    except (InvalidInput, TypeError):
        return None
