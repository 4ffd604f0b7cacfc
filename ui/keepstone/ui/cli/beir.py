"""`keepstone eval retrieval --beir`: a public collection, in a store of its own that is deleted afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from keepstone.ui.cli.context import hush
from keepstone.ui.cli.models import opened_registry
from keepstone.ui.cli.output import emit, fields, interval, table
from keepstone.ui.cli.progress import progress_lines

if TYPE_CHECKING:
    from keepstone.platform.settings import Settings
    from keepstone.retrieval.encoder import Encoder
    from keepstone.training.relevance.beir import BeirRun


def _installed_encoder(settings: Settings) -> Encoder:
    from keepstone.retrieval.encoders import open_encoder

    with opened_registry() as registry:
        return open_encoder(registry.get(settings.encoder.model), settings.encoder)


find_encoder: Callable[[Settings], Encoder] = _installed_encoder
"""Returns the encoder of the settings; tests put a lighter one here."""


def measure_beir(folder: Path, split: str, run_file: Path | None) -> None:
    """Ingest and search a collection as the settings say, and show the measures.

    Args:
        folder: of the collection.
        split: which qrels.
        run_file: where the rankings are written.
    """
    from keepstone.platform.settings import load_settings
    from keepstone.retrieval.local import open_retrieval
    from keepstone.training.relevance.beir import run_beir

    settings = load_settings()
    hush(settings)
    encoder = find_encoder(settings)
    with (
        TemporaryDirectory(prefix="keepstone-beir-", ignore_cleanup_errors=True) as home,
        open_retrieval(home, encoder=encoder, chunking=settings.chunking, search=settings.search) as store,
        progress_lines() as progress,
    ):
        run = run_beir(folder, store, split=split, progress=progress)
    if run_file is not None:
        run.write_trec(run_file)
    shown = {name: value for name, value in asdict(run).items() if name != "rankings"}
    emit(shown, lambda: _show(run, encoder.version, run_file))


def _show(run: BeirRun, encoder: str, run_file: Path | None) -> None:
    fields(
        {
            "Documents": run.documents,
            "Queries": run.queries,
            "Encoder": encoder,
            "Rankings": str(run_file) if run_file else None,
        }
    )
    rows = [(each.name, f"{each.mean:.4f}", interval(each.low, each.high)) for each in run.figures]
    table(["Figure", ">Mean", ">95% interval"], rows)
