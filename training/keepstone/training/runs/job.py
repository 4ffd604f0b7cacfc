"""The kind of job `train`: a recipe's process, then its model in the registry."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict

from keepstone.platform.errors import Conflict, KeepstoneError, StorageFull, Unavailable, storage_errors
from keepstone.platform.jobs import JobInfo
from keepstone.platform.models import files
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.training.data.store import Datasets
from keepstone.training.recipes import recipe
from keepstone.training.runs.child import run_guarded
from keepstone.training.runs.folder import Ending, RunFolder, Spec
from keepstone.training.runs.process import STOPPED, out_of_memory

KIND = "train"
_KILLED = 128 + 9
log = structlog.get_logger(__name__)


class JobArguments(BaseModel):
    """What the job is told, fixed when it was ordered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    config: dict[str, Any]
    dataset: str
    """Its id."""
    base: str
    """Name and version of the model to start from."""
    name: str
    """Of the model to make."""


class TrainingJob:
    """Handler of the jobs `train`.

    Args:
        registry: where models are found and entered.
        datasets: to learn from.
        runs: folder of the runs.
    """

    def __init__(self, registry: ModelRegistry, *, datasets: Datasets, runs: Path) -> None:
        self._registry = registry
        self._datasets = datasets
        self._runs = runs

    def plan(self, job: JobInfo) -> list[Any]:
        """Make the model, then enter it."""
        del job
        return ["train", "register"]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Do one of the two."""
        arguments = JobArguments.model_validate(job.args)
        folder = RunFolder(self._runs / job.id)
        if unit == "train":
            self._train(job, arguments, folder)
        else:
            model = self._register(job, arguments, folder)
            log.info("model_trained", model=model.reference, recipe=arguments.recipe)

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Delete what nobody will need; after a failure the checkpoints stay, for a retry."""
        folder = self._runs / job.id
        if error is None or job.cancelled:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        shutil.rmtree(folder / "output", ignore_errors=True)

    def _train(self, job: JobInfo, arguments: JobArguments, folder: RunFolder) -> None:
        ending = folder.ending()
        if ending is not None and ending.error is None:
            return  # it ended just before we did
        base = self._registry.get(arguments.base)
        spec = Spec(
            recipe=arguments.recipe,
            config=arguments.config,
            base=base.path,
            dataset=self._datasets.get(arguments.dataset).folder,
            work=folder.path,
        )
        order = folder.create(spec)

        def watch() -> None:
            job.check_cancelled()
            if last := folder.last_step():
                job.progress(*last)

        code = run_guarded(order, folder, watch)
        if last := folder.last_step():
            job.progress(*last)
        _raise_unless_done(code, folder)

    def _register(self, job: JobInfo, arguments: JobArguments, folder: RunFolder) -> InstalledModel:
        base = self._registry.get(arguments.base)
        output = folder.path / "output"
        home = self._registry.folder / arguments.name
        with storage_errors(f"installing {arguments.name}"):
            if not output.is_dir():
                place = _placed(home, job.id)
            else:
                place = _place(output, home, self._manifest(job, arguments, folder, base))
        manifest = files.read_manifest(place)
        assert manifest is not None, "it was written before the move"
        return self._registry.add(
            name=manifest.name,
            kind=manifest.kind,
            version=manifest.version,
            path=place,
            source=manifest.source,
            details=manifest.details,
            base_id=base.id,
        )

    def _manifest(
        self, job: JobInfo, arguments: JobArguments, folder: RunFolder, base: InstalledModel
    ) -> files.Manifest:
        made = recipe(arguments.recipe)
        kind = made.result_kind(made.configure(arguments.config))
        output = folder.path / "output"
        files.check_weights(output)
        hashes = files.hash_files(output)
        files.sync(output, hashes)
        ending = folder.ending() or Ending()
        inherited = {name: value for name, value in base.details.items() if name in ("languages", "licence")}
        training = {
            "recipe": arguments.recipe,
            "config": arguments.config,
            "dataset": arguments.dataset,
            "card": self._datasets.get(arguments.dataset).card_sha256,
            "base": base.reference,
            "job": job.id,
            "metrics": ending.metrics,
        }
        details = inherited | files.describe(output, kind) | {"training": training}
        source = f"{arguments.recipe} of {base.reference}"
        return files.Manifest(arguments.name, kind, files.version_of(hashes), source, details, hashes)


def _raise_unless_done(code: int, folder: RunFolder) -> None:
    """Raise what the process ended with.

    Raises:
        Unavailable: it was ended from outside and can go on.
        KeepstoneError: it failed.
    """
    ending = folder.ending()
    if ending is not None:
        if ending.error is None:
            return
        kind = StorageFull if ending.code == StorageFull.code else KeepstoneError
        raise kind(ending.error, fix=ending.fix)
    if code == _KILLED:
        raise out_of_memory()
    if code in (STOPPED, 128 + 15) or code < 0:
        raise Unavailable("The training was ended from outside", fix="Start it again: `keepstone jobs retry ID`")
    log.warning("training_process_failed", code=code)
    raise KeepstoneError(
        f"The training process ended with code {code}", fix=f"Its log has the details: {folder.path / 'log.txt'}"
    )


def _place(output: Path, home: Path, manifest: files.Manifest) -> Path:
    """Move the finished model to where its version belongs."""
    target = home / manifest.version
    files.write_manifest(output, manifest)
    home.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    output.replace(target)
    return target


def _placed(home: Path, job_id: str) -> Path:
    """Return the folder that this job moved its model to before a kill."""
    for path in home.glob("*"):
        manifest = files.read_manifest(path)
        if manifest is not None and manifest.details.get("training", {}).get("job") == job_id:
            return path
    raise Conflict("The trained model is gone from the run's folder", fix="Train it again")
