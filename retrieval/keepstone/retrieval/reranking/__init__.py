"""Rerankers: read question and passage once more, more closely than an index can."""

from keepstone.retrieval.reranking.base import Reranker
from keepstone.retrieval.reranking.rerankers import COSINE, LATE, LLM, OFF, Rerankers, open_reranker

__all__ = ["COSINE", "LATE", "LLM", "OFF", "Reranker", "Rerankers", "open_reranker"]
