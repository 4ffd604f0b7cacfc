"""Improvement: one job that makes better models from a collection, judges them, and promotes what is better."""

from keepstone.training.improve.config import ImproveConfig, options_of
from keepstone.training.improve.estimate import Estimate
from keepstone.training.improve.record import Improvement
from keepstone.training.improve.service import Improvements, Progress

__all__ = ["Estimate", "ImproveConfig", "Improvement", "Improvements", "Progress", "options_of"]
