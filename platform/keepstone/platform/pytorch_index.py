"""PyTorch's own package index of CPU builds, and whether this machine reaches it.

On Linux the usual package index serves a CUDA build of torch, several GB that a machine without a GPU has no use for.
Standard library only, so that it runs before anything is installed::

    python3 platform/keepstone/platform/pytorch_index.py     # prints the arguments to add to `pip install`, or nothing
"""

from __future__ import annotations

import sys
import urllib.request
from http.client import HTTPException

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""The one address of a package index in this repository."""


def reachable(timeout: float = 5.0) -> bool:
    """Tell whether the index answers within `timeout` seconds."""
    request = urllib.request.Request(f"{CPU_INDEX}/torch/", method="HEAD")  # noqa: S310 - a constant https address
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return bool(response.status == 200)
    except (OSError, HTTPException):
        return False


def pip_arguments(timeout: float = 5.0) -> list[str]:
    """Return what makes pip take the CPU build of torch: nothing where only a package mirror can be reached."""
    return ["--extra-index-url", CPU_INDEX] if reachable(timeout) else []


if __name__ == "__main__":
    sys.stdout.write(" ".join(pip_arguments()) + "\n")
