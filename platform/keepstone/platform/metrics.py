"""Figures for Prometheus, all in one registry and all named `keepstone_...`.

Each module keeps its own figures beside the code that moves them:

    _SEARCHES = metrics.histogram("search_seconds", "Time of one search", "stage")
    with _SEARCHES.labels("fuse").time(): ...
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

registry = CollectorRegistry(auto_describe=True)
ProcessCollector(namespace="keepstone", registry=registry)
GCCollector(registry=registry)


def counter(name: str, help_text: str, *labels: str) -> Counter:
    """Return a new figure that only rises; Prometheus shows it as `keepstone_<name>_total`."""
    return Counter(name, help_text, labels, namespace="keepstone", registry=registry)


def gauge(name: str, help_text: str, *labels: str) -> Gauge:
    """Return a new figure that rises and falls."""
    return Gauge(name, help_text, labels, namespace="keepstone", registry=registry)


def histogram(name: str, help_text: str, *labels: str, buckets: Sequence[float] = SECONDS) -> Histogram:
    """Return a new distribution, by default of seconds; `.time()` measures a block or a function."""
    return Histogram(name, help_text, labels, namespace="keepstone", registry=registry, buckets=buckets)


def render() -> bytes:
    """Return all figures in Prometheus' text format, to be served as `CONTENT_TYPE`."""
    return generate_latest(registry)
