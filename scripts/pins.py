"""Write constraints/cpu.txt and constraints/cuda.txt from what .venv holds: `make pins`, after a change of versions.

Plain `name==version` lines. A local version such as torch's `+cpu` is left out, so that both builds of the same
release satisfy the pin.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints"
HEADERS = {
    "cpu.txt": "# What `make up` and `make test` install on a machine without a GPU. Written by `make pins`.\n",
    "cuda.txt": (
        "# What `make up` and `make test` install where `nvidia-smi` answers. Written by `make pins`.\n"
        "# The releases of cpu.txt, torch in its CUDA build. Nobody has run this set on a GPU yet: docs/gpu.md.\n"
    ),
}


def main() -> None:
    """Write both files."""
    freeze = [sys.executable, "-m", "pip", "--disable-pip-version-check", "freeze", "--exclude-editable"]
    frozen = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    pins = [line.split("+")[0] for line in frozen.splitlines() if "==" in line and not line.startswith("#")]
    for name, header in HEADERS.items():
        (CONSTRAINTS / name).write_text(header + "\n".join(sorted(pins, key=str.lower)) + "\n")


if __name__ == "__main__":
    main()
