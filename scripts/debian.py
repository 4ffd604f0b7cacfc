"""Debian packages that Keepstone needs on the machine: installed where that can be done, else named.

::

    python3 scripts/debian.py tests        # Chromium and tesseract, for the tests that need them; never fails

Standard library only. Packages are installed when this runs as root and `apt-get` is there, as in a container or on a
fresh box; anybody else is told the command, because changing their system is theirs to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def say(text: str) -> None:
    """Write one line for the person at the terminal."""
    sys.stderr.write(f"keepstone: {text}\n")
    sys.stderr.flush()


def install(packages: list[str], purpose: str) -> bool:
    """Install Debian packages, or say how.

    Args:
        packages: names of Debian packages.
        purpose: what they are for, in a few words, for the message.

    Returns:
        Whether they are installed now.
    """
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {' '.join(packages)} with apt-get ({purpose})")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        options = ["-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=2"]
        update = subprocess.run(["apt-get", *options, "update"], env=quiet, check=False, stdin=subprocess.DEVNULL)
        if update.returncode == 0:
            done = subprocess.run(
                [command[0], *options, *command[1:]],
                env=quiet,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            if done.returncode == 0:
                return True
        say("apt-get failed, see above")
    say(f"needed for {purpose}: sudo apt-get install {' '.join(packages)}")
    return False


def for_tests() -> None:
    """See to it that tests find a Chromium and tesseract; they skip themselves where these are not to be had."""
    if not any(map(shutil.which, BROWSERS)):
        install(["chromium", "fonts-noto-cjk"], "the browser tests")
    if not shutil.which("tesseract"):
        install(["tesseract-ocr"], "the tests of text recognition")


if __name__ == "__main__":
    if sys.argv[1:] != ["tests"]:
        sys.exit("usage: python3 scripts/debian.py tests")
    for_tests()
