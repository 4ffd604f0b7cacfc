"""The connection to a Milvus server, with errors that people can act on.

server = MilvusServer("http://127.0.0.1:19530", token="user:password")
server.call("search", "some_collection", data=[vector], limit=10)

It is made at the first call, and made again by itself when the server was away. pymilvus, an extra, is loaded with it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keepstone.platform.errors import SettingsError, Unavailable

_OLDEST = (2, 5)  # the first with BM25
_COLLECTION_NOT_FOUND = 100
_COLLECTION_NOT_LOADED = 101
_CONNECT_FAILED = 2
_RETRY_S = 0.1
# gRPC waits up to two minutes before it tries an address again that did not answer.
_CHANNEL_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1000}
_REFUSED = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_AWAY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})


class CollectionMissing(Unavailable):
    """The server has no such collection."""


class _NotLoaded(Unavailable):
    """The server has the collection on its disk only."""


class _Away(Unavailable):
    """The server does not answer."""


class MilvusServer:
    """A Milvus server; may be used by any number of threads.

    Args:
        url: where it listens, `http://host:port` or `https://host:port`; a path names one of its databases.
        token: `user:password`, or an API key; None for a server without accounts.
        timeout_s: how long a call may take.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        self._url, self._token, self._timeout_s = url, token, timeout_s
        self._connecting = threading.Lock()
        self._client: Any = None

    def call(self, method: str, *collection: str, **arguments: Any) -> Any:
        """Call a method of pymilvus' `MilvusClient`, of a collection where it is about one.

        Raises:
            CollectionMissing: there is no such collection.
            SettingsError: pymilvus is not installed, the server refuses the token, or is too old.
            Unavailable: the server does not answer, or cannot do it at the moment.
        """
        try:
            return self._attempt(method, *collection, **arguments)
        except _NotLoaded:
            # Some servers, such as milvus-lite, begin with nothing in memory.
            self._attempt("load_collection", *collection)
        except _Away:
            # Or only the connection is lost, which was idle. All that is asked for may be done twice.
            time.sleep(_RETRY_S)
        return self._attempt(method, *collection, **arguments)

    def pages(self, collection: str, *, size: int, **arguments: Any) -> Iterator[list[dict[str, Any]]]:
        """Read all rows of a collection that a filter lets through, so many at a time.

        Raises:
            KeepstoneError: as `call` does.
        """
        iterator = self.call("query_iterator", collection, batch_size=size, **arguments)
        try:
            while True:
                with self._explained():
                    rows = list(iterator.next())
                if not rows:
                    return
                yield rows
        finally:
            with self._explained():
                iterator.close()

    def _attempt(self, method: str, *collection: str, **arguments: Any) -> Any:
        client = self._connected()
        with self._explained():
            return getattr(client, method)(*collection, timeout=self._timeout_s, **arguments)

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise SettingsError("The Milvus client is missing", fix="`pip install 'keepstone[milvus]'`") from error
        # It logs every failure with its trace, and raises it as well.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        with self._explained():
            client = MilvusClient(
                self._url, token=self._token or "", timeout=self._timeout_s, grpc_options=_CHANNEL_OPTIONS
            )
            version = str(client.get_server_version(timeout=self._timeout_s))
        found = re.match(r"v?(\d+)\.(\d+)", version)
        if found and (int(found[1]), int(found[2])) < _OLDEST:
            raise SettingsError(
                f"Milvus at {self._url} is version {version}, which cannot search by words",
                fix="Upgrade it to 2.5 or newer",
            )
        return client

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn pymilvus' errors into ours."""
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise self._explanation(error, error.code, error.message) from error
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            raise self._explanation(error, None, str(error)) from error

    def _explanation(self, error: BaseException, code: object, message: str) -> SettingsError | Unavailable:
        if code == _COLLECTION_NOT_FOUND:
            return CollectionMissing(f"Milvus has lost an index: {message}", fix="It is built anew by itself")
        if code == _COLLECTION_NOT_LOADED:
            return _NotLoaded(message)
        status = _grpc_status(error)
        if status in _REFUSED:
            return SettingsError(
                f"Milvus at {self._url} refuses the token",
                fix="Set `indexes.milvus_token` to `user:password` of an account there, or to its API key",
            )
        if status in _AWAY or code == _CONNECT_FAILED:
            return _Away(
                f"Milvus at {self._url} does not answer",
                fix="Start it, or correct `indexes.milvus_url`; searches work again as soon as it is back",
            )
        return Unavailable(f"Milvus cannot do this at the moment: {message}", fix="Look into the log of its server")


def _grpc_status(error: BaseException) -> str | None:
    """Return the name of the gRPC status behind an error, which pymilvus often hides in the cause."""
    import grpc

    for each in _causes(error):
        if isinstance(each, grpc.FutureTimeoutError):
            return "DEADLINE_EXCEEDED"
        if isinstance(each, grpc.Call):
            return str(each.code().name)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and what caused it; pymilvus makes some their own cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ in (None, error) else error.__cause__
