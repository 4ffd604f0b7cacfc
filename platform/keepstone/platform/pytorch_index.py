"""Where PyTorch keeps its builds without CUDA, which are a tenth as large; used only where it answers.

On Linux the usual package index serves a CUDA build of torch, several GB that a machine without a GPU has no use for.
Standard library only, since `scripts/bootstrap.py` runs this file before anything is installed::

    python3 platform/keepstone/platform/pytorch_index.py     # prints the arguments to add to `pip install`, or nothing
"""

from __future__ import annotations

import sys
import urllib.request
from http.client import HTTPException

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def reachable(timeout: float = 5.0) -> bool:
    """Tell whether the index answers within `timeout` seconds, through the proxies that pip would use."""
    request = urllib.request.Request(f"{CPU_INDEX}/torch/", method="HEAD")  # noqa: S310 - a constant https address
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return bool(response.status == 200)
    except (OSError, HTTPException):
        return False


def cpu_index_if_reachable() -> str | None:
    """Return the address if it answers within five seconds, else None."""
    return CPU_INDEX if reachable() else None


def pip_arguments() -> list[str]:
    """Return what makes pip take the CPU build of torch: nothing where only a package mirror can be reached."""
    index = cpu_index_if_reachable()
    return ["--extra-index-url", index] if index else []


if __name__ == "__main__":
    sys.stdout.write(" ".join(pip_arguments()) + "\n")
