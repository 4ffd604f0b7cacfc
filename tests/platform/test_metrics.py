"""Metrics: one registry, one prefix, readable by Prometheus."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keepstone.platform import metrics


def test_all_figures_parse_and_carry_our_prefix() -> None:
    """A scraper can read the page, and our names cannot clash with those of other programs."""
    probe = metrics.counter("probe", "A figure of this test", "kind")
    probe.labels("x").inc(2)
    with metrics.histogram("probe_seconds", "A time of this test").time():
        pass
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert all(name.startswith(("keepstone_", "python_gc_")) for name in families)
    assert [sample.value for sample in families["keepstone_probe"].samples if sample.name.endswith("_total")] == [2]
    assert "keepstone_probe_seconds" in families
    assert "keepstone_process_resident_memory_bytes" in families
    assert metrics.CONTENT_TYPE.startswith("text/plain")


def test_a_name_is_given_once() -> None:
    """Two modules cannot count into the same figure unawares."""
    metrics.gauge("probe_twice", "A figure of this test")
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.gauge("probe_twice", "Another")
