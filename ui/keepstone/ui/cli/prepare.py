"""What must be on this machine before Keepstone can run: the engine's environment and the models of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstone.ui.cli.context import hush
from keepstone.ui.cli.models import opened_registry
from keepstone.ui.cli.output import note
from keepstone.ui.cli.progress import progress_lines

if TYPE_CHECKING:
    from keepstone.platform.settings import Settings


def prepare(settings: Settings) -> None:
    """Install what is missing, showing progress. Quick when nothing is.

    Raises:
        Unavailable: a package or model cannot be had; the fix says how else to bring it.
        ModelMissing: there is no such model.
        StorageFull: it does not fit.
    """
    hush(settings)
    if settings.engine.mode == "managed":
        _install_engine(settings)
    with opened_registry() as registry:
        missing = [name for name in settings.needed_models if registry.find(name) is None]
        if not missing:
            return
        from keepstone.platform.models.pull import pull

        note(f"Getting the models {' and '.join(missing)}.")
        with progress_lines() as progress:
            for name in missing:
                pull(name, home=settings.home, registry=registry, progress=progress)


def _install_engine(settings: Settings) -> None:
    from keepstone.platform.serving.install import install_engine, installed_engine

    if settings.engine.python is not None or installed_engine(settings.home) is not None:
        return
    note("Installing the engine, vLLM. This takes some minutes, once.")
    with progress_lines() as progress:
        install_engine(settings.home, progress=progress)
