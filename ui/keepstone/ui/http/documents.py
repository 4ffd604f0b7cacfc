"""Documents: hand in, list, read, delete, try again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, BinaryIO, Final
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database.tables import DocumentState
from keepstone.platform.errors import Conflict, InvalidInput, KeepstoneError
from keepstone.retrieval.adding import AddedDocument
from keepstone.retrieval.documents import DocumentInfo
from keepstone.retrieval.library import DocumentText
from keepstone.retrieval.web_sources import Sitemap, read_url
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.errors import described
from keepstone.ui.http.listings import Listing
from keepstone.ui.runtime import Runtime

router = APIRouter(prefix="/v1", tags=["documents"])

_MAX_FILES: Final = 1000
_HOW_TO_SEND: Final = (
    f"Send the files as the field `files` of multipart/form-data, at most {_MAX_FILES} at once,"
    ' or the address of one as JSON: {"url": "https://..."}'
)
_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["files"],
                }
            },
            "application/json": {
                "schema": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}
            },
        },
    }
}
_ADDED: Final = TypeAdapter(AddedDocument)


class _Address(BaseModel):
    """A file that is to be fetched."""

    model_config = ConfigDict(extra="forbid")
    url: str


_ADDRESS: Final = TypeAdapter(_Address)


@router.get("/collections/{name}/documents")
def list_documents(  # noqa: PLR0917 - FastAPI passes them by name
    name: str,
    principal: CurrentPrincipal,
    runtime: TheRuntime,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    containing: Annotated[str, Query(max_length=255)] = "",
    state: Annotated[list[DocumentState] | None, Query()] = None,
) -> Listing[DocumentInfo]:
    """List the documents of a collection by name, a page at a time; of certain states and names, if asked for."""
    documents = runtime.library.documents(
        principal, name, after=after, limit=limit, containing=containing, states=state or ()
    )
    return Listing(data=documents, next=documents[-1].name if len(documents) == limit else None)


@router.post("/collections/{name}/documents", openapi_extra=_FORM, response_model=None)
async def add_documents(name: str, request: Request, principal: CurrentPrincipal, runtime: TheRuntime) -> Response:
    """Hand in files, as the form field `files`, or one by its address, as JSON with `url`.

    The form's file names may be paths below a folder. A page gets its address for a name; of a sitemap the answer lists
    the `pages`, to be handed in one by one, and how many more were `left_out`.

    Of an archive (zip, tar, tar.gz) each file in it is handed in, as `archive.zip/path/in/it`. The answer tells for
    each file its `outcome` (`queued`, `unchanged`, `duplicate`) and document, or its `error`, and the `job_id` that
    reads what was queued; the status is 202 when there is one.
    """
    # Before the body is read: who may not write here need not send 200 MiB to learn it.
    await run_in_threadpool(_check_writable, runtime, principal, name)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        url = _url_in(await request.body())
        found = await run_in_threadpool(read_url, runtime.fetcher, url, max_pages=runtime.settings.fetch.max_pages)
        if isinstance(found, Sitemap):
            return JSONResponse({"files": [], "job_id": None, "pages": found.pages, "left_out": found.left_out})
        results = await run_in_threadpool(_add, runtime, principal, name, [(found.name, found.stream)])
        return await _queued(runtime, principal, name, results)
    async with _form(request) as form:
        files = [each for each in form.getlist("files") if isinstance(each, UploadFile)]
        if not files:
            raise InvalidInput("The form has no files", fix=_HOW_TO_SEND)
        named = [(file.filename or "", file.file) for file in files]
        results = await run_in_threadpool(_add, runtime, principal, name, named)
    return await _queued(runtime, principal, name, results)


async def _queued(runtime: Runtime, principal: Principal, name: str, results: list[dict[str, Any]]) -> Response:
    queued = [each["document"]["id"] for each in results if each.get("outcome") == "queued"]
    job_id = await run_in_threadpool(runtime.ingestion.submit, principal, name, queued) if queued else None
    return JSONResponse({"files": results, "job_id": job_id}, 202 if job_id else 200)


@router.post("/collections/{name}/retry", status_code=202)
def retry_documents(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Queue all failed and cancelled documents of a collection again."""
    return _requeue(runtime, principal, name, None)


