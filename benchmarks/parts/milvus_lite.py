"""A Milvus server of its own process, by the package milvus-lite: it can be ended, killed and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path


class MilvusLite:
    """The server.

    Args:
        folder: its data; stays when it ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it on its port and wait until it listens."""
        arguments = ["server", "--data-dir", str(self._folder), "--host", "127.0.0.1", "--port", str(self._port)]
        # What is still in its write buffer, milvus-lite scores by the statistics of the rows that pass the filter.
        environment = os.environ | {"MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "milvus_lite", *arguments], env=environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("milvus-lite does not start")

    def kill(self) -> None:
        """End it at whatever it is doing."""
        self._process.kill()
        self._process.wait()
