"""Which hosts and origins a request may come by: the defence against DNS rebinding and cross-site requests."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from keepstone.platform.errors import Forbidden, InvalidInput
from keepstone.platform.settings import AppSettings

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


class OriginGuard:
    """Checks the Host header of every request, and the origin of those that change something.

    A web page that rebinds its own name to our address still sends that name as the Host. Names of ours are
    `localhost`, `app.host`, this machine's name and the hosts of `app.trusted_origins`; a bare IP address cannot be
    rebound.
    """

    def __init__(self, app: AppSettings) -> None:
        self._trusted = frozenset(origin.rstrip("/").lower() for origin in app.trusted_origins)
        hosts = {urlsplit(origin).hostname or "" for origin in self._trusted}
        self.known_hosts = frozenset({*_LOOPBACK_NAMES, app.host.lower(), socket.gethostname().lower(), *hosts} - {""})

    def check_host(self, connection: HTTPConnection) -> None:
        """Raise `InvalidInput` unless the Host header names this server."""
        host = _hostname(connection.headers.get("host", ""))
        if host is None or not (host in self.known_hosts or host.endswith(".localhost") or is_ip(host)):
            raise InvalidInput(
                f"This server is not known as {(host or '')[:80]!r}",
                fix="Add `https://THAT-NAME` to app.trusted_origins in keepstone.toml",
            )

    def check_origin(self, connection: HTTPConnection) -> None:
        """Raise `Forbidden` when another site made a browser send a request that changes something.

        Browsers state where such a request comes from in Sec-Fetch-Site and Origin; a request with neither is not from
        a browser (the method of Go's http.CrossOriginProtection).
        """
        if connection.scope.get("method") in _SAFE_METHODS:
            return
        origin = connection.headers.get("origin")
        if origin is not None and origin.lower() in self._trusted:
            return
        site = connection.headers.get("sec-fetch-site")
        if site is not None:
            fine = site in ("same-origin", "none")
        else:
            fine = origin is None or urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()
        if not fine:
            raise Forbidden(
                f"A page of {(origin or 'another site')[:80]} may not do this with your session",
                fix="Use an API key, or add that origin to app.trusted_origins in keepstone.toml",
            )


def is_local_client(connection: HTTPConnection) -> bool:
    """Tell whether the request was made on this machine, without a proxy in between."""
    if any(name in connection.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip")):
        return False
    host = _hostname(connection.headers.get("host", ""))
    named_local = host is not None and (host in _LOOPBACK_NAMES or _is_loopback(host))
    return named_local and connection.client is not None and _is_loopback(connection.client.host)


def is_ip(host: str) -> bool:
    """Tell whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def normal_origins(origins: Iterable[str]) -> list[str]:
    """Return origins as browsers send them: without a path or a slash at the end."""
    return [origin.rstrip("/") for origin in origins]


def _is_loopback(host: str) -> bool:
    return is_ip(host) and ipaddress.ip_address(host).is_loopback


def _hostname(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
