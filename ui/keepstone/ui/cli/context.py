"""What every command begins with: the settings, and logs that leave the terminal to the command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepstone.platform.settings import Settings


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; imported here, since pydantic takes longer to load than `--help` may take.

    Raises:
        SettingsError: a key or value is wrong.
    """
    from keepstone.platform import settings

    return settings.load_settings(**overrides)


def hush(settings: Settings) -> None:
    """Let libraries write nothing but errors, and no progress bars: stdout is the command's, stderr its notes'."""
    from keepstone.platform import logs

    os.environ.setdefault("TQDM_DISABLE", "1")
    logs.configure(settings.logging.model_copy(update={"level": "error"}))
