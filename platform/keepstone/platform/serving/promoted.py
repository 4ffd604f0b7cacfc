"""Which models are live: the language model promoted last, else the one of the settings; each collection's encoder."""

from __future__ import annotations

from keepstone.platform.errors import ModelMissing
from keepstone.platform.models.promotions import PromotionRecords
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.serving.candidates import language_model
from keepstone.platform.serving.live import LanguageModel
from keepstone.platform.settings import Settings


def live_language_model(registry: ModelRegistry, setting: str) -> LanguageModel:
    """Return what answers.

    A promotion counts while the settings name the model that they named then: a person who edits them means it.

    Args:
        registry: the models, in the database that has the promotions.
        setting: `engine.model`.

    Raises:
        ModelMissing: it is not on this machine.
    """
    promoted = PromotionRecords(registry.database).last("llm", setting=setting)
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


def models_in_use(registry: ModelRegistry, settings: Settings) -> set[str]:
    """Return name and version of every installed model that answers or searches now."""
    used = set(registry.encoders_in_use())
    if settings.encoder.url is None and (encoder := registry.find(settings.encoder.model)):
        used.add(encoder.reference)
    try:
        model = live_language_model(registry, settings.engine.model)
    except ModelMissing:
        return used
    return used | {model.reference, model.base.reference}
