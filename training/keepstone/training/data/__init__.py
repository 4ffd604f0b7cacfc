"""Datasets made from a collection and from what people thought of its answers.

job_id = builder.submit(principal, DatasetConfig(collection="manuals"))
dataset = Datasets(home / "datasets").get("manuals")
for row in dataset.retrieval("train"): ...
"""

from keepstone.training.data.build import KIND, DatasetBuilder
from keepstone.training.data.config import DatasetConfig
from keepstone.training.data.library import DatasetLibrary
from keepstone.training.data.rows import ChatMessage, ChatRow, PreferenceRow, RetrievalRow, Side
from keepstone.training.data.store import Dataset, DatasetCard, Datasets

__all__ = [
    "KIND",
    "ChatMessage",
    "ChatRow",
    "Dataset",
    "DatasetBuilder",
    "DatasetCard",
    "DatasetConfig",
    "DatasetLibrary",
    "Datasets",
    "PreferenceRow",
    "RetrievalRow",
    "Side",
]
