"""Promotion: a judged model becomes the live one, reversibly."""

from keepstone.training.promotion.job import Order
from keepstone.training.promotion.live import live_language_model, models_in_use
from keepstone.training.promotion.records import Promotion, Subject
from keepstone.training.promotion.service import Promotions

__all__ = ["Order", "Promotion", "Promotions", "Subject", "live_language_model", "models_in_use"]
