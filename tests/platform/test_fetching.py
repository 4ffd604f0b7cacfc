"""What people give an address of is fetched from the public internet only, unless an administrator allows more."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from keepstone.platform.errors import (
    Forbidden,
    InvalidInput,
    KeepstoneError,
    LimitExceeded,
    NotFound,
    SettingsError,
    Unavailable,
)
from keepstone.platform.fetching import Fetcher
from keepstone.platform.settings import FetchSettings, load_settings
from tests.web_server import Reply, WebServer, web_server

_LOOPBACK = FetchSettings(allowed_networks=("127.0.0.0/8",), max_mb=1, timeout_s=20)
_REPLIES = {
    "/page": Reply(b"<h1>Pump</h1>", {"Content-Type": "Text/HTML; charset=utf-8"}),
    "/bare": Reply(b"x"),
    "/packed": Reply(gzip.compress(b"Pump " * 1000), {"Content-Encoding": "gzip"}),
    "/bomb": Reply(gzip.compress(bytes(50 << 20)), {"Content-Encoding": "gzip"}),
    "/wrong": Reply(b"not gzip", {"Content-Encoding": "gzip"}),
    "/brotli": Reply(b"x", {"Content-Encoding": "br"}),
    "/large": Reply(bytes((1 << 20) + 1)),
    "/hop": Reply(status=302, headers={"Location": "/page"}),
    "/loop": Reply(status=302, headers={"Location": "/loop"}),
    "/inside": Reply(status=302, headers={"Location": "http://inside.example/secret"}),
    "/file": Reply(status=302, headers={"Location": "file:///etc/passwd"}),
    "/named": Reply(status=302, headers={"Location": "http://user:word@example.org/"}),
    "/nowhere": Reply(status=302),
    "/broken": Reply(status=500),
    "/drip": Reply(b"x" * 1000, drip_s=0.2),
}


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with web_server(_REPLIES) as running:
        yield running


def _resolver(**addresses: str | list[str]) -> Fetcher:
    """Return a fetcher for which names have these addresses, and which allows no network."""

    def resolve(host: str, port: int) -> list[str]:
        found = addresses[host.replace(".", "_")]
        return found if isinstance(found, list) else [found]

    return Fetcher(FetchSettings(timeout_s=20), resolver=resolve)


def test_a_page_comes_with_its_type_and_address(server: WebServer) -> None:
    fetcher = Fetcher(_LOOPBACK)
    page = fetcher.fetch(f"{server.root}/page")
    assert (page.url, page.content_type, page.data) == (f"{server.root}/page", "text/html", b"<h1>Pump</h1>")
    assert fetcher.fetch(f"{server.root}/bare").content_type == ""
    assert fetcher.fetch(f"{server.root}/packed").data == b"Pump " * 1000
    assert fetcher.fetch(f"{server.root}/hop").url == f"{server.root}/page"


def test_the_connection_goes_to_the_address_that_was_judged(server: WebServer) -> None:
    """The name says one thing when it is judged and would say another afterwards; nobody asks it twice."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    fetcher = Fetcher(_LOOPBACK, resolver=lambda *_: next(answers))
    assert fetcher.fetch(f"http://rebound.example:{server.port}/page").data == b"<h1>Pump</h1>"
    assert server.asked[-1] == ("/page", f"rebound.example:{server.port}")
    assert next(answers) == ["10.0.0.1"]


def test_each_redirect_is_judged_again(server: WebServer) -> None:
    addresses = {"outside.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}
    fetcher = Fetcher(_LOOPBACK, resolver=lambda host, _: addresses[host])
    with pytest.raises(Forbidden, match=r"inside\.example"):
        fetcher.fetch(f"http://outside.example:{server.port}/inside")
    for path in ("/file", "/named"):
        with pytest.raises(InvalidInput):
            Fetcher(_LOOPBACK).fetch(server.root + path)
    with pytest.raises(LimitExceeded, match="redirected more than 5 times"):
        Fetcher(_LOOPBACK).fetch(f"{server.root}/loop")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.100.100.200", "192.0.0.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "255.255.255.255",
        "240.0.0.1", "168.63.129.16", "192.0.0.192",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(Forbidden, match=r"fetch\.allowed_networks"):
        _resolver(a_example=address).fetch("http://a.example/")


def test_one_address_that_is_not_public_spoils_a_name() -> None:
    with pytest.raises(Forbidden):
        _resolver(a_example=["93.184.215.14", "10.0.0.1"]).fetch("http://a.example/")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "[::ffff:7f00:1]", "localhost"]
)
def test_loopback_is_refused_however_it_is_written(server: WebServer, host: str) -> None:
    before = len(server.asked)
    with pytest.raises((Forbidden, InvalidInput, NotFound)):
        Fetcher(FetchSettings()).fetch(f"http://{host}:{server.port}/page")
    assert len(server.asked) == before


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "//example.org/", "example.org", "", "http://",
        "http:///path", "http://user:word@example.org/", "http://a.example:99999/", "http://exa\nmple.org/",
        "javascript:alert(1)", "data:text/plain,x", "http://[::1", "https://" + "a" * 5000, "http://\u2100.example@x/",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_page_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        _resolver().fetch(url)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/missing", NotFound),
        ("/broken", Unavailable),
        ("/nowhere", Unavailable),
        ("/wrong", Unavailable),
        ("/brotli", Unavailable),
        ("/large", LimitExceeded),
        ("/bomb", LimitExceeded),
    ],
)
def test_what_cannot_be_had_is_told(server: WebServer, path: str, error: type[KeepstoneError]) -> None:
    with pytest.raises(error) as caught:
        Fetcher(_LOOPBACK).fetch(server.root + path)
    assert caught.value.fix


def test_a_server_that_drips_is_left_in_time(server: WebServer) -> None:
    with pytest.raises(LimitExceeded, match=r"0\.5 seconds"):
        Fetcher(FetchSettings(allowed_networks=("127.0.0.1",), timeout_s=0.5)).fetch(f"{server.root}/drip")


def test_names_without_addresses_and_ports_without_servers_are_told() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(NotFound, match="no host"):
        Fetcher(_LOOPBACK, resolver=nobody).fetch("http://a.example/")
    with pytest.raises(NotFound, match="no host"):
        Fetcher(_LOOPBACK, resolver=lambda *_: []).fetch("http://a.example/")
    with pytest.raises(Unavailable):
        Fetcher(_LOOPBACK).fetch("http://127.0.0.1:1/")


def test_the_second_address_is_tried_when_the_first_does_not_answer(server: WebServer) -> None:
    fetcher = Fetcher(_LOOPBACK, resolver=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert fetcher.fetch(f"http://a.example:{server.port}/page").data


def test_networks_are_checked_when_settings_are_read() -> None:
    assert load_settings(fetch={"allowed_networks": ["10.1.0.0/16", "::1"]}).fetch.allowed_networks == (
        "10.1.0.0/16",
        "::1/128",
    )
    with pytest.raises(SettingsError, match="allowed_networks"):
        load_settings(fetch={"allowed_networks": ["intranet"]})
