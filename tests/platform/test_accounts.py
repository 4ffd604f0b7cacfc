"""Accounts: a secret opens what it was made for, as long as it was made for it, and nothing else ever."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstone.platform import accounts
from keepstone.platform.access import Principal
from keepstone.platform.accounts import Kind
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CredentialRow, PrincipalRow, utc_now
from keepstone.platform.errors import Conflict, InvalidInput, NotFound, Unauthenticated

KINDS: tuple[Kind, ...] = get_args(Kind)
HOUR = timedelta(hours=1)


@pytest.fixture
def ann(both_databases: Database) -> str:
    """Return the id of a principal."""
    with both_databases.transaction() as session:
        return accounts.create_principal(session, "ann").id


Issue = Callable[..., accounts.IssuedCredential]


@pytest.fixture
def issue(both_databases: Database, ann: str) -> Issue:
    """Return a function that makes a credential of Ann's."""

    def make(kind: Kind = "api_key", **keywords: object) -> accounts.IssuedCredential:
        with both_databases.transaction() as session:
            return accounts.issue_credential(session, ann, kind, **keywords)  # type: ignore[arg-type]

    return make


def resolve(database: Database, secret: str, *kinds: Kind) -> Principal:
    with database.reading() as session:
        return accounts.resolve(session.connection(), secret, *kinds)


def test_a_secret_stands_for_its_principal(both_databases: Database, ann: str, issue: Issue) -> None:
    """With the scopes it was made with, each once."""
    principal = resolve(both_databases, issue(scopes=["read", "read"]).secret, "api_key")
    assert principal == Principal(ann, "ann", is_admin=False, scopes=frozenset({"read"}))
    assert resolve(both_databases, issue().secret, "api_key").scopes == set(accounts.SCOPES)
    with pytest.raises(InvalidInput, match="'root'"):
        issue(scopes=["root"])


def test_only_the_hash_is_kept(both_databases: Database, issue: Issue) -> None:
    """Whoever reads the database or a backup of it cannot sign in."""
    made = [issue(kind).secret for kind in KINDS]
    with both_databases.reading() as session:
        stored = repr([dict(row._mapping) for row in session.execute(sa.select(CredentialRow.__table__))])
    for secret in made:
        assert secret not in stored
        assert secret.partition("_")[2] not in stored
    assert len(set(made)) == len(made)
    assert all(len(secret.partition("_")[2]) >= 43 for secret in made), "256 bits"


@pytest.mark.parametrize("made", KINDS)
@pytest.mark.parametrize("wanted", KINDS)
def test_a_secret_works_only_as_what_it_is(both_databases: Database, issue: Issue, made: Kind, wanted: Kind) -> None:
    """An API key is no session, a login link no key."""
    secret = issue(made).secret
    if made == wanted:
        assert resolve(both_databases, secret, wanted).name == "ann"
        return
    with pytest.raises(Unauthenticated):
        resolve(both_databases, secret, wanted)
    with pytest.raises(Unauthenticated):
        resolve(both_databases, secret)


def test_expired_revoked_and_disabled_are_refused_alike(both_databases: Database, ann: str, issue: Issue) -> None:
    """Nobody learns which of them it was."""
    expired, revoked, zero, good = issue(lifetime=-HOUR), issue(), issue(lifetime=timedelta(0)), issue(lifetime=HOUR)
    owner = resolve(both_databases, good.secret, "api_key")
    with both_databases.transaction() as session:
        accounts.revoke(session, owner, revoked.id)
        accounts.revoke(session, owner, revoked.id)
    said = set()
    for secret in (expired.secret, revoked.secret, zero.secret, "ks_" + random.token_urlsafe(32), ""):
        with pytest.raises(Unauthenticated) as caught:
            resolve(both_databases, secret, "api_key")
        said.add(str(caught.value))
    with both_databases.transaction() as session:
        session.execute(sa.update(PrincipalRow).where(PrincipalRow.id == ann).values(disabled=True))
    with pytest.raises(Unauthenticated) as caught:
        resolve(both_databases, good.secret, "api_key")
    said.add(str(caught.value))
    assert len(said) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=100) | st.characters(codec="utf-8", categories=None).map(lambda each: each * 50))
def test_no_other_text_opens_anything(database: Database, secret: str) -> None:
    """Whatever a client sends is refused, and nothing breaks."""
    with pytest.raises(Unauthenticated):
        resolve(database, secret, *KINDS)


def test_half_surrogates_are_refused_like_other_nonsense(database: Database) -> None:
    """JSON can carry them."""
    with pytest.raises(Unauthenticated):
        resolve(database, "\ud800", "api_key")


