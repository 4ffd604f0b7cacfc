"""Promotion: a judged model becomes the live one, reversibly."""

from keepstone.training.promotion.job import Order
from keepstone.training.promotion.service import Promotions

__all__ = ["Order", "Promotions"]
