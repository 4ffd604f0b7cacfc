"""One resolver for every credential, and what protects those that browsers send by themselves."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from fastapi import FastAPI

from keepstone.platform.accounts import ensure_local_admin, issue_credential
from keepstone.platform.database.tables import CredentialRow, PrincipalRow, utc_now
from keepstone.platform.settings import AppSettings
from keepstone.ui.http.app import create_app
from keepstone.ui.http.login import issue_login_token
from keepstone.ui.http.origins import OriginGuard
from keepstone.ui.runtime import Runtime
from tests.ui.served import HOST, client_of, key_of

COOKIE = "keepstone_8080"
PAGE = {"accept": "text/html,application/xhtml+xml"}


def _login_token(runtime: Runtime) -> str:
    with runtime.database.transaction() as session:
        return issue_credential(session, ensure_local_admin(session).id, "login", lifetime=timedelta(minutes=5)).secret


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer KEY"},
        {"authorization": "bearer KEY"},
        {"x-api-key": "KEY"},
        {"authorization": "Bearer KEY", "x-api-key": "KEY"},
    ],
)
async def test_a_key_works_in_either_header(app: FastAPI, admin_key: str, headers: dict[str, str]) -> None:
    async with client_of(app) as client:
        sent = {name: value.replace("KEY", admin_key) for name, value in headers.items()}
        assert (await client.get("/v1/collections", headers=sent)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Basic KEY"},
        {"authorization": "Bearer"},
        {"authorization": "KEY"},
        {"authorization": "Bearer ks_wrong"},
        {"x-api-key": ""},
        {"authorization": "Bearer KEY", "x-api-key": "ks_other"},
        {"cookie": "session=KEY"},
    ],
)
async def test_what_is_not_quite_a_key_is_refused(app: FastAPI, admin_key: str, headers: dict[str, str]) -> None:
    async with client_of(app) as client:
        sent = {name: value.replace("KEY", admin_key) for name, value in headers.items()}
        assert (await client.get("/v1/collections", headers=sent)).status_code == 401


async def test_scopes_hold_in_both_headers(app: FastAPI, runtime: Runtime) -> None:
    """An alternative header is no way around the restrictions of a key."""
    key = key_of(runtime, "admin", ("read",))
    async with client_of(app) as client:
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            assert (await client.post("/v1/collections", json={"name": "x"}, headers=headers)).status_code == 403


async def test_expired_revoked_and_disabled_are_refused_alike(app: FastAPI, runtime: Runtime) -> None:
    answers = []
    for spoil in ("expired", "revoked", "disabled"):
        key = key_of(runtime, f"person-{spoil}")
        with runtime.database.transaction() as session:
            person = session.query(PrincipalRow).filter_by(name=f"person-{spoil}").one()
            credential = session.query(CredentialRow).filter_by(principal_id=person.id).one()
            if spoil == "expired":
                credential.expires_at = utc_now() - timedelta(seconds=1)
            elif spoil == "revoked":
                credential.revoked_at = utc_now()
            else:
                person.disabled = True
        async with client_of(app, key) as client:
            response = await client.get("/v1/collections")
            assert response.status_code == 401
            answers.append(response.json())
    assert answers[0] == answers[1] == answers[2]


async def test_a_login_or_session_secret_is_no_api_key(app: FastAPI, runtime: Runtime) -> None:
    async with client_of(app, _login_token(runtime)) as client:
        assert (await client.get("/v1/collections")).status_code == 401


async def test_looking_at_a_login_link_does_not_use_it_up(app: FastAPI, runtime: Runtime) -> None:
    """HEAD requests and link previews only look; the token goes in by POST, once."""
    token = _login_token(runtime)
    async with client_of(app) as client:
        assert (await client.head(f"/login?token={token}")).status_code == 200
        page = await client.get(f"/login?token={token}")
        assert token in page.text
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "unsafe-inline" not in page.headers["content-security-policy"].split("style-src")[0]
        first = await client.post("/login", data={"token": token})
        assert first.status_code == 303
        assert first.headers["location"] == "/"
        assert COOKIE in client.cookies
        assert (await client.get("/v1/collections")).status_code == 200
    async with client_of(app) as other:
        again = await other.post("/login", data={"token": token})
        assert again.status_code == 401
        assert "keepstone login" in again.text
        assert COOKIE not in other.cookies


async def test_a_wrong_token_waits_for_nobody_who_writes(app: FastAPI, runtime: Runtime) -> None:
    """Nor does it keep anybody waiting: whoever sends such tokens must not stop all others from writing."""
    async with client_of(app) as client:
        with runtime.database.transaction() as session:
            session.add(PrincipalRow(name="being-added"))
            session.flush()
            for wrong in ("ksl_wrong", "ks_wrong", ""):
                assert (await client.post("/login", data={"token": wrong})).status_code == 401


async def test_the_session_cookie_is_kept_from_scripts_and_other_sites(app: FastAPI, runtime: Runtime) -> None:
    async with client_of(app) as client:
        plain = (await client.post("/login", data={"token": _login_token(runtime)})).headers["set-cookie"]
        assert "HttpOnly" in plain
        assert "SameSite=lax" in plain
        assert "Secure" not in plain
        secure = await client.post(f"https://{HOST}/login", data={"token": _login_token(runtime)})
        assert "Secure" in secure.headers["set-cookie"]


async def test_a_token_in_the_page_cannot_break_out_of_it(app: FastAPI) -> None:
    async with client_of(app) as client:
        page = await client.get("/login", params={"token": '"><script>alert(1)</script>'})
        assert "<script>alert" not in page.text


async def test_signing_in_with_a_key_keeps_the_keys_limits(app: FastAPI, runtime: Runtime) -> None:
    """The session ends with the key, and reaches no further than it."""
    key = key_of(runtime, "kim", ("read",))
    async with client_of(app) as client:
        assert (await client.post("/login", data={"token": key})).status_code == 303
        assert (await client.get("/v1/collections")).status_code == 200
        assert (await client.post("/v1/collections", json={"name": "x"})).status_code == 403
        with runtime.database.transaction() as session:
            kim = session.query(PrincipalRow).filter_by(name="kim").one()
            session.query(CredentialRow).filter_by(principal_id=kim.id).update({"revoked_at": utc_now()})
        assert (await client.get("/v1/collections")).status_code == 401


async def test_signing_out_ends_the_session(app: FastAPI, runtime: Runtime) -> None:
    async with client_of(app) as client:
        await client.post("/login", data={"token": _login_token(runtime)})
        secret = client.cookies[COOKIE]
        assert (await client.get("/logout")).status_code == 200
        assert (await client.get("/v1/collections")).status_code == 200
        assert (await client.post("/logout")).status_code == 303
        assert COOKIE not in client.cookies
        stolen = await client.get("/v1/collections", headers={"cookie": f"{COOKIE}={secret}"})
        assert stolen.status_code == 401


async def test_people_are_sent_to_the_login_page_and_programs_are_told(app: FastAPI) -> None:
    async with client_of(app) as client:
        page = await client.get("/", headers=PAGE)
        assert page.status_code == 303
        assert page.headers["location"] == "/login"
        assert (await client.get("/")).status_code == 401
        assert (await client.get("/v1/collections", headers=PAGE)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": f"http://{HOST}"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": f"http://{HOST}"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": f"http://{HOST}.evil.example"}, False),
        ({"origin": "http://127.0.0.1:9999"}, False),
    ],
)
async def test_another_site_cannot_ride_the_session(
    app: FastAPI, runtime: Runtime, headers: dict[str, str], allowed: bool
) -> None:
    async with client_of(app) as client:
        await client.post("/login", data={"token": _login_token(runtime)})
        response = await client.post("/v1/search", json={"query": "x"}, headers=headers)
        assert response.status_code == (200 if allowed else 403)
        # Reading is what the browser's own rules keep from other sites.
        assert (await client.get("/v1/collections", headers=headers)).status_code == 200


async def test_another_site_cannot_sign_somebody_in(app: FastAPI, runtime: Runtime) -> None:
    async with client_of(app) as client:
        token = _login_token(runtime)
        response = await client.post("/login", data={"token": token}, headers={"sec-fetch-site": "cross-site"})
        assert response.status_code == 403


async def test_an_api_key_needs_no_origin(app: FastAPI, admin_key: str) -> None:
    """Nothing sends a key by itself, so no other site can ride it."""
    async with client_of(app, admin_key) as client:
        response = await client.post("/v1/search", json={"query": "x"}, headers={"sec-fetch-site": "cross-site"})
        assert response.status_code == 200


@pytest.mark.parametrize("path", ["/lo%0Agin", "/%0Alogin", "/lo%09gin", "/met%0Drics"])
async def test_a_line_break_makes_no_path_public(app: FastAPI, path: str) -> None:
    """Parsers of URLs drop line breaks and tabs, which the routes still see."""
    async with client_of(app) as client:
        assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("[::1]:8080", True),
        ("192.168.1.5:8080", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[::1", False),
    ],
)
async def test_a_rebound_name_is_refused(app: FastAPI, admin_key: str, host: str, known: bool) -> None:
    async with client_of(app, admin_key) as client:
        response = await client.get("/v1/collections", headers={"host": host})
        assert response.status_code == (200 if known else 400)
        if not known:
            assert "trusted_origins" in response.json()["error"]["fix"]


def test_trusted_origins_make_their_hosts_known() -> None:
    guard = OriginGuard(AppSettings(trusted_origins=("https://Docs.Example/",)))
    assert "docs.example" in guard.known_hosts
    assert "docs.example.evil" not in guard.known_hosts


async def test_without_sign_in_the_local_administrator_acts_but_other_sites_do_not(runtime: Runtime) -> None:
    settings = runtime.settings.model_copy(
        update={"app": runtime.settings.app.model_copy(update={"require_sign_in": False})}
    )
    original, runtime.settings = runtime.settings, settings
    try:
        app = create_app(runtime, web=False)
    finally:
        runtime.settings = original
    async with client_of(app) as client:
        assert (await client.get("/v1/status")).json()["principal"] == "admin"
        # Clients of OpenAI's API must send some key, and people make one up.
        assert (await client.get("/v1/status", headers={"authorization": "Bearer unused"})).status_code == 200
        assert (await client.get("/v1/status", headers={"authorization": "Bearer ks_wrong"})).status_code == 401
        assert (await client.post("/v1/search", json={"query": "x"})).status_code == 200
        crossed = await client.post("/v1/search", json={"query": "x"}, headers={"sec-fetch-site": "cross-site"})
        assert crossed.status_code == 403


def test_login_tokens_carry_the_scopes_of_their_maker(runtime: Runtime) -> None:
    from tests.stack import admin

    token = issue_login_token(runtime, admin(runtime))
    assert token.startswith("ksl_")


async def test_use_is_noted_once_in_a_while(app: FastAPI, runtime: Runtime) -> None:
    key = key_of(runtime, "tom", ("read",))
    async with client_of(app, key) as client:
        await client.get("/v1/collections")
    for thread in threading.enumerate():
        if thread.name == "touch-credential":
            thread.join()
    with runtime.database.reading() as session:
        tom = session.query(PrincipalRow).filter_by(name="tom").one()
        assert session.query(CredentialRow).filter_by(principal_id=tom.id).one().last_used_at is not None