@router.get("/documents/{document_id}")
def get_document(document_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> DocumentInfo:
    """Return one document, without its text."""
    return runtime.library.document(principal, document_id)


@router.get("/documents/{document_id}/text")
def get_text(document_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> DocumentText:
    """Return a document's text as Markdown, with the spans of its pages and sections."""
    return runtime.library.document_text(principal, document_id)


@router.get("/documents/{document_id}/passage")
def get_passage(  # noqa: PLR0917 - FastAPI passes them by name
    document_id: str,
    principal: CurrentPrincipal,
    runtime: TheRuntime,
    start: Annotated[int, Query(ge=0)],
    end: Annotated[int, Query(ge=0)],
    context: Annotated[int, Query(ge=0, le=20_000)] = 500,
) -> dict[str, Any]:
    """Return the characters `start` to `end` of a document's text, and up to `context` characters on either side.

    `boxes` tell where they stand in a PDF, line by line: the `page`, counted from 1, and `left`, `top`, `right` and
    `bottom` as parts of its width and height.
    """
    found = runtime.library.document_text(principal, document_id)
    if not start < end <= len(found.text):
        raise InvalidInput(
            f"{start} to {end} is no span of {found.document.name!r}",
            fix=f"Its text has {len(found.text)} characters; it may have changed since",
        )
    return {
        "document_id": found.document.id,
        "document": found.document.name,
        "sha256": found.document.sha256,
        "start": start,
        "end": end,
        "before": found.text[max(start - context, 0) : start],
        "text": found.text[start:end],
        "after": found.text[end : end + context],
        "page": next((page.number for page in found.pages if page.start <= start < page.end), None),
        "boxes": [asdict(box) for box in runtime.library.boxes(principal, document_id, start, end)],
        "headings": [heading.title for heading in found.headings if heading.start <= start < heading.end],
    }


@router.get("/documents/{document_id}/original", response_class=Response)
def get_original(document_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> StreamingResponse:
    """Return the bytes that were handed in, always as a download: a browser must not run what is in them."""
    info, stream = runtime.library.document_bytes(principal, document_id)
    name = quote(info.name.rpartition("/")[2], safe="")
    headers = {
        "content-disposition": f"attachment; filename*=utf-8''{name}",
        "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    }
    return StreamingResponse(_pieces(stream), media_type="application/octet-stream", headers=headers)


@router.delete("/documents/{document_id}")
def delete_document(document_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> DocumentInfo:
    """Delete a document from its collection and from all future answers, and return what it was."""
    return runtime.library.delete_document(principal, document_id)


@router.post("/documents/{document_id}/retry", status_code=202)
def retry_document(document_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Queue a failed or cancelled document again."""
    info = runtime.library.document(principal, document_id)
    outcome = _requeue(runtime, principal, info.collection_id, [document_id])
    if not outcome["documents"]:
        raise Conflict(f"{info.name!r} is {info.state}", fix="Only failed and cancelled documents can be retried")
    return outcome


def _requeue(runtime: Runtime, principal: Principal, collection: str, ids: list[str] | None) -> dict[str, Any]:
    queued = runtime.library.requeue(principal, collection, ids)
    job_id = runtime.ingestion.submit(principal, collection, queued) if queued else None
    return {"documents": queued, "job_id": job_id}


def _check_writable(runtime: Runtime, principal: Principal, name: str) -> None:
    with runtime.database.reading() as session:
        find_collection(session, principal, name, "write")


@asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """Return the request's form; one that cannot be read is told with how to send it."""
    try:
        form = await request.form(max_files=_MAX_FILES, max_fields=16)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise InvalidInput(f"The form cannot be read: {error.detail.rstrip('.')}", fix=_HOW_TO_SEND) from error
    try:
        yield form
    finally:
        await form.close()


def _url_in(body: bytes) -> str:
    try:
        return _ADDRESS.validate_json(body).url
    except ValidationError as error:
        raise InvalidInput("The JSON names no address", fix=_HOW_TO_SEND) from error


def _add(
    runtime: Runtime, principal: Principal, collection: str, named: Sequence[tuple[str, BinaryIO]]
) -> list[dict[str, Any]]:
    """Store files; the error of one is that file's alone."""
    added = runtime.library.hand_in(principal, collection, named)
    return [{"name": name} | _outcome(each) for name, each in added]


def _outcome(added: AddedDocument | KeepstoneError) -> dict[str, Any]:
    if isinstance(added, KeepstoneError):
        return described(added)
    outcome: dict[str, Any] = _ADDED.dump_python(added, mode="json")
    return outcome


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(256 * 1024):
            yield piece
