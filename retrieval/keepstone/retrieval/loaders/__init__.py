"""Files in, `Document`s out.

`LoadPool(limits).load(path, name)` is the way in: it reads files in processes that can be killed. `load` does the
same in this process, for trusted bytes and for tests.
"""

from keepstone.retrieval.loaders.base import Loader, LoadLimits
from keepstone.retrieval.loaders.registry import load, media_types
from keepstone.retrieval.loaders.worker import LoadPool

__all__ = ["LoadLimits", "LoadPool", "Loader", "load", "media_types"]
