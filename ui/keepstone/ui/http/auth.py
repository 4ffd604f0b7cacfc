"""Who asks: the one place where a request's credential becomes a principal.

Clients send an API key as `Authorization: Bearer ks_...` or as `x-api-key`; browsers send the session cookie that the
login page gave them. All of them end in `accounts.resolve`, so a key's scopes, expiry and revocation hold wherever it
is presented.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection

from keepstone.platform import accounts
from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.errors import KeepstoneError, Unauthenticated
from keepstone.ui.http.lookups import Lookups

log = structlog.get_logger(__name__)

_TOUCH_EVERY_S = 300.0
_FIX = (
    "Send an API key as `Authorization: Bearer ks_...` (make one: `keepstone keys create`), "
    "or open the link that `keepstone login` prints"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and how it is known."""

    principal: Principal
    ambient: bool
    """True when the browser sent the credential by itself (a cookie), or none was needed: other sites could ride it."""


class Authenticator:
    """Turns the credential of a request into a principal.

    Args:
        database: where credentials are.
        lookups: asks it for them.
        cookie: name of the session cookie.
        local_admin: whom requests without a credential stand for; None: sign-in is required.
    """

    def __init__(self, database: Database, lookups: Lookups, *, cookie: str, local_admin: Principal | None) -> None:
        self.cookie = cookie
        self._lookups = lookups
        self._database = database
        self._local_admin = local_admin
        self._touched: dict[str, float] = {}

    @property
    def requires_sign_in(self) -> bool:
        """Whether requests without a credential are refused."""
        return self._local_admin is None

    async def identify(self, connection: HTTPConnection) -> Identity:
        """Return who asks.

        Raises:
            Unauthenticated: no credential, or one that does not work.
        """
        key = presented_key(connection)
        # Without sign-in, clients that must send some key send a made-up one.
        if key is not None and (self._local_admin is None or key.startswith("ks_")):
            return Identity(await self._resolve(key, "api_key"), ambient=False)
        if self._local_admin is not None:
            return Identity(self._local_admin, ambient=True)
        session = connection.cookies.get(self.cookie)
        if session is None:
            raise Unauthenticated("This needs a credential, and the request has none", fix=_FIX)
        # The login page makes a key that was typed there the cookie itself.
        kind: accounts.Kind = "api_key" if session.startswith("ks_") else "session"
        return Identity(await self._resolve(session, kind), ambient=True)

    async def _resolve(self, secret: str, kind: accounts.Kind) -> Principal:
        principal = await self._lookups.ask(lambda connection: accounts.resolve(connection, secret, kind))
        if time.monotonic() - self._touched.get(secret, -_TOUCH_EVERY_S) >= _TOUCH_EVERY_S:
            if len(self._touched) > 10_000:
                self._touched.clear()
            self._touched[secret] = time.monotonic()
            # A write may have to wait for another writer; the request must not.
            threading.Thread(target=self._touch, args=(secret,), name="touch-credential", daemon=True).start()
        return principal

    def _touch(self, secret: str) -> None:
        try:
            with self._database.transaction() as session:
                accounts.touch(session, secret)
        except (KeepstoneError, SQLAlchemyError) as error:
            log.info("credential.not_touched", reason=type(error).__name__)


def presented_key(connection: HTTPConnection) -> str | None:
    """Return the API key in the headers, or None.

    Raises:
        Unauthenticated: an Authorization header of another kind than Bearer, or two different keys.
    """
    header = connection.headers.get("authorization")
    bearer = None
    if header is not None:
        scheme, _, bearer = header.partition(" ")
        bearer = bearer.strip()
        if scheme.lower() != "bearer" or not bearer:
            raise Unauthenticated("The Authorization header is not `Bearer KEY`", fix=_FIX)
    key = connection.headers.get("x-api-key")
    if bearer is not None and key is not None and bearer != key:
        raise Unauthenticated("Authorization and x-api-key hold different keys", fix="Send one of them")
    return bearer if bearer is not None else key
