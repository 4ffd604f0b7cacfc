"""The one way to fetch what a URL names, when the URL is not the administrator's own.

    fetcher = Fetcher(settings.fetch)
    page = fetcher.fetch("https://example.org/guide.html")
    page.url, page.content_type, page.data

A server that fetches for people can reach what they cannot: this machine, its neighbours, the cloud's metadata. So a
name is resolved once, every address it has is judged, and the connection goes to an address that was judged; the same
holds for each redirect. One parser reads the URL, for the judgement and for the request. There are no proxies, cookies
or credentials.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import certifi
import httpcore
import httpx

from keepstone.platform.errors import Forbidden, InvalidInput, LimitExceeded, NotFound, Unavailable
from keepstone.platform.settings import FetchSettings

Resolver = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name, as text."""

_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LONGEST_URL = 4000
_MOST_ADDRESSES = 4
_LONGEST_SILENCE_S = 15.0
_COMPRESSED: Final = frozenset({"gzip", "x-gzip", "deflate"})
# Answer with the secrets of a machine at Azure and Oracle, under addresses that count as public.
_METADATA: Final = frozenset({IPv4Address("168.63.129.16"), IPv4Address("192.0.0.192")})
# Networks whose addresses hold an IPv4 address in their last 32 bits (RFC 4291, RFC 6052).
_HOLDING_IPV4: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was found behind a URL."""

    url: str
    """Where it was found, after redirects."""
    content_type: str
    """As the server says, in lower case, without parameters; empty where it says nothing."""
    data: bytes


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name.

    Raises:
        OSError: it has none, or no name server answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """Fetches over HTTP and HTTPS.

    Args:
        settings: caps, and which networks are allowed besides public ones.
        resolver: finds the addresses of a name.
    """

    def __init__(self, settings: FetchSettings, *, resolver: Resolver = resolve) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in settings.allowed_networks]
        self._max_bytes = settings.max_mb * 2**20
        self._timeout_s = settings.timeout_s
        self._resolve = resolver

    def fetch(self, url: str) -> Fetched:
        """Return what a URL names. Blocks.

        Raises:
            InvalidInput: it is no address of a web page.
            Forbidden: it leads into a network that is not allowed.
            NotFound: there is nothing.
            LimitExceeded: it is too large, takes too long, or is redirected too often.
            Unavailable: the server does not answer, or answers with an error.
        """
        deadline = time.monotonic() + self._timeout_s
        target = _parsed(url)
        for _ in range(_MOST_REDIRECTS + 1):
            found = self._get(target, deadline)
            if isinstance(found, Fetched):
                return found
            target = found
        raise LimitExceeded(
            f"{url!r} is redirected more than {_MOST_REDIRECTS} times", fix="Use the page's own address"
        )

    def _get(self, url: httpx.URL, deadline: float) -> Fetched | httpx.URL:
        """Return what is there, or whither the server redirects."""
        backend = _Pinned(self._judged_addresses(url), deadline)
        request = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [
            (b"Host", url.netloc), (b"User-Agent", b"Keepstone"), (b"Accept", b"*/*"),
            (b"Accept-Encoding", b"identity"), (b"Connection", b"close"),
        ]  # fmt: skip
        try:
            with (
                httpcore.ConnectionPool(ssl_context=_tls(), network_backend=backend) as pool,
                pool.stream("GET", request, headers=headers) as response,
            ):
                fields = {name.lower(): value.decode("latin-1") for name, value in reversed(response.headers)}
                if response.status in _REDIRECTS and b"location" in fields:
                    return _parsed(fields[b"location"], base=url)
                _check_status(response.status, url)
                data = self._body(response.iter_stream(), fields.get(b"content-encoding", ""), url)
        except httpcore.TimeoutException as error:
            raise self._too_slow(url) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            raise Unavailable(
                f"{url.host!r} cannot be fetched from ({type(error).__name__})", fix="Open the address in a browser"
            ) from error
        return Fetched(str(url), fields.get(b"content-type", "").partition(";")[0].strip().lower(), data)

    def _judged_addresses(self, url: httpx.URL) -> Sequence[str]:
        """Return the addresses to connect to; a name of which one is not allowed is not to be trusted at all."""
        host, port = url.raw_host.decode("ascii"), url.port or _default_port(url)
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise NotFound(f"There is no host {url.host!r}", fix="Check the address") from error
        if not addresses:
            raise NotFound(f"There is no host {url.host!r}", fix="Check the address")
        for address in addresses:
            if not self._is_allowed(address):
                raise Forbidden(
                    f"{url.host!r} is not in the public internet",
                    fix="An administrator can allow its network: fetch.allowed_networks in keepstone.toml",
                )
        return addresses

    def _is_allowed(self, address: str) -> bool:
        ip = ipaddress.ip_address(address.partition("%")[0])
        held = _held_ipv4(ip)
        if any(each in network for network in self._allowed for each in (ip, held) if each is not None):
            return True
        return _is_public(ip) and (held is None or _is_public(held))

    def _body(self, blocks: Iterable[bytes], encoding: str, url: httpx.URL) -> bytes:
        encoding = encoding.strip().lower()
        if encoding in _COMPRESSED:
            blocks = _inflated(blocks)
        elif encoding not in ("", "identity"):
            raise Unavailable(
                f"{url.host!r} answers in the encoding {encoding[:40]!r}", fix="Download the file yourself"
            )
        parts: list[bytes] = []
        size = 0
        for block in blocks:
            size += len(block)
            if size > self._max_bytes:
                raise LimitExceeded(
                    f"{str(url)!r} is larger than {self._max_bytes / 2**20:.4g} MiB",
                    fix="Download it yourself, or raise fetch.max_mb in keepstone.toml",
                )
            parts.append(block)
        return b"".join(parts)

    def _too_slow(self, url: httpx.URL) -> LimitExceeded:
        return LimitExceeded(
            f"{url.host!r} did not answer within {self._timeout_s:g} seconds",
            fix="Try again later, or raise fetch.timeout_s in keepstone.toml",
        )


class _Pinned(httpcore.NetworkBackend):
    """Connects to the first of some addresses that answers, whatever name is asked for, until one moment."""

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - what was resolved is the address
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - of the deadline
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception | None = None
        for address in self._addresses[:_MOST_ADDRESSES]:
            left = _left(self._deadline, httpcore.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Timed(stream, self._deadline)
        raise failed or httpcore.ConnectError


class _Timed(httpcore.NetworkStream):
    """A connection on which nothing takes longer than until one moment, however slowly the bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, too_late: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late
    return min(left, _LONGEST_SILENCE_S)


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    wrong = f"{url[:200]!r} is no address of a web page"
    try:
        parsed = base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InvalidInput(wrong, fix="Give one such as https://example.org/guide.html") from error
    is_web = parsed.scheme in ("http", "https") and parsed.raw_host and 0 < (parsed.port or 80) < 65536
    if not is_web or len(url) > _LONGEST_URL:
        raise InvalidInput(wrong, fix="Give one such as https://example.org/guide.html")
    if parsed.userinfo:
        raise InvalidInput("The address holds a name or password", fix="Give it without; download the file yourself")
    return parsed


def _default_port(url: httpx.URL) -> int:
    return 443 if url.scheme == "https" else 80


def _tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certifi.where())


def _check_status(status: int, url: httpx.URL) -> None:
    if status in (404, 410):
        raise NotFound(f"There is nothing at {str(url)[:200]!r}", fix="Check the address")
    if status != 200:
        raise Unavailable(f"{url.host!r} answers with the error {status}", fix="Open the address in a browser")


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    return (
        ip.is_global
        and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local)
        and not (isinstance(ip, IPv6Address) and ip.is_site_local)
        and ip not in _METADATA
    )


def _held_ipv4(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for: mapped, translated (NAT64), or tunnelled."""
    if isinstance(ip, IPv4Address):
        return None
    if any(ip in network for network in _HOLDING_IPV4):
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def _inflated(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what compressed blocks unpack to, never much at once."""
    inflater = zlib.decompressobj(wbits=47)  # either header, gzip's or zlib's
    for block in blocks:
        rest = block
        while rest:
            try:
                yield inflater.decompress(rest, 1 << 20)
            except zlib.error as error:
                raise OSError("compressed wrongly") from error
            rest = inflater.unconsumed_tail
