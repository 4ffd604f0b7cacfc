"""Keepstone's retrieval in LangChain's terms: embeddings, a retriever and a vector store."""

from keepstone.retrieval.langchain.embeddings import EmbeddingsEncoder, KeepstoneEmbeddings
from keepstone.retrieval.langchain.retriever import KeepstoneRetriever
from keepstone.retrieval.langchain.vectorstore import KeepstoneVectorStore

__all__ = ["EmbeddingsEncoder", "KeepstoneEmbeddings", "KeepstoneRetriever", "KeepstoneVectorStore"]
