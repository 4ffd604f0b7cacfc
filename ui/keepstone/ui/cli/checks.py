"""The checks of `keepstone doctor`, one function each; a `KeepstoneError` that one raises is its failure."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from keepstone.ui.running import find_app

if TYPE_CHECKING:
    from keepstone.platform.settings import Settings

State = Literal["ok", "warn", "fail"]
Finding = tuple[State, str, str | None]
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    name: str
    state: State
    message: str
    fix: str | None = None


def _python(settings: Settings) -> Finding:
    del settings
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.maxsize < 2**32:
        return "fail", f"{version}, 32 bits", "Use a Python of 64 bits: torch and vLLM need it"
    return "ok", version, None


def _machine(settings: Settings) -> Finding:
    from keepstone.platform.machine import probe

    machine = probe(settings.home)
    if machine.memory_gib < 4:
        return "warn", machine.summary(), "The starter models want 4 GiB of memory; set engine.kv_cache_gib low"
    return "ok", machine.summary(), None


def _disk(settings: Settings) -> Finding:
    folder = next(each for each in (settings.home, *settings.home.absolute().parents) if each.exists())
    free = shutil.disk_usage(folder).free / _GIB
    fix = f"Free some space, or set KEEPSTONE_HOME to a folder on a larger disk than that of {folder}"
    if free < 1:
        return "fail", f"{free:.1f} GiB free", fix
    return ("ok" if free >= 5 else "warn"), f"{free:.1f} GiB free", fix


def _home(settings: Settings) -> Finding:
    fix = "Set KEEPSTONE_HOME to a folder that you may write to"
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=settings.home, prefix=".doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return "fail", f"{settings.home}: {error.strerror}", fix
    if settings.home.stat().st_mode & 0o077:
        return "warn", f"{settings.home} can be read by others", f"chmod 700 {settings.home}"
    return "ok", str(settings.home), None


def _compiler(settings: Settings) -> Finding:
    path = shutil.which("g++")
    if path:
        return "ok", path, None
    wanted = settings.engine.mode == "managed" and settings.engine.compile
    fix = "Run `apt-get install g++`" + (", or set engine.compile to false" if wanted else "")
    return ("warn" if wanted else "ok"), "there is no g++", fix


def _app_port(settings: Settings) -> Finding:
    app = find_app(settings.home)
    if app is not None:
        return "ok", f"Keepstone answers at {app.url} (process {app.pid})", None
    return _port(settings.app.host, settings.app.port, "app.port")


def _engine_port(settings: Settings) -> Finding:
    if settings.engine.mode != "managed" or find_app(settings.home) is not None:
        return "ok", "not looked at", None
    return _port("127.0.0.1", settings.engine.port, "engine.port")


def _port(host: str, port: int, setting: str) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            said = "is in use by another program" if error.errno == errno.EADDRINUSE else str(error.strerror)
            return "fail", f"port {port} {said}", f"Set {setting} in keepstone.toml to a free port"
    return "ok", f"{port} is free", None


def _database(settings: Settings) -> Finding:
    from keepstone.platform.database import migrate
    from keepstone.ui.cli.database import opened

    with opened() as database:
        with database.reading():
            pass
        present, head = migrate.current(database.engine), migrate.head()
        kind = f"SQLite, {settings.home / 'keepstone.db'}" if database.is_sqlite else "PostgreSQL"
    if present is None:
        return "warn", f"{kind}: empty", "`keepstone up` makes the tables"
    if present != head:
        return "fail", f"{kind}: at revision {present}, this version wants {head}", "Run `keepstone db upgrade`"
    return "ok", f"{kind}: at revision {present}", None


def _files(settings: Settings) -> Finding:
    from keepstone.platform.blobs import BlobStore
    from keepstone.platform.database import migrate
    from keepstone.retrieval import originals
    from keepstone.ui.cli.database import opened

    with opened() as database, database.worded_errors():
        if migrate.current(database.engine) != migrate.head():
            return "ok", "not looked at", None
        found = originals.audit(database, BlobStore(settings.blob_url))
    if found.missing:
        fix = "Upload them again, or put the files back from a backup"
        return "fail", f"the original is not stored for {_some(found.missing)}", fix
    if found.strays:
        fix = "Delete them from the store, unless another installation or a newer backup has documents of them"
        return "warn", f"no document is known for the stored {_some(found.strays)}", fix
    return "ok", "every document has its original", None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _engine(settings: Settings) -> Finding:
    from keepstone.platform.serving.install import installed_engine

    if settings.engine.mode == "off":
        return "warn", "engine.mode is 'off': search works, answers do not", "Set engine.mode to 'managed'"
    if settings.engine.mode == "external":
        return _external(settings)
    if settings.engine.python is not None:
        there = settings.engine.python.exists()
        return ("ok" if there else "fail"), f"engine.python is {settings.engine.python}", "Mend engine.python"
    installed = installed_engine(settings.home)
    if installed is None:
        return "fail", "vLLM is not installed", "Run `keepstone engine install`, or `keepstone up`"
    return "ok", f"vLLM {installed.version} ({installed.flavour})", None


def _external(settings: Settings) -> Finding:
    import httpx

    url = f"{str(settings.engine.url).rstrip('/')}/models"
    key = settings.engine.api_key
    headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        status = httpx.get(url, headers=headers, timeout=10, trust_env=False).status_code
    except httpx.HTTPError as error:
        return "fail", f"{url} does not answer ({type(error).__name__})", "Start that server, or mend engine.url"
    if status != httpx.codes.OK:
        return "fail", f"{url} answers with HTTP {status}", "Check engine.url and engine.api_key"
    return "ok", f"{settings.engine.url} answers", None


def _models(settings: Settings) -> Finding:
    from keepstone.ui.cli.models import opened_registry

    names = settings.needed_models
    with opened_registry() as registry:
        models = [registry.get(name) for name in names]
        faults = [f"{model.name}: {fault}" for model in models for fault in registry.verify(model)]
    if faults:
        return "fail", "; ".join(faults[:5]), "Install them again: `keepstone models pull NAME`"
    return "ok", ", ".join(f"{model.name} ({model.version})" for model in models), None


def _encoder(settings: Settings) -> Finding:
    from keepstone.retrieval.encoders import configured_encoder
    from keepstone.ui.cli.models import opened_registry

    with opened_registry() as registry:
        encoder = configured_encoder(registry, settings.encoder)
    length = len(encoder.encode_query("Does it work?"))
    return "ok", f"{settings.encoder.model} makes vectors of {length} numbers", None


CHECKS: Final[dict[str, Callable[[Settings], Finding]]] = {
    "python": _python,
    "machine": _machine,
    "disk": _disk,
    "home": _home,
    "compiler": _compiler,
    "app port": _app_port,
    "engine port": _engine_port,
    "database": _database,
    "files": _files,
    "engine": _engine,
    "models": _models,
    "encoder": _encoder,
}
