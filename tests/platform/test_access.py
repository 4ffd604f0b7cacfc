"""Access: whoever is not allowed gets nothing, not even the news that the object exists; on every kind of object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from keepstone.platform.access import (
    ROLES,
    Action,
    Principal,
    authorize,
    find_collection,
    readable_collections,
    readable_scope,
)
from keepstone.platform.accounts import SCOPES, create_principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import AnswerRow, CollectionRow, ConversationRow, GrantRow, JobRow
from keepstone.platform.errors import Forbidden, NotFound
from keepstone.platform.jobs.records import find_job, readable_jobs

ACTIONS: tuple[Action, ...] = get_args(Action)
ALL = frozenset(SCOPES)


@dataclass(frozen=True)
class House:
    """Everybody and everything: Ann owns all of it, the others have what their names say."""

    session: Session
    people: dict[str, Principal]
    things: dict[str, Any]


@pytest.fixture
def house(database: Database) -> Iterator[House]:
    """Return a database with one object of each kind and one principal of each kind."""
    with database.transaction() as session:
        rows = {
            name: create_principal(session, name, is_admin=name == "admin")
            for name in ("ann", "reader", "writer", "coowner", "stranger", "bogus", "admin")
        }
        collection = CollectionRow(name="handbook", owner_id=rows["ann"].id, encoder="e")
        session.add(collection)
        session.flush()
        for name, role in (("reader", "reader"), ("writer", "writer"), ("coowner", "owner"), ("bogus", "superuser")):
            session.add(GrantRow(collection_id=collection.id, principal_id=rows[name].id, role=role))
        mine = {"principal_id": rows["ann"].id, "collection_id": collection.id}
        things = {
            "collection": collection,
            "conversation": ConversationRow(**mine),
            "answer": AnswerRow(
                **mine, question="q", standalone_question="q", content="a", outcome="answered", record={}
            ),
            "job": JobRow(**mine, kind="ingest", args={}),
            "own_job": JobRow(principal_id=rows["ann"].id, kind="train", args={}),
            "nobodys_job": JobRow(principal_id=None, kind="train", args={}),
        }
        session.add_all(things.values())
        session.flush()
        people = {name: Principal(row.id, name, is_admin=row.is_admin, scopes=ALL) for name, row in rows.items()}
        yield House(session, people, things)


# What each principal may do, in words that need no code: r read, w write, o own.
MATRIX = {
    "collection": {"ann": "rwo", "reader": "r", "writer": "rw", "coowner": "rwo", "admin": "rwo"},
    "conversation": {"ann": "rwo"},
    "answer": {"ann": "rwo"},
    "job": {"ann": "rwo", "reader": "r", "writer": "rw", "coowner": "rwo", "admin": "rwo"},
    "own_job": {"ann": "rwo", "admin": "rwo"},
    "nobodys_job": {"admin": "rwo"},
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("who", ["ann", "reader", "writer", "coowner", "stranger", "bogus", "admin"])
@pytest.mark.parametrize("thing", list(MATRIX))
def test_the_matrix(house: House, thing: str, who: str, action: Action) -> None:
    """Allowed is what the matrix says; unseen things do not exist; seen ones say what is missing."""
    allowed = MATRIX[thing].get(who, "")
    attempt: Callable[[], None] = lambda: authorize(  # noqa: E731
        house.session, house.people[who], action, house.things[thing]
    )
    if action[0] in allowed:
        attempt()
    elif allowed:
        with pytest.raises(Forbidden) as caught:
            attempt()
        assert caught.value.fix
    else:
        with pytest.raises(NotFound):
            attempt()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    who=st.sampled_from(["ann", "reader", "writer", "coowner", "stranger", "bogus", "admin"]),
    thing=st.sampled_from(list(MATRIX)),
    action=st.sampled_from(ACTIONS),
    scopes=st.frozensets(st.sampled_from([*SCOPES, "unknown"])),
)
def test_a_credential_never_adds_to_what_its_owner_may(
    house: House, who: str, thing: str, action: Action, scopes: frozenset[str]
) -> None:
    """Whatever scopes a key has, it can do at most what its principal can, and nothing beyond its scopes."""
    principal = replace(house.people[who], scopes=scopes)
    try:
        authorize(house.session, principal, action, house.things[thing])
    except (NotFound, Forbidden):
        return
    assert action[0] in MATRIX[thing].get(who, "")
    needed = "read" if action == "read" or thing == "conversation" else "write"
    assert needed in scopes


def test_a_reading_key_may_chat_but_not_change(house: House) -> None:
    """One's own conversations are part of asking."""
    key = replace(house.people["ann"], scopes=frozenset({"read"}))
    authorize(house.session, key, "write", house.things["conversation"])
    with pytest.raises(Forbidden, match="scope 'write'"):
        authorize(house.session, key, "write", house.things["collection"])


