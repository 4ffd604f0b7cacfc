"""The registry: every model version on this machine, by name.

registry = ModelRegistry(database, settings.home)
registry.get("smollm2-135m-instruct").path
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, ModelRow
from keepstone.platform.errors import Conflict, ModelMissing, did_you_mean
from keepstone.platform.models.catalog import Kind, catalog
from keepstone.platform.models.files import MANIFEST, hash_files, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """A model version whose files are on this machine."""

    id: str
    name: str
    kind: Kind
    version: str
    """First 16 hex digits of the sha256 over its files' names and hashes."""
    path: Path
    """Folder of the weights."""
    source: str
    created_at: datetime
    base_id: str | None = None
    """The model that an adapter sits on, or that this one was made from."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """LLM: `max_model_len`. Encoder: `dimension`, `max_tokens`, `query_prompt`, `document_prompt`, `languages`."""

    @property
    def reference(self) -> str:
        """Name and version, as `get` takes it."""
        return f"{self.name}@{self.version}"


class ModelRegistry:
    """The models of one home folder.

    Args:
        database: where the registry is kept.
        home: the folder of all state; weights stand in its `models` folder, or elsewhere under their full path.
    """

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.folder = home / "models"

    def list(self, kind: Kind | None = None) -> list[InstalledModel]:
        """Return all versions, ordered by name, the newest first."""
        order = (ModelRow.name, ModelRow.created_at.desc(), ModelRow.id)
        query = sa.select(ModelRow).order_by(*order)
        if kind:
            query = query.where(ModelRow.kind == kind)
        with self.database.reading() as session:
            return [self._installed(row) for row in session.scalars(query)]

    def find(self, reference: str) -> InstalledModel | None:
        """Return the newest version of a name, or the one that `name@version` begins to spell; None if none is."""
        name, _, version = reference.partition("@")
        query = sa.select(ModelRow).where(ModelRow.name == name, ModelRow.version.startswith(version, autoescape=True))
        with self.database.reading() as session:
            row = session.scalars(query.order_by(ModelRow.created_at.desc(), ModelRow.id)).first()
            return self._installed(row) if row else None

    def get(self, reference: str) -> InstalledModel:
        """Return the newest version of a name, or `name@version`, whose files are there.

        Raises:
            ModelMissing: it is not registered, or its files are gone; the fix is the command that brings it.
        """
        found = self.find(reference)
        if found is None:
            raise ModelMissing(f"The model {reference!r} is not on this machine", fix=self._how_to_get(reference))
        if not (found.path / "config.json").is_file() and not (found.path / "adapter_config.json").is_file():
            raise ModelMissing(
                f"The files of {found.name} are gone from {found.path}", fix=self._how_to_get(found.name)
            )
        return found

    def by_id(self, model_id: str) -> InstalledModel | None:
        """Return the version of that id; None if it was removed."""
        with self.database.reading() as session:
            row = session.get(ModelRow, model_id)
            return self._installed(row) if row else None

    def add(
        self,
        *,
        name: str,
        kind: Kind,
        version: str,
        path: Path,
        source: str,
        details: Mapping[str, Any],
        base_id: str | None = None,
    ) -> InstalledModel:
        """Register a version, which becomes the newest of its name; the same one twice is one, with the later path."""
        inside = path.is_relative_to(self.folder)
        stored = path.relative_to(self.folder).as_posix() if inside else str(path.absolute())
        with self.database.transaction() as session:
            same = sa.select(ModelRow).where(ModelRow.name == name, ModelRow.version == version)
            row = session.scalars(same).one_or_none() or ModelRow(name=name, version=version)
            row.kind, row.path, row.source, row.details = kind, stored, source, dict(details)
            row.base_id = base_id
            session.add(row)
            session.flush()
            return self._installed(row)

    def remove(self, reference: str) -> InstalledModel:
        """Forget a version and delete its files if they are in the models folder.

        Raises:
            ModelMissing: it is not registered.
            Conflict: another model was made from it, or a collection is searched with it.
        """
        found = self.find(reference)
        if found is None:
            raise ModelMissing(f"The model {reference!r} is not on this machine", fix="See `keepstone models list`")
        with self.database.transaction() as session:
            heir = session.scalars(sa.select(ModelRow.name).where(ModelRow.base_id == found.id)).first()
            if heir:
                raise Conflict(f"{heir} was made from {found.name}", fix=f"Remove {heir} first")
            user = session.scalars(
                sa.select(CollectionRow.name).where(
                    sa.or_(
                        CollectionRow.encoder == found.reference,
                        CollectionRow.encoder.startswith(f"{found.reference}+", autoescape=True),
                    )
                )
            ).first()
            if user:
                raise Conflict(
                    f"The collection {user!r} is searched with {found.name}",
                    fix=f"Give it another encoder before: `keepstone models rollback --collection '{user}'`, "
                    "or name another one in keepstone.toml",
                )
            reranked = session.execute(sa.select(CollectionRow.name, CollectionRow.search)).all()
            user = next((name for name, own in reranked if own and own.get("reranker") == found.name), None)
            if user and found.kind == "reranker":
                fix = f"Let it be searched without before: `keepstone tune undo --collection '{user}'`"
                raise Conflict(f"The collection {user!r} is searched with {found.name}", fix=fix)
            session.execute(sa.delete(ModelRow).where(ModelRow.id == found.id))
        if found.path.is_relative_to(self.folder):
            # The manifest first: what is left of a deletion that was cut short must not look like a model.
            (found.path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(found.path, ignore_errors=True)
        return found

    def encoders_in_use(self) -> frozenset[str]:
        """Return the references of the encoders that collections are searched with."""
        with self.database.reading() as session:
            versions = session.scalars(sa.select(CollectionRow.encoder).distinct())
            return frozenset(_reference(version) for version in versions)

    def verify(self, model: InstalledModel) -> tuple[str, ...]:
        """Hash the model's files again; return what is wrong with them, nothing when all is well."""
        manifest = read_manifest(model.path)
        if manifest is None:
            return (f"{MANIFEST} is missing",)
        found = hash_files(model.path)
        faults = [f"{name} is missing" for name in manifest.files if name not in found]
        faults += [f"{name} was added" for name in found if name not in manifest.files]
        faults += [f"{name} was changed" for name, sha in manifest.files.items() if found.get(name, sha) != sha]
        return tuple(faults)

    def _how_to_get(self, reference: str) -> str:
        name = reference.partition("@")[0]
        if name in catalog():
            return f"Run `keepstone models pull {name}`"
        known = sorted({*catalog(), *(model.name for model in self.list())})
        return f"{did_you_mean(name, known)} Or run `keepstone models pull HUB_ID`"

    def _installed(self, row: ModelRow) -> InstalledModel:
        return InstalledModel(
            id=row.id,
            name=row.name,
            kind=cast("Kind", row.kind),
            version=row.version,
            path=self.folder / row.path,
            source=row.source,
            created_at=row.created_at,
            base_id=row.base_id,
            details=row.details,
        )


def _reference(version: str) -> str:
    """Return name and version of the model in an encoder's version, which may add how it is used: `name@1f0c+d256`."""
    name, at, rest = version.partition("@")
    return name + at + rest.partition("+")[0]
