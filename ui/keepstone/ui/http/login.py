"""Signing in and out in a browser.

`GET /login?token=ksl_...` (the link that `keepstone up` and `keepstone login` print) shows a page whose form sends the
token back by POST, and a script sends it at once. So whatever only looks at the link (a HEAD request, a chat's link
preview, a mail scanner) does not use the token up.
"""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from keepstone.platform import accounts
from keepstone.platform.access import Principal
from keepstone.platform.errors import Unauthenticated
from keepstone.ui.http.auth import Authenticator
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.runtime import Runtime

router = APIRouter(include_in_schema=False)
links = APIRouter(prefix="/v1", tags=["accounts"])

LOGIN_LINK_MINUTES: Final = 30
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
)
_NO_STORE: Final = {"cache-control": "no-store", "content-security-policy": _CSP}
_SCRIPT: Final = 'if (document.querySelector("[data-auto]")) { document.forms[0].submit(); }'
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Keepstone: sign in</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 }}
  main {{ width: min(26rem, 88vw) }}
  h1 {{ font-size: 1.4rem; margin: 0 0 1rem }}
  input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .6rem .75rem; border-radius: .4rem;
    border: 1px solid #8888; margin-top: .5rem }}
  button {{ background: #226a54; color: #fff; border: 0; cursor: pointer }}
  .error {{ color: #b3261e }}
  code {{ background: #8882; padding: .1rem .3rem; border-radius: .25rem; white-space: nowrap }}
</style>
</head>
<body><main>
<h1>Keepstone</h1>
{body}
</main>
<script src="/login.js"></script>
</body>
</html>
"""
_AUTOMATIC_FORM: Final = """<form method="post" action="/login" data-auto>
<input type="hidden" name="token" value="{token}">
<button>Open Keepstone</button>
</form>"""
_EMPTY_FORM: Final = """{error}<form method="post" action="/login">
<label>Login token or API key
<input type="password" name="token" autocomplete="off" required autofocus></label>
<button>Sign in</button>
</form>
<p>On the machine that runs Keepstone, <code>keepstone login</code> prints a link.</p>"""
_LOGOUT_FORM: Final = '<form method="post" action="/logout"><button>Sign out</button></form>'


@router.get("/login")
def login_page(token: str | None = None) -> HTMLResponse:
    """Show the page to sign in; with a token in the link, one that hands it in by itself."""
    body = _AUTOMATIC_FORM.format(token=html.escape(token, quote=True)) if token else _EMPTY_FORM.format(error="")
    return HTMLResponse(_PAGE.format(body=body), headers=_NO_STORE)


@router.head("/login")
def login_head() -> HTMLResponse:
    """Answer those who only look."""
    return HTMLResponse("", headers=_NO_STORE)


@router.get("/login.js")
def login_script() -> Response:
    """Return the script that hands the token in; a file, since the page allows no inline scripts."""
    return Response(_SCRIPT, media_type="text/javascript", headers={"cache-control": "max-age=86400"})


@router.post("/login")
def log_in(request: Request, runtime: TheRuntime, token: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Exchange a login token for a session cookie. An API key becomes the cookie itself, so that it stays revocable."""
    try:
        secret = _start_session(runtime, token.strip())
    except Unauthenticated as error:
        note = f'<p class="error">{html.escape(str(error))}</p>'
        return HTMLResponse(_PAGE.format(body=_EMPTY_FORM.format(error=note)), 401, headers=_NO_STORE)
    response = RedirectResponse("/", status_code=303, headers={"cache-control": "no-store"})
    response.set_cookie(
        _cookie(request),
        secret,
        max_age=runtime.settings.app.session_days * 86400,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@router.get("/logout")
def logout_page() -> HTMLResponse:
    """Ask before signing out, since a link must change nothing."""
    return HTMLResponse(_PAGE.format(body=_LOGOUT_FORM), headers=_NO_STORE)


@router.post("/logout")
def log_out(request: Request, runtime: TheRuntime) -> Response:
    """Make the session worthless and forget the cookie."""
    secret = request.cookies.get(_cookie(request))
    if secret:
        with runtime.database.transaction() as session:
            accounts.revoke_secret(session, secret, "session")
    response = RedirectResponse("/login", status_code=303, headers={"cache-control": "no-store"})
    response.delete_cookie(_cookie(request), httponly=True, samesite="lax")
    return response


@links.post("/login-links", status_code=201)
def create_login_link(principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, str | int]:
    """Make a link that signs its first user in as the caller; it works once. Administrators only."""
    # A session outlives the credential that made it, so a key that may be revoked must not make one.
    principal.needs_admin()
    token = issue_login_token(runtime, principal)
    return {"url": f"{runtime.settings.app_url}/login?token={token}", "minutes": LOGIN_LINK_MINUTES}


def issue_login_token(runtime: Runtime, principal: Principal) -> str:
    """Return a new one-time login token."""
    with runtime.database.transaction() as session:
        lifetime = timedelta(minutes=LOGIN_LINK_MINUTES)
        return accounts.issue_credential(
            session, principal.id, "login", scopes=sorted(principal.scopes), lifetime=lifetime, name="login link"
        ).secret


def _start_session(runtime: Runtime, secret: str) -> str:
    """Return the value of the session cookie."""
    is_key = secret.startswith("ks_")
    # Before anything is written: anybody may send tokens, and one who writes keeps all others from it.
    with runtime.database.reading() as session:
        accounts.resolve(session.connection(), secret, "api_key" if is_key else "login")
    if is_key:
        return secret
    with runtime.database.transaction() as session:
        lifetime = timedelta(days=runtime.settings.app.session_days)
        return accounts.exchange_login(session, secret, lifetime).secret


def _cookie(request: Request) -> str:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator.cookie