@pytest.mark.parametrize("scopes", [ALL, frozenset({"read"}), frozenset({"write"}), frozenset[str]()], ids=sorted)
@pytest.mark.parametrize("who", ["ann", "reader", "writer", "coowner", "stranger", "bogus", "admin"])
def test_lists_show_exactly_what_may_be_read(house: House, who: str, scopes: frozenset[str]) -> None:
    """Search looks only into these; a list that shows more than `authorize` allows is a leak."""
    principal = replace(house.people[who], scopes=scopes)

    def readable(thing: Any) -> bool:
        try:
            authorize(house.session, principal, "read", thing)
        except (NotFound, Forbidden):
            return False
        return True

    collections = [thing for thing in [house.things["collection"]] if readable(thing)]
    assert readable_collections(house.session, principal) == collections
    assert readable_scope(house.session, principal).collection_ids == tuple(row.id for row in collections)
    jobs = {row.id for name, row in house.things.items() if name.endswith("job") and readable(row)}
    assert {row.id for row in readable_jobs(house.session, principal)} == jobs


def test_names_lead_only_where_one_may_go(house: House) -> None:
    """By name or id; foreign and missing ones are told apart by nothing."""
    collection = house.things["collection"]
    for name in ("handbook", collection.id):
        assert find_collection(house.session, house.people["reader"], name) is collection
        with pytest.raises(NotFound) as foreign:
            find_collection(house.session, house.people["stranger"], name)
        with pytest.raises(NotFound) as missing:
            find_collection(house.session, house.people["stranger"], "nothing")
        assert foreign.value.message.replace(name, "") == missing.value.message.replace("nothing", "")
        assert foreign.value.fix == missing.value.fix
    with pytest.raises(NotFound) as caught:
        find_collection(house.session, house.people["reader"], "hanbook")
    assert "handbook" in (caught.value.fix or "")
    with pytest.raises(Forbidden):
        find_collection(house.session, house.people["reader"], "handbook", "write")
    with pytest.raises(NotFound):
        readable_scope(house.session, house.people["stranger"], ["handbook"])


def test_no_name_can_take_the_place_of_an_id(house: House) -> None:
    """Somebody names a collection like the id of another one: the id still leads to its own."""
    victim = house.things["collection"]
    house.session.add(CollectionRow(name=victim.id, owner_id=house.people["stranger"].id, encoder="e"))
    house.session.flush()
    assert find_collection(house.session, house.people["ann"], victim.id) is victim


def test_foreign_jobs_do_not_exist(house: House) -> None:
    """The id of a job says nothing to those who may not see it."""
    job = house.things["own_job"]
    assert find_job(house.session, house.people["ann"], job.id, "write") is job
    with pytest.raises(NotFound) as foreign:
        find_job(house.session, house.people["stranger"], job.id)
    with pytest.raises(NotFound) as missing:
        find_job(house.session, house.people["stranger"], "job_none")
    assert str(foreign.value).replace(job.id, "") == str(missing.value).replace("job_none", "")
    with pytest.raises(Forbidden):
        find_job(house.session, house.people["reader"], house.things["job"].id, "write")


def test_administrators_need_an_administrators_key(house: House) -> None:
    """A reading key of the administrator manages nobody."""
    house.people["admin"].needs_admin()
    for principal in (replace(house.people["admin"], scopes=frozenset({"read", "write"})), house.people["ann"]):
        with pytest.raises(Forbidden):
            principal.needs_admin()


def test_roles_grow() -> None:
    """Whoever may do more may do all that those with less may."""
    assert ROLES["reader"] < ROLES["writer"] < ROLES["owner"] == set(ACTIONS)
