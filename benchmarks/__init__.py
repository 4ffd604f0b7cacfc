"""Benchmarks, each run as `.venv/bin/python -m benchmarks.NAME --json --check`; see `benchmarks.harness`."""
