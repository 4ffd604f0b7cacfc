"""Stands in for vLLM: answers /health and /metrics, and has a child process. `python fake_engine.py FOLDER PORT`.

In FOLDER it leaves `starts` (a line for each start) and `pids`, and obeys files: `die` (exit at once, saying why),
`sick` (unhealthy), `busy` (one running request), `deaf` (ignores SIGTERM).
"""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        healthy = not (FOLDER / "sick").exists()
        body = f'vllm:num_requests_running{{engine="0"}} {float((FOLDER / "busy").exists())}\n'.encode()
        self.send_response(200 if healthy else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


with (FOLDER / "starts").open("a") as starts:
    starts.write("start\n")
if (FOLDER / "die").exists():
    print("ValueError: No available memory for the cache blocks.")
    raise SystemExit(3)
if (FOLDER / "deaf").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
# vLLM's workers rename themselves, after which nobody can read their environment.
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"], env={})
(FOLDER / "pids").write_text(f"{os.getpid()} {child.pid}")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
