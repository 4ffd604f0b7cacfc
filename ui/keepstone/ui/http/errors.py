"""Errors as HTTP answers, all in one shape: OpenAI's, with the fix beside the message.

{"error": {"message": "No collection 'handbok'", "type": "not_found_error", "code": "not_found",
           "param": null, "fix": "Did you mean 'handbook'?"}}
"""

from __future__ import annotations

import errno
import http
from collections.abc import Mapping
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from keepstone.platform.errors import KeepstoneError, StorageFull

log = structlog.get_logger(__name__)

_STATUS: Final = {
    "invalid_settings": 500,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "invalid_input": 400,
    "unreadable_document": 400,
    "conflict": 409,
    "limit_exceeded": 413,
    "cancelled": 409,
    "storage_full": 507,
    "unavailable": 503,
    "engine_unavailable": 503,
    "model_missing": 503,
}
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


_SCHEMA: Final = "GET /openapi.json tells which fields there are, and what each may hold"


class BodyTooLarge(HTTPException):
    """The request's body is larger than it may be. An `HTTPException`, since body parsers let only those through."""

    def __init__(self, limit: int, fix: str) -> None:
        super().__init__(413, f"The request's body is larger than {limit / 2**20:g} MiB")
        self.fix = fix


def status_of(error: KeepstoneError) -> int:
    """Return the HTTP status of an error."""
    return _STATUS.get(error.code, 500)


def error_body(
    status: int, message: str, code: str, *, fix: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code, "fix": fix}}


def described(error: KeepstoneError) -> dict[str, Any]:
    """Return a Keepstone error in OpenAI's shape."""
    return error_body(status_of(error), error.message, error.code, fix=error.fix)


def error_response(error: KeepstoneError) -> JSONResponse:
    """Return the answer that tells a client of an error."""
    status = status_of(error)
    headers = {"www-authenticate": 'Bearer realm="keepstone"'} if status == 401 else None
    return JSONResponse(described(error), status, headers)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` leave it in the one shape."""

    @app.exception_handler(KeepstoneError)
    async def _keepstone(request: Request, error: KeepstoneError) -> JSONResponse:
        if status_of(error) >= 500:
            log.warning("http.unavailable", path=request.url.path, code=error.code, reason=error.message)
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        message, param = _worded(error)
        return JSONResponse(error_body(400, message, "invalid_input", fix=_SCHEMA, param=param), 400)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        return http_error_response(request.url.path, error)

    @app.exception_handler(OSError)
    async def _os(request: Request, error: OSError) -> JSONResponse:
        del request
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        return error_response(StorageFull("No space left on the disk", fix="Free some space and try again"))


def http_error_response(path: str, error: HTTPException) -> JSONResponse:
    """Return the answer for an error of the framework: no such path, wrong method, malformed body."""
    phrase = http.HTTPStatus(error.status_code).phrase
    code = "limit_exceeded" if error.status_code == 413 else phrase.lower().replace(" ", "_")
    message, fix = str(error.detail), getattr(error, "fix", None)
    if error.status_code == 404 and message == phrase:
        message, fix = f"No such path: {path}", "GET /openapi.json lists the paths"
    elif error.status_code == 405:
        message = f"{path} does not take this method"
    headers: Mapping[str, str] | None = error.headers
    return JSONResponse(error_body(error.status_code, message, code, fix=fix), error.status_code, headers)


def _worded(error: RequestValidationError) -> tuple[str, str | None]:
    """Return one sentence over all faults, and the first field at fault."""
    faults: list[str] = []
    fields: list[str] = []
    for item in error.errors():
        # The first part tells where the field was: in the body, the query, the path.
        place = ".".join(str(part) for part in item["loc"][1:])
        reason = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "json_invalid":
            place, reason = "", f"The body is not valid JSON: {item.get('ctx', {}).get('error', reason)}"
        faults.append(f"{place}: {reason}" if place else reason)
        fields.append(place)
    return "; ".join(faults[:5]), next(filter(None, fields), None)