def test_a_login_link_works_once(both_databases: Database, issue: Issue) -> None:
    """It becomes a session with the same scopes, and is worthless then."""
    link = issue("login", scopes=["read"], lifetime=HOUR)
    with both_databases.transaction() as session:
        opened = accounts.exchange_login(session, link.secret, HOUR)
    assert resolve(both_databases, opened.secret, "session").scopes == {"read"}
    assert opened.expires_at is not None
    assert opened.expires_at <= utc_now() + HOUR
    with pytest.raises(Unauthenticated), both_databases.transaction() as session:
        accounts.exchange_login(session, link.secret, HOUR)


def test_a_login_link_works_once_even_at_the_same_time(both_databases: Database, issue: Issue) -> None:
    """Eight browsers open it at once: one gets in."""
    secret = issue("login").secret

    def enter(_number: int) -> bool:
        try:
            with both_databases.transaction() as session:
                accounts.exchange_login(session, secret, HOUR)
        except Unauthenticated:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(enter, range(8))) == [False] * 7 + [True]


@pytest.mark.parametrize("kind", ["api_key", "session"])
def test_other_secrets_are_no_login_links(both_databases: Database, issue: Issue, kind: Kind) -> None:
    """A stolen key cannot be turned into a session."""
    secret = issue(kind).secret
    with pytest.raises(Unauthenticated), both_databases.transaction() as session:
        accounts.exchange_login(session, secret, HOUR)


def test_expired_login_links_are_refused(both_databases: Database, issue: Issue) -> None:
    """A link in an old log is worth nothing."""
    secret = issue("login", lifetime=-HOUR).secret
    with pytest.raises(Unauthenticated), both_databases.transaction() as session:
        accounts.exchange_login(session, secret, HOUR)


def test_foreign_credentials_cannot_be_revoked(both_databases: Database, issue: Issue) -> None:
    """To others they do not exist; administrators see them."""
    made = issue()
    with both_databases.transaction() as session:
        bob_id = accounts.create_principal(session, "bob").id
        bob = Principal(bob_id, "bob", is_admin=False, scopes=frozenset(accounts.SCOPES))
        with pytest.raises(NotFound):
            accounts.revoke(session, bob, made.id)
        with pytest.raises(NotFound):
            accounts.revoke(session, bob, "key_none")
        assert accounts.list_api_keys(session, bob) == []
        accounts.revoke(session, replace(bob, is_admin=True), made.id)
    with pytest.raises(Unauthenticated):
        resolve(both_databases, made.secret, "api_key")


def test_signing_out_ends_the_session_only(both_databases: Database, issue: Issue) -> None:
    """By its secret, and only when it is of that kind."""
    opened, key = issue("session"), issue()
    with both_databases.transaction() as session:
        accounts.revoke_secret(session, key.secret, "session")
        accounts.revoke_secret(session, opened.secret, "session")
    assert resolve(both_databases, key.secret, "api_key").name == "ann"
    with pytest.raises(Unauthenticated):
        resolve(both_databases, opened.secret, "session")


def test_the_list_shows_working_keys_only(both_databases: Database, ann: str, issue: Issue) -> None:
    """No sessions, no revoked ones."""
    first, second = issue(name="first"), issue(name="second")
    issue("session")
    owner = Principal(ann, "ann", is_admin=False, scopes=frozenset())
    with both_databases.transaction() as session:
        accounts.revoke(session, owner, first.id)
        assert [row.name for row in accounts.list_api_keys(session, owner)] == ["second"]
        assert [row.id for row in accounts.list_api_keys(session, owner, everybody=True)] == [second.id]


def test_use_is_noted_now_and_then(both_databases: Database, issue: Issue) -> None:
    """Not at each request, which would make every read a write."""

    def used() -> object:
        with both_databases.reading() as session:
            return session.scalars(sa.select(CredentialRow.last_used_at)).one()

    secret = issue().secret
    assert used() is None
    with both_databases.transaction() as session:
        accounts.touch(session, secret)
    first = used()
    assert first is not None
    with both_databases.transaction() as session:
        accounts.touch(session, secret)
    assert used() == first


def test_names_are_taken_once(both_databases: Database) -> None:
    """The administrator of the installation is made once, too."""
    with both_databases.transaction() as session:
        admin = accounts.ensure_local_admin(session)
        assert admin.is_admin
        assert accounts.ensure_local_admin(session) is admin
        with pytest.raises(Conflict, match="'admin'"):
            accounts.create_principal(session, "admin")
