"""Data in, better models out: evaluation of the whole pipeline and fitting of its thresholds."""
