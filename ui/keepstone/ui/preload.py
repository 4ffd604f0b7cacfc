"""Loading what takes seconds while the engine starts, without taking its processor time away."""

from __future__ import annotations

import gc
import importlib
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval.url_encoder import UrlEncoder

if TYPE_CHECKING:
    from keepstone.retrieval.encoder import Encoder

log = structlog.get_logger(__name__)

_NICENESS = 10


def import_quietly(*modules: str) -> None:
    """Import modules at a low priority, and return when that is done.

    The threads of the engine wait for each other at every step of its start, so that work beside it costs it several
    times its own length. On Linux each thread has a priority of its own, which it cannot raise again; this one ends.
    """
    thread = threading.Thread(target=_import, args=(modules,), name="preload", daemon=True)
    thread.start()
    thread.join()


def load_encoder_soon(encoder: Encoder) -> threading.Thread:
    """Load the encoder in the background, so that the first question does not wait for it; return the thread."""
    thread = threading.Thread(target=_load, args=(encoder,), name="load-encoder", daemon=True)
    thread.start()
    return thread


def _load(encoder: Encoder) -> None:
    try:
        if not isinstance(encoder, UrlEncoder):
            import_quietly("torch", "sentence_transformers")
        encoder.encode_query("warm up")
    except (KeepstoneError, OSError, ImportError) as error:
        # Whoever asks the first question is told.
        log.warning("encoder_not_loaded", reason=str(error))
        return
    # All that is loaded by now stays. Looking through it for garbage stops every stream for .2 s.
    gc.freeze()


def _import(modules: tuple[str, ...]) -> None:
    with suppress(OSError):  # other systems have no priorities of threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    for module in modules:
        importlib.import_module(module)
