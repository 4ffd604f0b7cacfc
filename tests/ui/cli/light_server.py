"""The server process with models that need no weights: what `keepstone up --detach` starts in tests."""

from __future__ import annotations

from functools import partial

from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.retrieval.encoder import HashEncoder
from keepstone.ui.http import app, server
from keepstone.ui.runtime import Runtime

if __name__ == "__main__":
    server.create_app = partial(app.create_app, web=False)  # type: ignore[assignment]
    light = partial(Runtime.open, engine=ScriptedEngine(default="Yes. [1]"), encoder=HashEncoder())
    server.main(open_runtime=light)
