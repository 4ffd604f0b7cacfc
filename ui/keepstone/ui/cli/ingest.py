"""`keepstone ingest`: hand in files and folders, and watch them being read."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import KeepstoneError, LimitExceeded, NotFound
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.context import load_settings
from keepstone.ui.cli.files import FileChanged, FixedSize, LocalFile, batches, find_files
from keepstone.ui.cli.output import emit, mode, note, notes, say, table

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_POLL_S = 0.4
_OPEN = ("queued", "running")
_URL = re.compile(r"https?://", re.IGNORECASE)
# A sitemap may list sitemaps, and those pages.
_DEEPEST_SITEMAP = 2
_SIZE_SETTINGS = "app.max_body_mb and ingestion.max_file_mb in keepstone.toml"
# For the form's own lines around the files.
_FORM_BYTES = 2**20


@dataclass(slots=True)
class _Handed:
    """What became of one file."""

    name: str
    outcome: str
    """`new`, `replaced`, `unchanged`, `duplicate` or `failed`; first what was done with it, later what came of it."""
    document_id: str | None = None
    error: str | None = None
    state: str | None = None


@dataclass(slots=True)
class _Work:
    """All that one run handed in."""

    files: list[_Handed] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[_Handed]:
        """The files of which nothing came."""
        return [each for each in self.files if each.outcome == "failed"]


def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="PATH|URL...", help="Files, folders, pages, sitemaps.", show_default=False),
    ],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Into which collection; made if missing.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all is read.")] = True,
) -> None:
    """Hand in files, folders and web pages; archives (zip, tar, tar.gz) are opened, sitemaps followed.

    The same file twice makes nothing new; a changed one replaces its passages.
    """
    urls = [source for source in sources if _URL.match(source)]
    paths = [Path(source) for source in sources if not _URL.match(source)]
    files = find_files(paths) if paths else []
    with connect() as api:
        work = _hand_in(api, files, collection, urls=urls, wait=wait)
    waits_for_app = api.in_process and not wait
    emit(_as_json(collection, work), lambda: _show(collection, work, waited=wait, waits_for_app=waits_for_app))
    if work.failed:
        raise typer.Exit(1)


def ingest_first(api: Api, folder: Path, collection: str) -> None:
    """Hand in a folder, so that a new installation has something to ask, unless there is a collection already."""
    if api.get("/v1/collections")["data"]:
        return
    work = _hand_in(api, find_files([folder]), collection, wait=True)
    for file in work.failed:
        note(f"{file.name}: {file.error}", "red")
    note(f"Read {len(work.files) - len(work.failed)} documents into the collection {collection!r}.", "dim")


def _hand_in(api: Api, files: Sequence[LocalFile], collection: str, *, urls: Sequence[str] = (), wait: bool) -> _Work:
    max_bytes = load_settings().app.max_body_mb * 2**20 - _FORM_BYTES
    path = _collection_path(api, collection)
    work = _Work()
    try:
        with _progress() as progress:
            _upload(api, path, files, max_bytes=max_bytes, work=work, progress=progress)
            _fetch(api, path, urls, work, progress)
            if wait:
                _watch(api, work, progress)
    except KeyboardInterrupt:
        _offer_cancel(api, work)
        raise
    if wait:
        _settle(api, work)
    return work


def _collection_path(api: Api, name: str) -> str:
    """Return the path of the collection, which is made if there is none."""
    path = f"/v1/collections/{quote(name, safe='')}"
    try:
        api.get(path)
    except NotFound:
        made = api.post("/v1/collections", {"name": name})
        note(f"Made the collection {made['name']!r}.", "dim")
    return f"{path}/documents"


def _upload(
    api: Api, path: str, files: Sequence[LocalFile], *, max_bytes: int, work: _Work, progress: _Progress
) -> None:
    progress.begin("Handing in", len(files))
    done = 0
    for batch in batches(files, max_bytes):
        work.files += _upload_batch(api, path, batch, max_bytes, work.jobs)
        done += len(batch)
        progress.show(done, batch[-1].name)


def _upload_batch(api: Api, path: str, batch: Sequence[LocalFile], max_bytes: int, jobs: list[str]) -> list[_Handed]:
    handed: list[_Handed] = []
    with ExitStack() as opened:
        streams = []
        for file in batch:
            if file.size > max_bytes:
                reason = f"{file.size / 2**20:.0f} MiB is too large. Split it, or raise {_SIZE_SETTINGS}"
                handed.append(_Handed(file.name, "failed", error=reason))
                continue
            try:
                streams.append((file.name, opened.enter_context(FixedSize(file))))
            except OSError as error:
                handed.append(_Handed(file.name, "failed", error=f"It cannot be read: {error.strerror}"))
        if not streams:
            return handed
        try:
            answer = api.upload(path, streams)
        except LimitExceeded as error:
            return handed + [_Handed(name, "failed", error=str(error)) for name, _ in streams]
        except FileChanged as error:
            changed = _Handed(error.file.name, "failed", error=str(error))
            others = [file for file in batch if file is not error.file]
            return [changed, *_upload_batch(api, path, others, max_bytes, jobs)]
    if answer["job_id"]:
        jobs.append(answer["job_id"])
    return handed + [_handed(each) for each in answer["files"]]


def _fetch(api: Api, path: str, urls: Sequence[str], work: _Work, progress: _Progress) -> None:
    """Let the app fetch pages one by one, so that each request is short, and then those that sitemaps list."""
    waiting, depth = list(dict.fromkeys(urls)), 0
    seen = set(waiting)
    while waiting and depth <= _DEEPEST_SITEMAP:
        progress.begin("Fetching", len(waiting))
        listed: list[str] = []
        for done, url in enumerate(waiting, start=1):
            try:
                answer = api.post(path, {"url": url})
            except KeepstoneError as error:
                work.files.append(_Handed(url, "failed", error=str(error)))
                continue
            work.files += [_handed(each) for each in answer["files"]]
            if answer["job_id"]:
                work.jobs.append(answer["job_id"])
            listed += answer.get("pages", ())
            if answer.get("left_out"):
                note(f"{url} lists {answer['left_out']} more pages than are taken (fetch.max_pages in keepstone.toml).")
            progress.show(done, url)
        waiting = [url for url in dict.fromkeys(listed) if url not in seen]
        seen.update(waiting)
        depth += 1


def _handed(file: Mapping[str, Any]) -> _Handed:
    if "error" in file:
        error = file["error"]
        return _Handed(file["name"], "failed", error=". ".join(filter(None, (error["message"], error["fix"]))))
    document, outcome = file["document"], file["outcome"]
    if outcome == "queued":
        outcome = "replaced" if document["sha256"] else "new"
    return _Handed(file["name"], outcome, document["id"], state=document["state"])


def _watch(api: Api, work: _Work, progress: _Progress) -> None:
    """Return when all jobs have ended."""
    if not work.jobs:
        return
    total = sum(1 for each in work.files if each.outcome in ("new", "replaced"))
    progress.begin("Reading", total)
    jobs: list[dict[str, Any]] = [{"id": job, "state": _OPEN[0]} for job in work.jobs]
    while True:
        jobs = [api.get(f"/v1/jobs/{job['id']}") if job["state"] in _OPEN else job for job in jobs]
        states: Counter[str] = Counter()
        for job in jobs:
            states.update(job["documents"] or {})
        ended = sum(states[state] for state in ("ready", "failed", "cancelled"))
        waiting = next((f"waiting: {job['waiting']}" for job in jobs if job["waiting"]), None)
        progress.show(ended, waiting or ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
        if all(job["state"] not in _OPEN for job in jobs):
            return
        time.sleep(_POLL_S)


def _settle(api: Api, work: _Work) -> None:
    """Put in for each file what came of it."""
    ended = {each["id"]: each for job in work.jobs for each in api.get(f"/v1/jobs/{job}/documents")["data"]}
    for file in work.files:
        document = ended.get(file.document_id or "")
        if document is None:
            continue
        file.state = document["state"]
        if document["state"] in ("failed", "cancelled"):
            file.outcome, file.error = "failed", document["error"] or f"It was {document['state']}"


def _offer_cancel(api: Api, work: _Work) -> None:
    if not work.jobs:
        return
    goes_on = "It goes on when Keepstone runs: keepstone up." if api.in_process else "It goes on."
    if mode.json or not notes().is_terminal:
        note(f"{goes_on} Watch: keepstone jobs show {work.jobs[-1]}")
        return
    if not typer.confirm("\nStop reading these documents too?", err=True):
        note(f"{goes_on} Watch: keepstone jobs show {work.jobs[-1]}")
        return
    note("Stopping after the documents in hand.")
    for job in work.jobs:
        api.post(f"/v1/jobs/{job}/cancel")
    # In this process the jobs end with it, so they get the time to end well.
    while api.in_process and any(api.get(f"/v1/jobs/{job}")["state"] in _OPEN for job in work.jobs):
        time.sleep(_POLL_S)
    note("Stopped. Read the rest later: keepstone documents retry --collection NAME")


def _as_json(collection: str, work: _Work) -> dict[str, Any]:
    return {
        "collection": collection,
        "counts": dict(Counter(each.outcome for each in work.files)),
        "jobs": work.jobs,
        "files": [
            {
                "name": each.name,
                "outcome": each.outcome,
                "document_id": each.document_id,
                "state": each.state,
                "error": each.error,
            }
            for each in work.files
        ],
    }


def _show(collection: str, work: _Work, *, waited: bool, waits_for_app: bool) -> None:
    if work.failed:
        table(["File", "Why it failed"], [(each.name, each.error) for each in work.failed])
    counts = Counter(each.outcome for each in work.files)
    order = ("new", "replaced", "unchanged", "duplicate", "failed")
    say(f"{collection}: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome]))
    for each in work.files:
        if each.outcome == "duplicate":
            note(f"{each.name} has the same bytes as a document that is there under another name.", "dim")
    if waits_for_app:
        note("They are read when Keepstone runs: keepstone up.")
    elif not waited and work.jobs:
        note(f"They are being read. Watch: keepstone jobs show {work.jobs[-1]}")


class _Progress:
    """A bar with what is going on; silent with --json or without a terminal."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def begin(self, what: str, total: int) -> None:
        """Start a bar of its own for this stage."""
        if self._bar:
            self._task = self._bar.add_task(what, total=total, detail="")

    def show(self, done: int, detail: str) -> None:
        """Show how far the stage is."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, detail=detail)


@contextmanager
def _progress() -> Iterator[_Progress]:
    terminal = notes()
    if mode.json or not terminal.is_terminal:
        yield _Progress(None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False, table_column=Column(no_wrap=True, ratio=1)),
    )
    with Progress(*columns, console=terminal, expand=True) as bar:
        yield _Progress(bar)
