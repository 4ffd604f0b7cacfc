"""Stands in for vLLM: health, metrics, chat, adapters, a child process. `python fake_engine.py FOLDER PORT [NAME]`.

In FOLDER it leaves `starts` (a line for each start) and `pids`, and obeys files: `die` (exit at once, saying why),
`sick` (unhealthy), `busy` (one running request), `deaf` (ignores SIGTERM), `slow` (nothing is answered while it
is there), `choosy` (refuses adapters). A chat is answered with the model that it names: NAME or a loaded adapter.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
MODELS = {sys.argv[3] if len(sys.argv) > 3 else "fake"}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        healthy = not (FOLDER / "sick").exists()
        body = f'vllm:num_requests_running{{engine="0"}} {float((FOLDER / "busy").exists())}\n'.encode()
        self.send_response(200 if healthy else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, answer = self.answered(body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def answered(self, body: dict[str, Any]) -> tuple[int, object]:
        name = body.get("lora_name", body.get("model"))
        if self.path == "/v1/load_lora_adapter":
            if (FOLDER / "choosy").exists():
                return 500, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 32."}}
            MODELS.add(name)
            return 200, "Success"
        if name not in MODELS:
            return 404, {"error": {"message": f"The model `{name}` does not exist."}}
        if self.path == "/v1/unload_lora_adapter":
            MODELS.remove(name)
            return 200, "Success"
        while (FOLDER / "slow").exists():
            time.sleep(0.01)
        choice = {"message": {"role": "assistant", "content": name}, "finish_reason": "stop"}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

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
