"""Which language model is live: the one promoted last, else the one that the settings name."""

from __future__ import annotations

from keepstone.platform.database import Database
from keepstone.platform.errors import ModelMissing
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.serving.candidates import language_model
from keepstone.platform.serving.live import LanguageModel
from keepstone.training.promotion.records import PromotionRecords


def live_language_model(database: Database, registry: ModelRegistry, setting: str) -> LanguageModel:
    """Return what answers.

    A promotion counts while the settings name the model that they named then: a person who edits them means it.

    Args:
        database: where promotions are.
        registry: the models.
        setting: `engine.model`.

    Raises:
        ModelMissing: it is not on this machine.
    """
    promoted = PromotionRecords(database).last("llm", setting=setting)
    if promoted is None:
        return LanguageModel(registry.get(setting))
    try:
        chosen = registry.get(promoted.model)
        base = chosen if chosen.kind == "llm" or chosen.base_id else registry.get(setting)
        return language_model(registry, chosen, base)
    except ModelMissing as error:
        raise ModelMissing(
            f"{error.message}, and it is what was promoted", fix="Go back: `keepstone models rollback`, then restart"
        ) from error
