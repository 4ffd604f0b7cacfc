"""Adapters (LoRA) in a running vLLM: checked against their base, loaded and unloaded by name.

check_adapter(adapter, base, max_rank=launch.max_lora_rank)
adapters = Adapters(launch)
adapters.load(adapter)      # from now on it answers requests for `adapter.reference`
adapters.unload(adapter)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from safetensors import SafetensorError, safe_open

from keepstone.platform.errors import EngineUnavailable, InvalidInput
from keepstone.platform.models.files import read_json
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.vllm import Launch
from keepstone.platform.serving.wire import server_message

_WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
# Reading a large adapter from a cold disk takes a while.
_TIMEOUT_S: Final = 120.0
log = structlog.get_logger(__name__)


def check_adapter(adapter: InstalledModel, base: InstalledModel, *, max_rank: int) -> None:
    """Make sure that vLLM can put `adapter` on `base`, from the files of both, before it is asked to.

    Raises:
        InvalidInput: it was made for another model, is wider than `max_rank`, or is a kind that vLLM does not take.
    """
    name = adapter.reference
    config = read_json(adapter.path / "adapter_config.json")
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("modules_to_save"):
        raise InvalidInput(f"{name} is no plain LoRA adapter", fix="Train one with `keepstone train sft`")
    rank = adapter_rank(adapter)
    if rank > max_rank:
        raise InvalidInput(
            f"The adapter {name} has rank {rank}, and the engine takes up to {max_rank}",
            fix=f"Set engine.max_lora_rank to {rank} or more and restart, or train with --set rank={max_rank or 16}",
        )
    anew = f"Train one on this model: `keepstone train sft --model {base.reference}`"
    if adapter.base_id is not None and adapter.base_id != base.id:
        raise InvalidInput(f"The adapter {name} was made for another model than {base.reference}", fix=anew)
    shapes = dict(_shapes(base.path.glob("*.safetensors")))
    for key, shape in _shapes([adapter.path / _WEIGHTS]):
        module, _, matrix = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".lora_")
        side = {"A": 1, "B": 0}.get(matrix)
        if side is None or f"{module}.weight_packed" in shapes:
            continue
        wanted = shapes.get(f"{module}.weight")
        if wanted is None or wanted[side] != shape[side]:
            raise InvalidInput(f"The adapter {name} does not fit {base.reference}: {module} differs", fix=anew)


def adapter_rank(adapter: InstalledModel) -> int:
    """Return the width of an adapter's widest matrices."""
    config = read_json(adapter.path / "adapter_config.json")
    return max([int(config.get("r") or 0), *map(int, (config.get("rank_pattern") or {}).values())])


def _shapes(files: Iterator[Path] | list[Path]) -> Iterator[tuple[str, list[int]]]:
    """Yield name and shape of every tensor, from the headers of the files."""
    for path in files:
        try:
            with safe_open(path, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118
                    yield name, weights.get_slice(name).get_shape()
        except (OSError, SafetensorError) as error:
            raise InvalidInput(f"{path} cannot be read: {error}", fix="Make or pull that model again") from error


class Adapters:
    """The adapters of one engine. All methods may be called from any thread.

    Args:
        launch: of the engine.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._lock = threading.Lock()
        self._wanted: dict[str, Path] = {}

    def want_only(self, adapter: InstalledModel | None) -> None:
        """Have this one and no other loaded when the engine starts."""
        with self._lock:
            self._wanted = {adapter.reference: adapter.path} if adapter else {}

    def load(self, adapter: InstalledModel) -> None:
        """Load it into the running engine, and again whenever that restarts; it answers to its reference.

        Raises:
            InvalidInput: vLLM refuses it.
            EngineUnavailable: the engine does not answer.
        """
        self._load(adapter.reference, adapter.path)
        with self._lock:
            self._wanted[adapter.reference] = adapter.path

    def unload(self, adapter: InstalledModel) -> None:
        """Forget it, and take it out of the engine if that answers."""
        with self._lock:
            self._wanted.pop(adapter.reference, None)
        try:
            self._post("unload_lora_adapter", {"lora_name": adapter.reference})
        except EngineUnavailable as error:  # an engine that starts again starts without it
            log.info("engine.adapter_not_unloaded", adapter=adapter.reference, reason=error.message)

    def load_wanted(self) -> None:
        """Load all that are wanted into an engine that has just started.

        Raises:
            InvalidInput, EngineUnavailable: as for `load`.
        """
        with self._lock:
            wanted = dict(self._wanted)
        for name, path in wanted.items():
            self._load(name, path)

    def _load(self, name: str, path: Path) -> None:
        refusal = self._post("load_lora_adapter", {"lora_name": name, "lora_path": str(path.absolute())})
        # A name holds the hash of its files, so what has it already is the same.
        if refusal and "already been loaded" not in refusal:
            raise InvalidInput(
                f"The engine refused the adapter {name}: {refusal}",
                fix="Go back to the model before it: `keepstone models rollback`",
            )
        log.info("engine.adapter_loaded", adapter=name)

    def _post(self, path: str, body: dict[str, Any]) -> str | None:
        """Return why the engine refuses, None when it does not."""
        headers = {"authorization": f"Bearer {self._launch.api_key}"}
        try:
            with httpx.Client(timeout=_TIMEOUT_S, trust_env=False, headers=headers) as client:
                answer = client.post(f"{self._launch.base_url}/{path}", json=body)
        except httpx.HTTPError as error:
            raise EngineUnavailable("The engine does not answer", fix="Run `keepstone status`") from error
        if answer.status_code == HTTPStatus.OK:
            return None
        return server_message(answer.content) or f"HTTP {answer.status_code}"
