"""Fetching a model from the hub: safetensors, configuration and tokenizer only, checked against the hub's hashes."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import structlog
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from keepstone.platform.errors import Forbidden, ModelMissing, StorageFull, Unavailable
from keepstone.platform.models.files import is_wanted, sha256_file

_PROBE_TIMEOUT_S = 5.0
_REPORT_EVERY_S = 2.0
# Root of the exceptions of whichever HTTP client the hub's library is built on.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_log = structlog.get_logger(__name__)


def hub_answers() -> bool:
    """Tell, within five seconds, whether the hub can be reached; HF_HUB_OFFLINE and HF_ENDPOINT are obeyed."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        return httpx.head(constants.ENDPOINT, timeout=_PROBE_TIMEOUT_S).status_code < 500
    except (httpx.HTTPError, OSError):
        return False


def download(hub_id: str, folder: Path, *, revision: str | None, progress: Callable[[str], None]) -> str:
    """Fetch a model into `folder`, going on from what an earlier try left there.

    Args:
        hub_id: such as `Qwen/Qwen3-8B`.
        folder: where the files go.
        revision: commit or branch; None for the newest.
        progress: called with a line every two seconds.

    Returns:
        The commit that was fetched.

    Raises:
        ModelMissing: the hub has no such model or revision, or none with safetensors.
        Forbidden: its licence has to be accepted first.
        Unavailable: the hub does not answer.
        StorageFull: it does not fit on the disk.
    """
    with _worded_errors(hub_id):
        info = HfApi().model_info(hub_id, revision=revision, files_metadata=True)
    files = [file for file in info.siblings or [] if is_wanted(file.rfilename)]
    if not any(file.rfilename.endswith(".safetensors") for file in files):
        raise ModelMissing(
            f"{hub_id} has no safetensors weights; pickles can run code and are not loaded",
            fix="Choose another model (`keepstone models list --catalog`)",
        )
    commit = info.sha or ""
    total = sum(file.size or 0 for file in files)
    folder.mkdir(parents=True, exist_ok=True)
    with _worded_errors(hub_id), _reporting(hub_id, folder, total, progress):
        snapshot_download(
            hub_id,
            revision=commit,
            local_dir=folder,
            allow_patterns=[file.rfilename for file in files],
        )
    _check(hub_id, folder, files)
    _log.info("models.fetched", model=hub_id, commit=commit, bytes=total)
    return commit


def _check(hub_id: str, folder: Path, files: list[RepoSibling]) -> None:
    """Compare with the hub's list: the library hands back half a folder when the hub goes away in between."""
    for file in files:
        path = folder / file.rfilename
        complete = path.is_file() and (file.size is None or path.stat().st_size == file.size)
        if complete and file.lfs and sha256_file(path) != file.lfs.sha256:
            path.unlink()
            complete = False
        if not complete:
            raise Unavailable(
                f"{file.rfilename} of {hub_id} did not arrive whole", fix="Run the command again: it goes on from there"
            )


@contextmanager
def _reporting(hub_id: str, folder: Path, total: int, progress: Callable[[str], None]) -> Iterator[None]:
    done = threading.Event()

    def report() -> None:
        while not done.wait(_REPORT_EVERY_S):
            with suppress(OSError):  # files are renamed meanwhile
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                progress(f"{hub_id}: {size / 1e9:.2f} of {total / 1e9:.2f} GB")

    thread = threading.Thread(target=report, name="hub-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _worded_errors(hub_id: str) -> Iterator[None]:
    offline = Unavailable(
        f"The model hub does not answer, so {hub_id} cannot be fetched",
        fix="On a machine that reaches it, run `hf download --local-dir DIR "
        f"{hub_id}`, bring DIR here, and run `keepstone models pull DIR`",
    )
    try:
        yield
    except GatedRepoError as error:
        raise Forbidden(
            f"{hub_id} asks to accept its licence first",
            fix=f"Accept it at {constants.ENDPOINT}/{hub_id}, then set HF_TOKEN and try again",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelMissing(
            f"The hub has no model {hub_id!r}, or not that revision",
            fix="Mind the spelling; `keepstone models list --catalog` lists models that are known to work",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise offline from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"No space left on the disk while fetching {hub_id}", fix="Free some space") from error
        raise offline from error
    except _HTTP_ERROR as error:
        raise offline from error
