"""Runs of recipes: each a job with a process of its own, which can be watched, cancelled, and killed without loss."""

from keepstone.training.runs.service import Order, Run, Runs

__all__ = ["Order", "Run", "Runs"]
